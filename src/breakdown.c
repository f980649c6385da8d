#include "breakdown.h"

static uint64_t
smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t
without(uint64_t from, uint64_t what)
{
    return from > what ? from - what : 0;
}

/* Takes at most `wanted` out of what is left. Returns how much that was. */
static uint64_t
take(uint64_t *left, uint64_t wanted)
{
    uint64_t taken = smaller(*left, wanted);
    *left -= taken;
    return taken;
}

/* What allocators say they have isn't all resident: blocks that were never touched, or
 * are swapped out. The mappings are the measure. Heaps are told apart from other
 * mappings; pymalloc's arenas and malloc's large blocks aren't, so these take theirs
 * out of what is left. */
void
mp_breakdown_make(const struct mp_mappings *mappings, const struct mp_malloc *malloc,
                  const struct mp_pymalloc *pymalloc, struct mp_breakdown *breakdown)
{
    uint64_t left = mappings->anonymous;
    *breakdown = (struct mp_breakdown){
        .rss = mappings->rss,
        .python_small = MP_UNKNOWN,
        .python_free = MP_UNKNOWN,
        .malloc_used = MP_UNKNOWN,
        .malloc_free = MP_UNKNOWN,
        .lazy_free = mappings->lazy_free,
        .stacks = mappings->stacks,
        .files = mappings->files,
        .shared = mappings->shared,
        .trimmable_least = MP_UNKNOWN,
        .trimmable_most = MP_UNKNOWN,
        .uss = mappings->uss,
        .pss = mappings->pss,
        .swap = mappings->swap,
    };
    if (pymalloc->used != MP_UNKNOWN) {
        breakdown->python_small = take(&left, pymalloc->used);
        breakdown->python_free = take(&left, pymalloc->free);
    }
    if (malloc->system != MP_UNKNOWN) {
        /* The main arena goes on in mappings where brk() can't. */
        uint64_t elsewhere = without(malloc->system, mappings->heaps_size);
        uint64_t heaps = mappings->heaps + take(&left, elsewhere);
        uint64_t used = smaller(malloc->used, heaps);
        uint64_t absent = without(malloc->system, heaps);
        uint64_t written = take(&left, malloc->mapped);
        breakdown->malloc_used = used + written;
        breakdown->unwritten = malloc->mapped - written;
        breakdown->malloc_free = heaps - used;
        breakdown->trimmable_most = heaps - used;
        breakdown->trimmable_least =
            smaller(without(malloc->whole_pages, absent), heaps - used);
    }
    breakdown->other = left + mappings->rest;
}

int
mp_breakdown_read(const struct mp_pymalloc *pymalloc, struct mp_breakdown *breakdown,
                  const char **allocator)
{
    struct mp_malloc malloc;
    struct mp_mappings mappings;
    *allocator = mp_malloc_read(&malloc);
    int error = mp_mappings_read(malloc.system != MP_UNKNOWN, &mappings);
    if (error == 0) {
        mp_breakdown_make(&mappings, &malloc, pymalloc, breakdown);
    }
    return error;
}
