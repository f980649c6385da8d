#include "probe.h"
#include "probe_state.h"
#include "sampler.h"
#include "system.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

const char mp_probe_thread_source[] = "the sampler's thread";

/* One reading, for all that is due. What fails is tried again when the next is due. No
 * system call is made with the lock: a frozen thread must not hold it. */
static void
take_reading(struct mp_state *state, struct mp_rss_reader *reader)
{
    uint64_t bytes;
    int64_t ns;
    int error = mp_state_read(reader, &bytes, NULL, &ns);
    uint64_t confirmed = mp_rss_confirm(reader);
    int64_t now_ns = mp_clock_ns();
    if (error == 0 && ns < 0) {
        error = (int)-ns;
    }
    mp_lock_acquire(&state->lock);
    mp_state_note_reading(state, confirmed);
    mp_blocks_tell(&state->blocks);
    (void)mp_sampler_takes_look(&state->sampler, now_ns);
    bool sample = mp_sampler_takes_sample(&state->sampler, now_ns);
    if (sample) {
        state->silence = error != 0 ? error : mp_state_store(state, ns, bytes);
    }
    mp_lock_release(&state->lock);
}

/* All that it has is on its stack: it allocates nothing, which would give it a heap of
 * its own, 64 MiB of address space. */
static void
run(void *argument)
{
    struct mp_state *state = argument;
    struct mp_rss_reader reader = {.file = 0}; /* of its own table of descriptors */
    bool own_table = mp_rss_take_along(&reader, &mp_state_reader);
    for (;;) {
        uint32_t calls = mp_thread_calls(&state->thread);
        int64_t now_ns = mp_clock_ns();
        int64_t next_ns = INT64_MIN;
        mp_lock_acquire(&state->lock);
        if (!state->paused) {
            next_ns = mp_sampler_next(&state->sampler, now_ns);
        }
        if (now_ns < 0) {
            state->silence = (int)-now_ns;
        }
        state->thread_runs = next_ns != INT64_MIN;
        mp_lock_release(&state->lock);
        if (next_ns == INT64_MIN) {
            break;
        }
        if (next_ns > now_ns) {
            mp_thread_wait(&state->thread, calls, next_ns);
        } else {
            take_reading(state, &reader);
        }
    }
    if (!own_table) {
        mp_rss_close(&reader);
    }
}

/* With `control`. */
static int
run_thread(struct mp_state *state)
{
    mp_lock_acquire(&state->lock);
    bool start =
        mp_sampler_is_needed(&state->sampler) && !state->thread_runs && !state->paused;
    if (start) {
        state->thread_runs = true;
    }
    mp_lock_release(&state->lock);
    if (!start) {
        return 0;
    }
    int error = mp_thread_start(&state->thread, run, state);
    if (error != 0) {
        mp_lock_acquire(&state->lock);
        state->thread_runs = false;
        state->silence = error;
        mp_lock_release(&state->lock);
    }
    atomic_store(&state->thread_due, error != 0);
    return error;
}

int
mp_state_run_thread(struct mp_state *state)
{
    mp_lock_acquire(&state->control);
    int error = run_thread(state);
    mp_lock_release(&state->control);
    return error;
}

void
mp_state_catch_up(struct mp_state *state)
{
    if (atomic_load(&state->thread_due)) {
        (void)mp_state_run_thread(state); /* mp_probe_stop_sampling says why not */
    }
}

/* Ends the thread, and lets none be started. With `control`. Returns whether it has
 * ended. */
static bool
pause_thread(struct mp_state *state)
{
    mp_lock_acquire(&state->lock);
    state->paused = true;
    mp_lock_release(&state->lock);
    mp_thread_call(&state->thread);
    return mp_thread_join(&state->thread);
}

static void
allow_thread(struct mp_state *state)
{
    mp_lock_acquire(&state->lock);
    state->paused = false;
    mp_lock_release(&state->lock);
}

/* Takes samples from now on, if none are taken yet. With `control`. */
static int
begin_sampling(struct mp_state *state, int64_t interval_ns, int64_t *running_ns)
{
    int64_t now_ns = mp_clock_ns();
    mp_lock_acquire(&state->lock);
    *running_ns = state->sampler.interval_ns;
    if (*running_ns == 0) {
        mp_sampler_start(&state->sampler, interval_ns, now_ns);
        state->silence = 0;
    }
    bool runs = state->thread_runs;
    mp_lock_release(&state->lock);
    if (*running_ns != 0 && *running_ns != interval_ns) {
        return MP_SAMPLING;
    }
    int error = run_thread(state);
    if (error == 0 && runs) {
        mp_thread_call(&state->thread);
    } else if (error != 0 && *running_ns == 0) {
        mp_lock_acquire(&state->lock);
        mp_sampler_stop(&state->sampler);
        mp_lock_release(&state->lock);
    }
    return error;
}

/* Takes no samples any more, and ends the thread unless blocks need it. With `control`.
 * Returns as mp_probe_stop_sampling does. */
static int
end_sampling(struct mp_state *state, const char **source)
{
    mp_lock_acquire(&state->lock);
    *source = state->thread_runs ? mp_rss_source : mp_probe_thread_source;
    bool sampled = state->sampler.interval_ns != 0;
    int64_t due_ns = state->sampler.sample_ns;
    int silence = sampled ? state->silence : 0;
    mp_sampler_stop(&state->sampler);
    bool needed = mp_sampler_is_needed(&state->sampler);
    mp_lock_release(&state->lock);
    if (!sampled || needed) {
        return silence;
    }
    bool ended = pause_thread(state);
    allow_thread(state);
    (void)run_thread(state); /* for a block that was entered meanwhile */
    if (silence == 0 && !ended && mp_clock_ns() - due_ns > MP_PATIENCE_NS) {
        *source = mp_probe_thread_source;
        silence = MP_NO_ANSWER;
    }
    return silence;
}

int
mp_probe_start_sampling(int64_t interval_ns, int64_t *running_ns)
{
    struct mp_state *state = mp_state_certain();
    mp_lock_acquire(&state->control);
    int error = begin_sampling(state, interval_ns, running_ns);
    mp_lock_release(&state->control);
    return error;
}

int
mp_probe_stop_sampling(const char **source)
{
    struct mp_state *state = mp_state_certain();
    mp_lock_acquire(&state->control);
    int silence = end_sampling(state, source);
    mp_lock_release(&state->control);
    return silence;
}

static void
do_nothing(void *argument)
{
    (void)argument;
}

/* Could a thread be had again, once it has ended? After unshare(CLONE_NEWPID), or with
 * some seccomp filters, not: only trying tells. At a limit of their number it can, for
 * this one ends. With `control`. */
static bool
can_start_again(struct mp_state *state)
{
    int error = mp_thread_start(&state->trial, do_nothing, NULL);
    (void)mp_thread_join(&state->trial);
    return error == 0 || error == EAGAIN;
}

void
mp_probe_pause_thread(void)
{
    struct mp_state *state = mp_state_certain();
    if (!mp_thread_is_main()) {
        return; /* Python warns of that thread */
    }
    mp_lock_acquire(&state->control);
    mp_lock_acquire(&state->lock);
    bool runs = state->thread_runs;
    bool needed = mp_sampler_is_needed(&state->sampler);
    mp_lock_release(&state->lock);
    if (runs && (!needed || can_start_again(state))) {
        (void)pause_thread(state);
    }
    mp_lock_release(&state->control);
}

void
mp_probe_allow_thread(void)
{
    struct mp_state *state = mp_state_certain();
    allow_thread(state);
    atomic_store(&state->thread_due, true);
}

void
mp_probe_resume_thread(void)
{
    struct mp_state *state = mp_state_certain();
    allow_thread(state);
    (void)mp_state_run_thread(state); /* mp_probe_stop_sampling says why not */
}
