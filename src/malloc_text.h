/* What glibc's malloc_info() and Python's _PyObject_DebugMallocStats() print, to
 * numbers, line by line. Pure. */
#ifndef MP_MALLOC_TEXT_H
#define MP_MALLOC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes. All zeros: nothing came yet. */
struct mp_malloc_text {
    uint64_t system; /* of the heaps of all arenas */
    uint64_t fast;   /* free, in chunks of the fast bins */
    uint64_t rest;   /* free, in all others */
    uint64_t mapped; /* blocks that have a mapping each */
    /* What malloc_trim() has to give back of these free chunks, were all resident:
     * whole pages within a chunk, and the top of the main arena. */
    uint64_t whole_pages;
    bool complete;

    uint64_t page_size; /* to be set beforehand */
    /* Of the arena whose lines come */
    bool in_arena;
    unsigned arenas;
    uint64_t in_bins;
    uint64_t in_fast;
};

/* Adds a line of malloc_info()'s, line[length] being '\0'. */
void mp_malloc_text_add(struct mp_malloc_text *text, const char *line);

/* Bytes. All zeros: nothing came yet. */
struct mp_pymalloc_text {
    uint64_t used; /* by objects, with what is lost to headers and to rounding */
    uint64_t free; /* in pools, whole pools included */
    unsigned lines;
};

/* How many lines of _PyObject_DebugMallocStats() say something; with fewer it is not
 * pymalloc that speaks. */
#define MP_PYMALLOC_LINES 5

/* Adds a line of _PyObject_DebugMallocStats()'s. */
void mp_pymalloc_text_add(struct mp_pymalloc_text *text, const char *line);

#endif
