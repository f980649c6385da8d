/* Where RSS is. breakdown.c makes the figures of what a system's folder finds out: in
 * linux/, mappings.c asks the kernel, allocators.c asks malloc and pymalloc, counting.c
 * counts what Python has in malloc. Nobody can tell elsewhere: macos/breakdown.c and
 * windows/breakdown.c say so. */
#ifndef MP_BREAKDOWN_H
#define MP_BREAKDOWN_H

#include <stdbool.h>
#include <stdint.h>

/* For bytes that nobody can tell. */
#define MP_UNKNOWN UINT64_MAX

/* Bytes of Python's own allocator for objects. */
struct mp_pymalloc {
    uint64_t used;
    uint64_t free;
};

/* Bytes of malloc's, by its own account, resident or not. */
struct mp_malloc {
    uint64_t system;      /* of its heaps */
    uint64_t used;        /* of these */
    uint64_t mapped;      /* in use, with a mapping each */
    uint64_t whole_pages; /* at least what malloc_trim() has of them to give back */
};

/* RSS in bytes by the kind of mapping, and what the kernel says of all mappings. */
struct mp_mappings {
    uint64_t rss;
    /* Disjoint, and together rss but for what is MP_UNKNOWN. */
    uint64_t heaps;  /* of malloc */
    uint64_t stacks; /* of threads */
    uint64_t files;
    uint64_t shared;
    uint64_t lazy_free; /* given back by MADV_FREE */
    uint64_t anonymous; /* anybody's */
    uint64_t rest;      /* such as the written pages of libraries */
    /* Beside them */
    uint64_t pss;
    uint64_t uss;
    uint64_t swap;
    uint64_t heaps_size; /* of the heaps, resident or not */
};

/* The fields of Python's Breakdown; bytes. */
struct mp_breakdown {
    uint64_t rss;
    /* Disjoint, and together rss but for what is unknown. */
    uint64_t python_small;
    uint64_t python_free;
    uint64_t malloc_used;
    uint64_t malloc_free;
    uint64_t lazy_free;
    uint64_t stacks;
    uint64_t files;
    uint64_t shared;
    uint64_t other;
    /* Beside them */
    uint64_t trimmable_least;
    uint64_t trimmable_most;
    uint64_t unwritten; /* of malloc's large blocks: not resident, as far as is known */
    uint64_t uss;
    uint64_t pss;
    uint64_t swap;
};

/* Reads all figures and says who owns malloc: "glibc", "musl", "jemalloc", "tcmalloc",
 * "mimalloc" or "unknown". `pymalloc` is what mp_pymalloc_read said. Returns 0, or an
 * errno (on Windows a GetLastError() code) of mp_mappings_source. */
int mp_breakdown_read(const struct mp_pymalloc *pymalloc,
                      struct mp_breakdown *breakdown, const char **allocator);

/* Makes figures that add up of readings that may come from different moments. */
void mp_breakdown_make(const struct mp_mappings *mappings,
                       const struct mp_malloc *malloc,
                       const struct mp_pymalloc *pymalloc,
                       struct mp_breakdown *breakdown);

/* What a system must provide: figures, MP_UNKNOWN where it can't. */

/* With the GIL. */
void mp_pymalloc_read(struct mp_pymalloc *pymalloc);

/* Returns who owns malloc, as mp_breakdown_read says it. */
const char *mp_malloc_read(struct mp_malloc *malloc);

/* Linux: where the library or program begins whose malloc it is; NULL if not known. */
const void *mp_malloc_library(void);

/* Lets malloc give free memory back to the system. */
void mp_malloc_trim(void);

/* `heaps` says whether malloc's heaps are to be told apart. Returns 0 or an error. */
int mp_mappings_read(bool heaps, struct mp_mappings *mappings);

/* Where that has its numbers from, for error messages. */
extern const char mp_mappings_source[];

/* What Python's raw domain has allocated less what it has freed since it is counted. */
struct mp_counted {
    uint64_t since; /* of another number, another count; inherited by a forked child */
    int64_t bytes;
};

/* Counts from the first call on. Each call proves that what Python allocates above 512
 * bytes is counted. With the GIL. Returns false if it isn't, or can't be. */
bool mp_counting_read(struct mp_counted *counted);

#endif
