/* The folder of the observer's files, and how a file is held while it is written. A
 * folder per family of systems implements it. For a program with one thread. */
#ifndef MP_FOLDER_H
#define MP_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file that this process has open; all zeros: none. */
struct mp_folder_file {
    intptr_t descriptor; /* + 1 */
    uint32_t slots;      /* whole blocks that are in it */
    bool locked;         /* false where the file system has no locks */
};

/* Takes the folder over, an open descriptor of it. Returns 0 or an errno. */
int mp_folder_start(int folder);

/* Opens a file, makes it if there is none and it is wanted, and locks it. Returns 0,
 * EBUSY if another process holds it, or an errno; also if it isn't a file of this
 * user's. */
int mp_folder_open(struct mp_folder_file *file, const char *name, bool make);

/* Closes it, which ends the lock. */
void mp_folder_close(struct mp_folder_file *file);

/* Makes it empty. Returns 0 or an errno. */
int mp_folder_clear(struct mp_folder_file *file);

/* Removes a file, or if `file` isn't NULL only if the name is still that open one's. */
void mp_folder_remove(const struct mp_folder_file *file, const char *name);

/* Is it still in a folder, with what was written to it? */
bool mp_folder_is_whole(const struct mp_folder_file *file);

/* Does a process hold the file of that name? */
bool mp_folder_is_held(const char *name);

/* Read and write a block, as struct mp_record_io says; `file` is a struct
 * mp_folder_file. What would make the file longer fails with ENOSPC on a disk that is
 * nearly full: the rest is left to others. */
int mp_folder_read(void *file, uint32_t slot, void *block);
int mp_folder_write(void *file, uint32_t slot, const void *block);

/* A file of a list. */
struct mp_folder_entry {
    char name[64];
    int64_t written_ns; /* last, since 1970 */
    uint64_t bytes;     /* that it takes on the disk */
};

/* Lists the regular files of this user whose names end so. The caller frees *entries.
 * Returns 0 or an errno. */
int mp_folder_list(const char *end, struct mp_folder_entry **entries, size_t *count);

/* Removes the folder if it is empty. */
void mp_folder_remove_itself(void);

#endif
