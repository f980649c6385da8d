#include "file.h"
#include "probe.h"
#include "probe_state.h"
#include "record.h"
#include "sampler.h"
#include "system.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* What was configured, which a child inherits. */
static atomic_bool recording_configured;
static struct mp_recording configured_recording;

/* Creates the file and moves the ring into it. With record_control. */
static int
begin_recording(struct mp_state *state)
{
    const struct mp_recording *what = &configured_recording;
    uint64_t capacity = atomic_load(&mp_configured_capacity);
    if (capacity > (SIZE_MAX - MP_RECORD_HEADER_BYTES) / sizeof(struct mp_sample)) {
        return MP_NO_MEMORY;
    }
    struct mp_record_origin origin = {
        .pid = (uint32_t)mp_process_id(),
        .wall_ns = mp_wall_clock_ns(),
        .monotonic_ns = mp_clock_ns(),
        .interval_ns = what->interval_ns,
        .memory_limit = what->memory_limit,
        .argv = what->argv,
        .argv_bytes = what->argv_bytes,
    };
    int length = snprintf(state->record_path, sizeof state->record_path,
                          "%s/%" PRIu64 "-%" PRId64 ".memprobe", what->directory,
                          origin.pid, origin.wall_ns / 1000);
    if (length < 0 || (size_t)length >= sizeof state->record_path) {
        return MP_PATH_TOO_LONG;
    }
    struct mp_file file = {0};
    size_t size = MP_RECORD_HEADER_BYTES + (size_t)capacity * sizeof(struct mp_sample);
    int error = mp_file_create(&file, state->record_path, size);
    if (error != 0) {
        return error;
    }
    mp_lock_acquire(&state->lock);
    struct mp_file old_file = state->file; /* one that couldn't be left */
    struct mp_sample *old_slots = state->ring.slots;
    size_t old_size = (size_t)state->ring.capacity * sizeof *old_slots;
    void *slots = (char *)file.pages + MP_RECORD_HEADER_BYTES;
    mp_ring_move(&state->ring, slots, capacity);
    mp_state_note_slots(NULL, 0);
    state->file = file;
    state->record = file.pages;
    mp_record_begin(state->record, &origin, &state->ring);
    mp_lock_release(&state->lock);
    if (old_file.pages != NULL) {
        mp_file_close(&old_file);
    } else if (old_slots != NULL) {
        mp_pages_unmap(old_slots, old_size);
    }
    return 0;
}

/* What the recorder does after each sample, in the sampler's thread. */
static void
keep_recording(struct mp_state *state, struct mp_sampler_own *own)
{
    if (state->record == NULL && own->taken > 0) {
        /* A forked child, an interval after its fork. */
        mp_lock_acquire(&state->record_control);
        if (state->record == NULL) {
            (void)begin_recording(state);
        }
        mp_lock_release(&state->record_control);
    }
    if (state->record == NULL) {
        return;
    }
    if (!state->file.held) {
        mp_file_hold(&own->hold, state->record_path);
    }
    uint64_t mark;
    if (mp_rss_read_mark(&own->reader, &mark) == 0 &&
        mark > atomic_load(&state->record->peak)) {
        atomic_store(&state->record->peak, mark);
    }
}

static void
take_sample(void *owner, struct mp_sampler_own *own)
{
    struct mp_state *state = owner;
    uint64_t bytes;
    (void)mp_state_sample(state, &own->reader, &bytes);
    if (atomic_load(&recording_configured)) {
        keep_recording(state, own);
    }
}

int
mp_probe_start_sampling(int64_t interval_ns)
{
    struct mp_state *state = mp_state_ready();
    return mp_sampler_start(&state->sampler, interval_ns, take_sample, state);
}

void
mp_probe_stop_sampling(void)
{
    struct mp_state *state = mp_state_ready();
    if (!atomic_load(&recording_configured)) {
        mp_sampler_stop(&state->sampler);
    }
}

int
mp_probe_record(const struct mp_recording *what, char path[MP_LONGEST_PATH])
{
    struct mp_state *state = mp_state_ready();
    if (atomic_load(&recording_configured)) {
        return MP_RECORDING;
    }
    /* Before the lock, for which the thread may be waiting. */
    mp_sampler_pause(&state->sampler);
    mp_lock_acquire(&state->record_control);
    int error = MP_RECORDING;
    if (!atomic_load(&recording_configured)) {
        configured_recording = *what;
        error = begin_recording(state);
        memcpy(path, state->record_path, MP_LONGEST_PATH);
        atomic_store(&recording_configured, error == 0);
    }
    mp_lock_release(&state->record_control);
    if (error != 0) {
        mp_sampler_resume(&state->sampler);
        return error;
    }
    mp_sampler_stop(&state->sampler); /* what is paused can't be started */
    error = mp_sampler_start(&state->sampler, what->interval_ns, take_sample, state);
    if (error != 0) {
        (void)mp_probe_stop_recording();
    }
    return error;
}

void
mp_probe_record_child(void)
{
    if (atomic_load(&recording_configured)) {
        struct mp_state *state = mp_state_ready();
        (void)mp_sampler_start(&state->sampler, configured_recording.interval_ns,
                               take_sample, state);
    }
}

int
mp_probe_stop_recording(void)
{
    struct mp_state *state = mp_state_ready();
    if (!atomic_exchange(&recording_configured, false)) {
        return 0;
    }
    mp_sampler_stop(&state->sampler);
    mp_lock_acquire(&state->record_control);
    int error = 0;
    if (state->record != NULL) {
        size_t size = (size_t)state->ring.capacity * sizeof(struct mp_sample);
        struct mp_sample *slots = mp_pages_map(size);
        mp_lock_acquire(&state->lock);
        atomic_store(&state->record->ended, 1);
        if (slots == NULL) {
            error = MP_NO_MEMORY;
        } else {
            mp_ring_move(&state->ring, slots, state->ring.capacity);
            mp_state_note_slots(slots, state->ring.capacity);
            state->record = NULL;
        }
        mp_lock_release(&state->lock);
        if (error == 0) {
            mp_file_close(&state->file);
        }
    }
    mp_lock_release(&state->record_control);
    return error;
}

void
mp_probe_pause_sampling(void)
{
    mp_sampler_pause(&mp_state_ready()->sampler);
}

void
mp_probe_resume_sampling(void)
{
    mp_sampler_resume(&mp_state_ready()->sampler);
}
