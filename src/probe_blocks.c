#include "probe.h"
#include "probe_state.h"
#include "system.h"

#include <stddef.h>

int
mp_probe_enter(struct mp_block *block, const char **source)
{
    struct mp_state *state = mp_state_ready();
    *source = mp_rss_peak_source;
    int error = mp_rss_read_mark(&mp_state_reader, &block->mark);
    if (error != 0) {
        return error;
    }
    *source = mp_rss_source;
    error = mp_state_read(&mp_state_reader, &block->before, NULL, &block->start_ns);
    if (error != 0) {
        return error;
    }
    block->highest = block->before;
    mp_lock_acquire(&state->lock);
    block->outer = state->blocks;
    state->blocks = block;
    mp_lock_release(&state->lock);
    return 0;
}

void
mp_probe_abandon(struct mp_block *block)
{
    struct mp_state *state = mp_state_ready();
    mp_lock_acquire(&state->lock);
    /* In a forked child the list is empty, and the blocks of the parent are in none. */
    for (struct mp_block **at = &state->blocks; *at != NULL; at = &(*at)->outer) {
        if (*at == block) {
            *at = block->outer;
            break;
        }
    }
    mp_lock_release(&state->lock);
}

int
mp_probe_leave(struct mp_block *block, struct mp_measured *measured,
               const char **source)
{
    measured->before = block->before;
    measured->ns = mp_clock_ns() - block->start_ns;
    mp_probe_abandon(block);
    int64_t ns;
    *source = mp_rss_source;
    int error = mp_state_read(&mp_state_reader, &measured->after, NULL, &ns);
    if (error != 0) {
        return error;
    }
    measured->peak = block->highest;
    if (measured->after > measured->peak) {
        measured->peak = measured->after;
    }
    uint64_t mark;
    *source = mp_rss_peak_source;
    error = mp_rss_read_mark(&mp_state_reader, &mark);
    if (error == 0 && mark > block->mark) {
        uint64_t peak;
        error = mp_rss_read_peak(&mp_state_reader, &peak);
        if (error == 0 && peak > measured->peak) {
            measured->peak = peak;
        }
    }
    return error;
}
