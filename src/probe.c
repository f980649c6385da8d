#include "probe.h"
#include "attributes.h"
#include "probe_state.h"
#include "system.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

static _Atomic int64_t configured_min_interval_ns; /* which a child inherits */

/* Notes a reading that is higher than all before. It stays for good in the peak, so it
 * is confirmed first: the number of a stranger's file, which mp_rss_read may believe
 * for a moment, would stay as well. Returns as mp_rss_read does. */
static MP_COLD int
note_highest(struct mp_state *state, struct mp_rss_reader *reader, uint64_t *bytes)
{
    int error = mp_rss_confirm(reader, bytes);
    uint64_t highest = atomic_load_explicit(&state->highest, memory_order_relaxed);
    while (error == 0 && *bytes > highest &&
           !atomic_compare_exchange_weak_explicit(&state->highest, &highest, *bytes,
                                                  memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
    return error;
}

int
mp_state_read(struct mp_state *state, struct mp_rss_reader *reader, uint64_t *bytes,
              int64_t *ns)
{
    int error = mp_rss_read(reader, bytes, ns);
    if (error == 0 &&
        *bytes > atomic_load_explicit(&state->highest, memory_order_relaxed)) {
        error = note_highest(state, reader, bytes);
    }
    return error;
}

MP_FLAT int
mp_probe_rss(uint64_t *bytes)
{
    struct mp_state *state = mp_state_ready();
    int64_t ns;
    return mp_state_read(state, &state->reader, bytes, &ns);
}

/* Is it too early for another sample? Then *bytes is that of the last one. It never is
 * if the interval is 0, not even for a thread that took its time before the last
 * sample. */
static inline bool
too_early(struct mp_state *state, int64_t now_ns, int64_t min_interval_ns,
          uint64_t *bytes)
{
    int64_t last_ns = atomic_load_explicit(&state->last_ns, memory_order_acquire);
    if (min_interval_ns == 0 || last_ns == 0 || now_ns - last_ns >= min_interval_ns) {
        return false;
    }
    *bytes = atomic_load_explicit(&state->last_bytes, memory_order_relaxed);
    return true;
}

/* Stores a sample, unless another thread has stored one less than the interval before
 * it: *bytes is then that one's. Returns 0 or MP_NO_MEMORY. */
static inline int
store(struct mp_state *state, int64_t ns, int64_t min_interval_ns, uint64_t *bytes)
{
    int error = 0;
    mp_lock_acquire(&state->lock);
    if (state->ring.slots == NULL) {
        error = mp_state_allocate_ring(state);
    }
    if (error == 0 && !too_early(state, ns, min_interval_ns, bytes)) {
        mp_ring_push(&state->ring, ns, *bytes);
        for (struct mp_block *block = state->blocks; block; block = block->outer) {
            block->highest = *bytes > block->highest ? *bytes : block->highest;
        }
        if (state->record != NULL) {
            mp_record_publish(state->record, &state->ring);
        }
        atomic_store_explicit(&state->last_bytes, *bytes, memory_order_relaxed);
        atomic_store_explicit(&state->last_ns, state->ring.totals.last.ns,
                              memory_order_release);
    }
    mp_lock_release(&state->lock);
    return error;
}

int
mp_state_sample(struct mp_state *state, struct mp_rss_reader *reader,
                int64_t min_interval_ns, uint64_t *bytes)
{
    int64_t ns;
    int error = mp_state_read(state, reader, bytes, &ns);
    return error != 0 ? error : store(state, ns, min_interval_ns, bytes);
}

MP_FLAT int
mp_probe_sample(uint64_t *bytes)
{
    struct mp_state *state = mp_state_ready();
    return mp_state_sample(state, &state->reader, 0, bytes);
}

MP_FLAT int
mp_probe_sample_throttled(uint64_t *bytes)
{
    struct mp_state *state = mp_state_ready();
    int64_t min_interval_ns =
        atomic_load_explicit(&configured_min_interval_ns, memory_order_relaxed);
    if (min_interval_ns > 0 &&
        too_early(state, mp_clock_ns(), min_interval_ns, bytes)) {
        return 0;
    }
    return mp_state_sample(state, &state->reader, min_interval_ns, bytes);
}

void
mp_probe_set_min_interval(int64_t ns)
{
    atomic_store(&configured_min_interval_ns, ns);
}

int
mp_probe_peak(uint64_t *bytes)
{
    struct mp_state *state = mp_state_ready();
    int error = mp_rss_read_peak(bytes);
    uint64_t highest = atomic_load_explicit(&state->highest, memory_order_relaxed);
    if (error == 0 && *bytes < highest) {
        *bytes = highest;
    }
    return error;
}

int
mp_probe_set_capacity(uint64_t capacity)
{
    if (capacity > SIZE_MAX / sizeof(struct mp_sample)) {
        return MP_NO_MEMORY;
    }
    struct mp_state *state = mp_state_ready();
    size_t size = (size_t)capacity * sizeof(struct mp_sample);
    struct mp_sample *slots = mp_pages_map(size);
    if (slots == NULL) {
        return MP_NO_MEMORY;
    }
    mp_lock_acquire(&state->lock);
    if (state->record != NULL) {
        mp_lock_release(&state->lock);
        mp_pages_unmap(slots, size);
        return MP_RECORDING;
    }
    struct mp_sample *old_slots = state->ring.slots;
    size_t old_size = (size_t)state->ring.capacity * sizeof *old_slots;
    mp_ring_move(&state->ring, slots, capacity);
    atomic_store(&mp_configured_capacity, capacity);
    mp_lock_release(&state->lock);
    if (old_slots != NULL) {
        mp_pages_unmap(old_slots, old_size);
    }
    return 0;
}

void
mp_probe_stats(uint64_t *stored, uint64_t *overwritten, struct mp_totals *totals)
{
    struct mp_state *state = mp_state_ready();
    mp_lock_acquire(&state->lock);
    *stored = mp_ring_stored(&state->ring);
    *overwritten = mp_ring_overwritten(&state->ring);
    *totals = state->ring.totals;
    mp_lock_release(&state->lock);
}

static uint64_t
copy(struct mp_sample *to, uint64_t room, bool forgotten)
{
    struct mp_state *state = mp_state_ready();
    mp_lock_acquire(&state->lock);
    const struct mp_ring *ring = &state->ring;
    uint64_t there = ring->taken - (forgotten ? mp_ring_held(ring) : ring->oldest);
    uint64_t count = there < room ? there : room;
    mp_ring_copy(ring, ring->taken - count, count, to);
    mp_lock_release(&state->lock);
    return count;
}

uint64_t
mp_probe_copy(struct mp_sample *to, uint64_t room)
{
    return copy(to, room, false);
}

void
mp_probe_held(uint64_t *held, uint64_t *older)
{
    struct mp_state *state = mp_state_ready();
    mp_lock_acquire(&state->lock);
    *older = mp_ring_held(&state->ring);
    *held = state->ring.taken - *older;
    mp_lock_release(&state->lock);
}

uint64_t
mp_probe_copy_held(struct mp_sample *to, uint64_t room)
{
    return copy(to, room, true);
}

struct mp_spread
mp_probe_spread(struct mp_sample *to, uint64_t room, uint64_t wanted)
{
    struct mp_state *state = mp_state_ready();
    mp_lock_acquire(&state->lock);
    const struct mp_ring *ring = &state->ring;
    uint64_t stored = mp_ring_stored(ring);
    if (wanted > room && stored > room) {
        /* They came after the room was made, and would be forgotten unseen. */
        stored = room;
    }
    struct mp_spread spread = {
        .count = stored < room ? stored : room,
        .overwritten = mp_ring_overwritten(ring),
        .end = ring->oldest + stored,
    };
    if (spread.count == 1) {
        to[0] = mp_ring_at(ring, spread.end - 1);
    }
    for (uint64_t i = 0; spread.count > 1 && i < spread.count; i++) {
        uint64_t index = i * (stored - 1) / (spread.count - 1);
        to[i] = mp_ring_at(ring, ring->oldest + index);
    }
    mp_lock_release(&state->lock);
    return spread;
}

void
mp_probe_forget(uint64_t number)
{
    struct mp_state *state = mp_state_ready();
    mp_lock_acquire(&state->lock);
    mp_ring_forget(&state->ring, number);
    if (mp_ring_stored(&state->ring) == 0) {
        atomic_store(&state->last_ns, 0); /* the next sample is never too early */
    }
    mp_lock_release(&state->lock);
}
