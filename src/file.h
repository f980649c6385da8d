/* Mapped files, for the recorder. One file per family of systems implements this. */
#ifndef MP_FILE_H
#define MP_FILE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The error for a path that is too long, in the numbers of mp_file_create(). */
#if defined(_WIN32)
#    define MP_PATH_TOO_LONG 206 /* ERROR_FILENAME_EXCED_RANGE */
#else
#    define MP_PATH_TOO_LONG ENAMETOOLONG
#endif

/* All zeros: none. */
struct mp_file {
    void *pages;
    size_t bytes;
    void *handle; /* Windows: open as long as it is mapped */
    bool held;    /* others see that this process lives: no mp_file_hold is needed */
};

/* All zeros: none. */
struct mp_file_hold {
    int file; /* descriptor + 1 */
    uint64_t device;
    uint64_t inode;
};

/* Creates a file that only its owner may read and write, with space for all its bytes,
 * and maps it, resident and locked; a forked child doesn't have the mapping. Never
 * follows a link, never takes a file that is there. Returns 0 or an errno (Windows:
 * GetLastError()); on failure there is no file. The path is UTF-8 on Windows. */
int mp_file_create(struct mp_file *file, const char *path, size_t bytes);

/* Unmaps the file; what was written stays in it. */
void mp_file_close(struct mp_file *file);

/* Locks the file for as long as this process lives, so that others see that it does:
 * with flock(), on Windows by having it open. Nothing happens if that fails, or if it
 * is held. */
void mp_file_hold(struct mp_file_hold *hold, const char *path);

/* Ends that. */
void mp_file_release(struct mp_file_hold *hold);

#endif
