#include "blocks.h"
#include "probe.h"
#include "probe_state.h"
#include "system.h"

#include <stdatomic.h>
#include <stddef.h>

/* How many blocks are open, which a child inherits: those of its parent, too. */
static atomic_uint open_blocks;

/* Resets the kernel's mark. What it was counts for the blocks that are open. Returns 0
 * or an error of mp_rss_read_peak or mp_rss_reset_peak. */
static int
reset_mark(struct mp_state *state, const char **source)
{
    uint64_t mark;
    *source = mp_rss_peak_source;
    mp_lock_acquire(&state->resetting);
    int error = mp_rss_read_peak(&mp_state_reader, &mark);
    if (error == 0) {
        (void)mp_state_raise_highest(state, mark);
        *source = mp_rss_reset_source;
        error = mp_rss_reset_peak(&mp_state_reader);
    }
    if (error == 0) {
        mp_lock_acquire(&state->lock);
        mp_blocks_note_mark(&state->blocks, mark);
        mp_lock_release(&state->lock);
    }
    mp_lock_release(&state->resetting);
    return error;
}

/* Puts a block among the open ones, and has its peak watched. Returns 0 or an error of
 * mp_thread_start. */
static int
open_block(struct mp_state *state, struct mp_block *block)
{
    bool watch = block->peak == MP_PEAK_WATCH;
    bool too_late = false;
    mp_lock_acquire(&state->lock);
    mp_blocks_enter(&state->blocks, block);
    if (watch) {
        too_late = mp_sampler_watch(&state->sampler, block->start_ns);
    }
    bool runs = state->thread_runs || state->paused;
    mp_lock_release(&state->lock);
    atomic_fetch_add(&open_blocks, 1);
    if (watch && !runs) {
        return mp_state_run_thread(state);
    }
    if (too_late) {
        mp_thread_call(&state->thread);
    }
    return 0;
}

/* Takes a block out. Returns whether it was open in this process, and its highest. */
static bool
close_block(struct mp_state *state, struct mp_block *block, uint64_t *highest)
{
    if (block->owner == NULL) {
        return false;
    }
    int64_t now_ns = mp_clock_ns();
    atomic_fetch_sub(&open_blocks, 1);
    mp_lock_acquire(&state->lock);
    bool open = mp_blocks_leave(&state->blocks, block, highest);
    if (open && block->peak == MP_PEAK_WATCH) {
        mp_sampler_unwatch(&state->sampler, now_ns);
    }
    mp_lock_release(&state->lock);
    block->owner = NULL;
    return open;
}

int
mp_probe_enter(struct mp_block *block, enum mp_peak peak, const void *owner,
               _Atomic uint64_t *told, const char **source)
{
    struct mp_state *state = mp_state_certain();
    /* What was read until now belongs to the blocks before. */
    mp_state_note_reading(state, mp_rss_confirm(&mp_state_reader));
    int error = 0;
    uint64_t mark = 0;
    if (peak == MP_PEAK_KERNEL) {
        error = reset_mark(state, source);
    } else if (mp_rss_read_mark(&mp_state_reader, &mark) != 0) {
        mark = MP_NO_MARK; /* in a sandbox; the readings are good without it */
    }
    if (error != 0) {
        return error;
    }
    *block = (struct mp_block){.peak = peak, .mark = mark, .told = told};
    *source = mp_rss_source;
    error = mp_state_read(&mp_state_reader, &block->before, NULL, &block->start_ns);
    if (error == 0 && block->start_ns < 0) {
        error = (int)-block->start_ns;
    }
    if (error != 0) {
        return error;
    }
    block->owner = owner;
    *source = mp_probe_thread_source;
    error = open_block(state, block);
    if (error != 0) {
        mp_probe_abandon(block);
    }
    return error;
}

void
mp_probe_abandon(struct mp_block *block)
{
    uint64_t unwanted;
    (void)close_block(mp_state_certain(), block, &unwanted);
}

void
mp_probe_abandon_all(const void *owner)
{
    struct mp_state *state = mp_state_certain();
    int64_t now_ns = mp_clock_ns();
    mp_lock_acquire(&state->lock);
    uint64_t watched = mp_blocks_leave_all(&state->blocks, owner);
    for (; watched > 0; watched--) {
        mp_sampler_unwatch(&state->sampler, now_ns);
    }
    mp_lock_release(&state->lock);
}

void
mp_state_begin_blocks_again(struct mp_state *state)
{
    uint64_t confirmed;
    state->forked_ns = 0;
    if (atomic_load(&open_blocks) > 0 &&
        mp_rss_read_verified(&mp_state_reader, &state->forked_bytes, NULL,
                             &confirmed) == 0) {
        state->forked_ns = mp_clock_ns();
    }
}

/* Notes the kernel's mark for a block if it was raised since that was entered, or
 * reset: then it has fallen, or is known to have been. Returns 0 or an error of
 * mp_rss_read_peak. */
static int
note_mark(struct mp_state *state, const struct mp_block *block)
{
    uint64_t mark, peak;
    if (block->mark == MP_NO_MARK ||
        (mp_rss_read_mark(&mp_state_reader, &mark) == 0 && mark == block->mark)) {
        return 0;
    }
    int error = mp_rss_read_peak(&mp_state_reader, &peak);
    if (error == 0) {
        (void)mp_state_raise_highest(state, peak);
        mp_lock_acquire(&state->lock);
        mp_blocks_note(&state->blocks, block, peak);
        mp_lock_release(&state->lock);
    }
    return error;
}

/* A block that was entered before the fork begins with this process, if it is known how
 * that began, else now. Since then the kernel's mark is of it alone. */
static int
measure_since_fork(struct mp_state *state, int64_t now_ns, struct mp_measured *measured)
{
    measured->before = measured->after;
    measured->ns = 0;
    if (state->forked_ns > 0) {
        measured->before = state->forked_bytes;
        measured->ns = now_ns - state->forked_ns;
    }
    return mp_probe_peak(&measured->peak);
}

int
mp_probe_leave(struct mp_block *block, struct mp_measured *measured,
               const char **source)
{
    struct mp_state *state = mp_state_certain();
    int64_t now_ns;
    *source = mp_rss_source;
    int error = mp_state_read(&mp_state_reader, &measured->after, NULL, &now_ns);
    if (error == 0 && now_ns < 0) {
        error = (int)-now_ns;
    }
    mp_state_note_reading(state, mp_rss_confirm(&mp_state_reader));
    bool entered = block->owner != NULL;
    if (error == 0 && entered) {
        *source = mp_rss_peak_source;
        error = note_mark(state, block);
        if (block->peak != MP_PEAK_KERNEL) {
            error = 0; /* as when it was entered */
        }
    }
    bool open = close_block(state, block, &measured->peak);
    if (error != 0) {
        return error;
    }
    measured->before = block->before;
    measured->ns = now_ns - block->start_ns;
    if (entered && !open) {
        error = measure_since_fork(state, now_ns, measured);
    } else if (!open) {
        measured->peak = block->before; /* it was left for good before */
    }
    if (measured->peak < measured->after) {
        measured->peak = measured->after;
    }
    return error;
}
