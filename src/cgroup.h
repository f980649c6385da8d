/* The groups of processes that have a limit of memory together. A folder per system
 * implements it; a system without such groups has none. */
#ifndef MP_CGROUP_H
#define MP_CGROUP_H

#include <stdint.h>

#define MP_CGROUP_NONE (-1)
#define MP_CGROUP_MOST 64

/* In bytes; UINT64_MAX is not known, and a limit that there isn't. */
struct mp_cgroup_memory {
    uint64_t usage; /* without file pages that can be given up at once */
    uint64_t limit; /* the least of all above it, too */
};

/* Finds the group that a process is in. Returns its number, or MP_CGROUP_NONE. */
int mp_cgroup_of(uint32_t pid);

/* How many were found; they are numbered from 0. */
int mp_cgroup_count(void);

/* Reads its memory, or hands out what was read `old_ns` ago at most. */
void mp_cgroup_read(int group, int64_t now_ns, int64_t old_ns,
                    struct mp_cgroup_memory *memory);

/* Reads how many of its processes were killed for want of memory; UINT64_MAX is not
 * known. */
uint64_t mp_cgroup_oom_kills(int group);

#endif
