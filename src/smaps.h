/* The text of /proc/self/smaps to mappings (proc_pid_smaps(5), fs/proc/task_mmu.c).
 * Pure. */
#ifndef MP_SMAPS_H
#define MP_SMAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mp_mapping_name {
    MP_MAPPING_OTHER,
    MP_MAPPING_HEAP,   /* what brk() made */
    MP_MAPPING_STACK,  /* of the main thread */
    MP_MAPPING_SHARED, /* memfd, /dev/shm, System V, anonymous and shared */
};

/* One mapping; bytes. */
struct mp_mapping {
    uint64_t start;
    uint64_t end;
    bool accessible;
    bool writable;
    uint64_t inode; /* 0: no file */
    enum mp_mapping_name name;
    uint64_t rss;
    uint64_t pss;
    uint64_t uss;       /* private pages, clean and dirty */
    uint64_t anonymous; /* of rss: not pages of a file, nor of shared memory */
    uint64_t lazy_free; /* of anonymous: given back by MADV_FREE */
    uint64_t swap;
    bool guard; /* some of it is MADV_GUARD_INSTALL's */
};

/* Zeroed but for the first two: nothing came yet. */
struct mp_smaps {
    void (*take)(void *context, const struct mp_mapping *mapping);
    void *context;
    int error;
    bool begun;
    struct mp_mapping mapping;
};

/* Adds a line, without its newline, line[length] being '\0'; it may have been cut after
 * 255 bytes. A mapping is handed out once all its lines have come. */
void mp_smaps_add(struct mp_smaps *smaps, const char *line, size_t length);

/* Hands the last mapping out. Returns 0, ENODATA if there was none, or EBADMSG if a
 * line wasn't what the kernel writes; then what was handed out means nothing. */
int mp_smaps_end(struct mp_smaps *smaps);

#endif
