#include "probe.h"
#include "attributes.h"
#include "probe_state.h"
#include "system.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* How many samples mp_probe_above copies at once, with the lock. */
#ifndef MP_ABOVE_PIECE
#    define MP_ABOVE_PIECE 256
#endif

/* For so long a call that comes too soon doesn't ask whose the last sample is, as with
 * the file of a reading. */
#define ASK_EVERY_NS 1000000

static _Atomic int64_t configured_min_interval_ns; /* which a child inherits */

uint64_t
mp_state_raise_highest(struct mp_state *state, uint64_t bytes)
{
    uint64_t highest = atomic_load_explicit(&state->highest, memory_order_relaxed);
    while (bytes > highest && !atomic_compare_exchange_weak_explicit(
                                  &state->highest, &highest, bytes,
                                  memory_order_relaxed, memory_order_relaxed)) {
    }
    return bytes > highest ? bytes : highest;
}

void
mp_state_note_reading(struct mp_state *state, uint64_t bytes)
{
    mp_blocks_raise(&state->blocks.highest, bytes);
    (void)mp_state_raise_highest(state, bytes);
}

/* The reading at which it is looked whose file is read, and whose state this is. */
static MP_COLD int
read_verified(struct mp_rss_reader *reader, uint64_t *bytes, uint64_t *shared)
{
    struct mp_state *state = mp_state_certain();
    uint64_t confirmed;
    int error = mp_rss_read_verified(reader, bytes, shared, &confirmed);
    mp_state_note_reading(state, confirmed);
    return error;
}

int
mp_state_read(struct mp_rss_reader *reader, uint64_t *bytes, uint64_t *shared,
              int64_t *ns)
{
    int error = mp_rss_read(reader, bytes, shared, ns);
    return error == 0 ? 0 : read_verified(reader, bytes, shared);
}

MP_FLAT int
mp_probe_rss(uint64_t *bytes)
{
    (void)mp_state_ready();
    int64_t ns;
    return mp_state_read(&mp_state_reader, bytes, NULL, &ns);
}

MP_FLAT int
mp_probe_rss_anon(uint64_t *bytes)
{
    (void)mp_state_ready();
    int64_t ns;
    uint64_t shared = MP_RSS_UNKNOWN; /* for gcc, which takes it for uninitialized */
    int error = mp_state_read(&mp_state_reader, bytes, &shared, &ns);
    if (error == 0 && shared == MP_RSS_UNKNOWN) {
        return MP_NOT_TOLD;
    }
    *bytes -= error == 0 && shared < *bytes ? shared : 0;
    return error;
}

/* Is it too early for another sample? Then *bytes is that of the last one. It never is
 * if the interval is 0, not even for a thread that took its time before the last
 * sample. With the lock. */
static bool
too_early(const struct mp_totals *totals, int64_t now_ns, int64_t min_interval_ns,
          uint64_t *bytes)
{
    if (min_interval_ns == 0 || totals->count == 0 ||
        now_ns - totals->last.ns >= min_interval_ns) {
        return false;
    }
    *bytes = totals->last.bytes;
    return true;
}

/* Has calls that come too soon get the last sample, until they have to ask again. With
 * the lock. */
static MP_COLD void
throttle(struct mp_state *state, int64_t now_ns, int64_t min_interval_ns)
{
    const struct mp_totals *totals = &state->ring.totals;
    int64_t until_ns = 0;
    if (totals->count > 0 && min_interval_ns > 0) {
        int64_t age_ns = now_ns > totals->last.ns ? now_ns - totals->last.ns : 0;
        int64_t rest_ns = min_interval_ns - age_ns;
        until_ns = now_ns + (rest_ns < ASK_EVERY_NS ? rest_ns : ASK_EVERY_NS);
        atomic_store_explicit(&state->last_bytes, totals->last.bytes,
                              memory_order_relaxed);
    }
    atomic_store_explicit(&state->throttled_until_ns, until_ns, memory_order_release);
}

/* With the lock. Returns 0 or MP_NO_MEMORY. */
static inline int
push(struct mp_state *state, int64_t ns, int64_t min_interval_ns, uint64_t bytes)
{
    if (state->ring.slots == NULL) {
        int error = mp_state_allocate_ring(state);
        if (error != 0) {
            return error;
        }
    }
    mp_ring_push(&state->ring, ns, bytes);
    if (min_interval_ns != 0) {
        throttle(state, ns, min_interval_ns);
    }
    return 0;
}

int
mp_state_store(struct mp_state *state, int64_t ns, uint64_t bytes)
{
    return push(state, ns, atomic_load(&configured_min_interval_ns), bytes);
}

/* Stores a sample; if `throttled`, not one that comes too early: *bytes is then that of
 * the last one. Returns 0, MP_NO_MEMORY, or an errno of the clock. */
static inline int
store(struct mp_state *state, int64_t ns, bool throttled, uint64_t *bytes)
{
    int error = 0;
    if (ns < 0) {
        return (int)-ns;
    }
    int64_t min_interval_ns =
        atomic_load_explicit(&configured_min_interval_ns, memory_order_relaxed);
    mp_lock_acquire(&state->lock);
    if (!throttled || !too_early(&state->ring.totals, ns, min_interval_ns, bytes)) {
        error = push(state, ns, min_interval_ns, *bytes);
    }
    mp_lock_release(&state->lock);
    return error;
}

static inline int
sample(struct mp_state *state, bool throttled, uint64_t *bytes)
{
    int64_t ns;
    int error = mp_state_read(&mp_state_reader, bytes, NULL, &ns);
    return error != 0 ? error : store(state, ns, throttled, bytes);
}

MP_FLAT int
mp_probe_sample(uint64_t *bytes)
{
    return sample(mp_state_ready(), false, bytes);
}

/* The call came too soon a moment ago. Does it yet, and is the last sample this
 * process's? */
static MP_COLD bool
is_throttled(uint64_t *bytes)
{
    struct mp_state *state = mp_state_certain();
    int64_t now_ns = mp_clock_ns();
    int64_t min_interval_ns =
        atomic_load_explicit(&configured_min_interval_ns, memory_order_relaxed);
    if (now_ns < 0) {
        return false;
    }
    mp_lock_acquire(&state->lock);
    bool early = too_early(&state->ring.totals, now_ns, min_interval_ns, bytes);
    throttle(state, now_ns, early ? min_interval_ns : 0);
    mp_lock_release(&state->lock);
    return early;
}

MP_FLAT int
mp_probe_sample_throttled(uint64_t *bytes)
{
    struct mp_state *state = mp_state_ready();
    int64_t until_ns =
        atomic_load_explicit(&state->throttled_until_ns, memory_order_acquire);
    if (until_ns != 0) {
        /* Unsigned: a clock that is refused is never too soon. */
        if ((uint64_t)mp_clock_ns() < (uint64_t)until_ns) {
            *bytes = atomic_load_explicit(&state->last_bytes, memory_order_relaxed);
            return 0;
        }
        if (is_throttled(bytes)) {
            return 0;
        }
    }
    return sample(state, true, bytes);
}

void
mp_probe_set_min_interval(int64_t ns)
{
    struct mp_state *state = mp_state_certain();
    int64_t now_ns = mp_clock_ns();
    mp_lock_acquire(&state->lock);
    atomic_store(&configured_min_interval_ns, ns);
    throttle(state, now_ns, now_ns < 0 ? 0 : ns);
    mp_lock_release(&state->lock);
}

int
mp_probe_peak(uint64_t *bytes)
{
    struct mp_state *state = mp_state_certain();
    uint64_t peak = mp_rss_confirm(&mp_state_reader);
    mp_state_note_reading(state, peak);
    int error = mp_rss_read_peak(&mp_state_reader, &peak);
    if (error == 0) {
        *bytes = mp_state_raise_highest(state, peak);
    }
    return error;
}

/* Copies the samples before that number, oldest first: as many as are held, at most a
 * piece. Returns how many. */
static uint64_t
copy_before(struct mp_state *state, uint64_t number, struct mp_sample *to)
{
    mp_lock_acquire(&state->lock);
    const struct mp_ring *ring = &state->ring;
    uint64_t held = mp_ring_oldest_kept(ring);
    uint64_t count = number > held ? number - held : 0;
    count = count < MP_ABOVE_PIECE ? count : MP_ABOVE_PIECE;
    mp_ring_copy(ring, number - count, count, to);
    mp_lock_release(&state->lock);
    return count;
}

/* Was RSS above the limit in all samples since that time, and in the last one before it
 * if there are none? Forgotten ones tell that as well. */
static bool
was_above(struct mp_state *state, uint64_t limit, int64_t since_ns)
{
    struct mp_sample samples[MP_ABOVE_PIECE];
    mp_lock_acquire(&state->lock);
    uint64_t newest = state->ring.taken;
    mp_lock_release(&state->lock);
    uint64_t number = newest;
    for (;;) {
        uint64_t count = copy_before(state, number, samples);
        if (count == 0) {
            return false; /* they don't reach back that far */
        }
        for (; count > 0; count--, number--) {
            const struct mp_sample *one = &samples[count - 1];
            if (one->ns <= since_ns && number < newest) {
                return true;
            }
            if (one->bytes <= limit) {
                return false;
            }
            if (one->ns <= since_ns) {
                return true;
            }
        }
    }
}

int
mp_probe_above(uint64_t limit, int64_t within_ns, bool *above)
{
    struct mp_state *state = mp_state_certain();
    uint64_t bytes;
    *above = false;
    int error = read_verified(&mp_state_reader, &bytes, NULL);
    if (error != 0 || bytes <= limit) {
        return error;
    }
    if (within_ns > 0) {
        int64_t now_ns = mp_clock_ns();
        if (now_ns < 0) {
            return (int)-now_ns;
        }
        *above = was_above(state, limit, now_ns - within_ns);
    } else {
        *above = true;
    }
    return 0;
}

int
mp_probe_set_capacity(uint64_t capacity)
{
    if (capacity > SIZE_MAX / sizeof(struct mp_sample)) {
        return MP_NO_MEMORY;
    }
    struct mp_state *state = mp_state_certain();
    size_t size = (size_t)capacity * sizeof(struct mp_sample);
    struct mp_sample *slots = mp_pages_map(size);
    if (slots == NULL) {
        return MP_NO_MEMORY;
    }
    mp_lock_acquire(&state->lock);
    struct mp_sample *old_slots = state->ring.slots;
    size_t old_size = (size_t)state->ring.capacity * sizeof *old_slots;
    mp_ring_move(&state->ring, slots, capacity);
    mp_state_note_slots(slots, capacity);
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
    struct mp_state *state = mp_state_certain();
    mp_state_catch_up(state);
    mp_lock_acquire(&state->lock);
    *stored = mp_ring_stored(&state->ring);
    *overwritten = mp_ring_overwritten(&state->ring);
    *totals = state->ring.totals;
    mp_lock_release(&state->lock);
}

uint64_t
mp_probe_copy(struct mp_sample *to, uint64_t room)
{
    struct mp_state *state = mp_state_certain();
    mp_lock_acquire(&state->lock);
    const struct mp_ring *ring = &state->ring;
    uint64_t there = mp_ring_stored(ring);
    uint64_t count = there < room ? there : room;
    mp_ring_copy(ring, ring->taken - count, count, to);
    mp_lock_release(&state->lock);
    return count;
}

struct mp_selection
mp_probe_select(struct mp_sample *to, uint64_t room, uint64_t wanted)
{
    struct mp_state *state = mp_state_certain();
    mp_lock_acquire(&state->lock);
    const struct mp_ring *ring = &state->ring;
    uint64_t stored = mp_ring_stored(ring);
    if (wanted > room && stored > room) {
        /* They came after the room was made, and would be forgotten unseen. */
        stored = room;
    }
    struct mp_selection selection = {
        .count = stored < room ? stored : room,
        .overwritten = mp_ring_overwritten(ring),
        .end = ring->oldest + stored,
    };
    if (selection.count == 1) {
        to[0] = mp_ring_at(ring, selection.end - 1);
    }
    for (uint64_t i = 0; selection.count > 1 && i < selection.count; i++) {
        uint64_t index = i * (stored - 1) / (selection.count - 1);
        to[i] = mp_ring_at(ring, ring->oldest + index);
    }
    mp_lock_release(&state->lock);
    return selection;
}

void
mp_probe_forget(uint64_t number)
{
    struct mp_state *state = mp_state_certain();
    mp_lock_acquire(&state->lock);
    mp_ring_forget(&state->ring, number);
    if (mp_ring_stored(&state->ring) == 0) {
        throttle(state, 0, 0); /* the next sample is never too early */
    }
    mp_lock_release(&state->lock);
}
