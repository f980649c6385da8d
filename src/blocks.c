#include "blocks.h"

static uint64_t
higher(uint64_t one, uint64_t other)
{
    return one > other ? one : other;
}

void
mp_blocks_enter(struct mp_blocks *blocks, struct mp_block *block)
{
    block->highest = atomic_exchange(&blocks->highest, block->before);
    block->outer = blocks->newest;
    blocks->newest = block;
}

bool
mp_blocks_leave(struct mp_blocks *blocks, struct mp_block *block, uint64_t *highest)
{
    struct mp_block *newer = NULL;
    struct mp_block *at = blocks->newest;
    *highest = atomic_load(&blocks->highest);
    while (at != NULL && at != block) {
        *highest = higher(*highest, at->highest);
        newer = at;
        at = at->outer;
    }
    if (at == NULL) {
        return false;
    }
    block->owner = NULL;
    if (newer == NULL) {
        mp_blocks_raise(&blocks->highest, block->highest);
        blocks->newest = block->outer;
    } else {
        newer->highest = higher(newer->highest, block->highest);
        newer->outer = block->outer;
    }
    return true;
}

void
mp_blocks_tell(const struct mp_blocks *blocks)
{
    uint64_t highest = atomic_load(&blocks->highest);
    for (const struct mp_block *at = blocks->newest; at != NULL; at = at->outer) {
        if (at->told != NULL) {
            mp_blocks_raise(at->told, highest);
        }
        highest = higher(highest, at->highest);
    }
}

void
mp_blocks_note(struct mp_blocks *blocks, const struct mp_block *block, uint64_t bytes)
{
    struct mp_block *newer = blocks->newest;
    if (newer == block) {
        mp_blocks_raise(&blocks->highest, bytes);
        return;
    }
    while (newer != NULL && newer->outer != block) {
        newer = newer->outer;
    }
    if (newer != NULL) {
        newer->highest = higher(newer->highest, bytes);
    }
}

uint64_t
mp_blocks_leave_all(struct mp_blocks *blocks, const void *owner)
{
    uint64_t watched = 0, unwanted;
    struct mp_block *outer;
    for (struct mp_block *at = blocks->newest; at != NULL; at = outer) {
        outer = at->outer;
        if (at->owner == owner && mp_blocks_leave(blocks, at, &unwanted)) {
            watched += at->peak == MP_PEAK_WATCH;
        }
    }
    return watched;
}

void
mp_blocks_note_mark(struct mp_blocks *blocks, uint64_t mark)
{
    const struct mp_block *raised = blocks->newest;
    while (raised != NULL && (raised->mark == mark || raised->mark == MP_NO_MARK)) {
        raised = raised->outer;
    }
    if (raised != NULL) {
        mp_blocks_note(blocks, raised, mark);
    }
    for (struct mp_block *at = blocks->newest; at != NULL; at = at->outer) {
        at->mark = 0;
    }
}
