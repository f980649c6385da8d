/* The blocks of code that are being measured: the highest reading that came in each,
 * though a reading is noted once, however many blocks are open. Pure; its owner, the
 * probe, has the lock, without which only the noting goes.
 *
 * Entering a block begins a new span of time. The readings of the newest span are noted
 * in `highest`, those of the spans before it lie in the blocks that ended them:
 *
 *     spans      |-- third.before --|- second.before -|- first.before -|-- highest --|
 *     entered                    third             second           first          now
 *
 * So the highest of a block is that of all spans after its entering; when it is left,
 * the two spans beside it become one. */
#ifndef MP_BLOCKS_H
#define MP_BLOCKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A mark that isn't known: whether the block raises it isn't either. */
#define MP_NO_MARK UINT64_MAX

/* What the highest RSS of a block is taken from. */
enum mp_peak {
    MP_PEAK_WATCH,  /* a thread's readings, and the kernel's mark if that was raised */
    MP_PEAK_KERNEL, /* the kernel's mark, which is reset */
    MP_PEAK_ENDS,   /* both ends, and the kernel's mark if that was raised */
};

/* One block. It stays where it is until it is left. */
struct mp_block {
    enum mp_peak peak;
    const void *owner; /* who closes it at the latest; NULL: it isn't open */
    uint64_t before;   /* RSS when it was entered, in bytes */
    int64_t start_ns;
    _Atomic uint64_t mark;  /* the kernel's, then; 0: reset since */
    uint64_t highest;       /* of the span that its entering ended */
    struct mp_block *outer; /* the one that was entered before, and is open yet */
    /* Where its highest stands while it is open, for another process to find when this
     * one was killed; or NULL. Raised only. */
    _Atomic uint64_t *told;
};

/* All zeros: no block, and no reading yet. */
struct mp_blocks {
    _Atomic uint64_t highest; /* of the newest span; raised without the lock */
    struct mp_block *newest;
};

/* Raises a highest to that of a reading. */
static inline void
mp_blocks_raise(_Atomic uint64_t *highest, uint64_t bytes)
{
    uint64_t known = atomic_load_explicit(highest, memory_order_relaxed);
    while (bytes > known &&
           !atomic_compare_exchange_weak_explicit(
               highest, &known, bytes, memory_order_relaxed, memory_order_relaxed)) {
    }
}

/* Enters a block, whose `before` is the first reading of its span. */
void mp_blocks_enter(struct mp_blocks *blocks, struct mp_block *block);

/* Leaves a block. Returns whether it was open, and in *highest the highest reading
 * since it was entered. */
bool mp_blocks_leave(struct mp_blocks *blocks, struct mp_block *block,
                     uint64_t *highest);

/* Tells, where that is wanted, what the highest of an open block is so far. */
void mp_blocks_tell(const struct mp_blocks *blocks);

/* Notes for an open block, and those that are older, that RSS was as high as that. */
void mp_blocks_note(struct mp_blocks *blocks, const struct mp_block *block,
                    uint64_t bytes);

/* Leaves all blocks of that owner. Returns how many of them were watched. */
uint64_t mp_blocks_leave_all(struct mp_blocks *blocks, const void *owner);

/* Notes a mark of the kernel's, which has been reset, for the blocks that had raised
 * it, or in which somebody else had reset it before; the marks of all open blocks
 * become 0.
 */
void mp_blocks_note_mark(struct mp_blocks *blocks, uint64_t mark);

#endif
