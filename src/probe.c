#include "probe.h"
#include "attributes.h"
#include "os.h"
#include "rss.h"
#include "sampler.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_CAPACITY 65536

/* How far the state is prepared, in the low bits of `owner`. */
enum phase {
    BUSY = 1, /* one thread is preparing it, the others wait */
    OPEN = 2, /* the reader has opened its file: done at import */
    READY =
        3 /* the ring is there, all its pages touched: done before the first reading */
};
#define PHASE_BITS 2

/* All that belongs to this process and not to a forked child of it. All zeros is fresh.
 */
struct state {
    _Atomic uint64_t owner; /* process << PHASE_BITS | phase */
    _Atomic uint64_t highest;
    struct mp_rss_reader reader;
    mp_lock lock; /* guards the ring */
    struct mp_ring ring;
    /* The sample stored last, for those who don't wait for the lock; time 0: there is
     * none. The bytes are written before the time and read after it, so that they are
     * never older than the time. */
    _Atomic uint64_t last_bytes;
    _Atomic int64_t last_ns;
    struct mp_block *blocks; /* being measured; guarded by the lock */
    struct mp_sampler sampler;
    mp_lock record_control;          /* held while recording begins and ends */
    struct mp_file file;             /* the recorder's; the ring's slots are in it */
    struct mp_record_header *record; /* its first page, or NULL; guarded by the lock */
    char record_path[MP_LONGEST_PATH];
};

static _Atomic(struct state *) shared_state;

/* Does the kernel wipe the state in a forked child? Where it does, any process is
 * number 1: the state of another is all zeros. Where it doesn't, each call asks for the
 * process number, 0.14 of a reading on Linux; unlike pthread_atfork that sees every
 * kind of fork. */
static atomic_bool state_is_wiped;

/* What was configured, which a child inherits. */
static _Atomic uint64_t configured_capacity = DEFAULT_CAPACITY;
static _Atomic int64_t configured_min_interval_ns;

static atomic_bool recording_configured;
static struct mp_recording configured_recording;

static inline uint64_t
owner_in(enum phase phase)
{
    bool wiped = atomic_load_explicit(&state_is_wiped, memory_order_relaxed);
    uint64_t process = wiped ? 1 : mp_process_id();
    return process << PHASE_BITS | phase;
}

static MP_COLD int
ring_allocate(struct mp_ring *ring)
{
    uint64_t capacity = atomic_load(&configured_capacity);
    struct mp_sample *slots = mp_pages_map((size_t)capacity * sizeof *slots);
    if (slots == NULL) {
        return MP_NO_MEMORY;
    }
    ring->slots = slots;
    ring->capacity = capacity;
    return 0;
}

/* Takes the state over from a parent process, and prepares it up to that phase. */
static MP_COLD void
prepare(struct state *state, enum phase wanted)
{
    uint64_t owner = atomic_load(&state->owner);
    for (;;) {
        if (owner == owner_in(READY) || owner == owner_in(wanted)) {
            return;
        }
        if (owner == owner_in(BUSY)) {
            mp_yield();
            owner = atomic_load(&state->owner);
        } else if (atomic_compare_exchange_weak(&state->owner, &owner,
                                                owner_in(BUSY))) {
            break;
        }
    }
    if (owner != owner_in(OPEN)) {
        size_t kept = sizeof state->owner;
        memset((char *)state + kept, 0, sizeof *state - kept);
        mp_rss_open(&state->reader);
    }
    if (wanted == READY) {
        /* Without memory the samples will fail, and try again. */
        (void)ring_allocate(&state->ring);
    }
    atomic_store(&state->owner, owner_in(wanted));
}

/* The state of this process, ready for a reading. */
static inline struct state *
ready_state(void)
{
    struct state *state = atomic_load_explicit(&shared_state, memory_order_acquire);
    uint64_t owner = atomic_load_explicit(&state->owner, memory_order_acquire);
    if (owner != owner_in(READY)) {
        prepare(state, READY);
    }
    return state;
}

int
mp_probe_start(void)
{
    struct state *state = atomic_load(&shared_state);
    if (state == NULL) {
        bool wiped;
        struct state *new_state = mp_state_map(sizeof *new_state, &wiped);
        if (new_state == NULL) {
            return MP_NO_MEMORY;
        }
        atomic_store(&state_is_wiped, wiped);
        if (atomic_compare_exchange_strong(&shared_state, &state, new_state)) {
            state = new_state;
        } else {
            mp_pages_unmap(new_state, sizeof *new_state);
        }
    }
    prepare(state, OPEN);
    return 0;
}

/* Notes a reading that is higher than all before. It stays for good in the peak, so it
 * is confirmed first: the number of a stranger's file, which mp_rss_read may believe
 * for a moment, would stay as well. Returns as mp_rss_read does. */
static MP_COLD int
note_highest(struct state *state, struct mp_rss_reader *reader, uint64_t *bytes)
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

static inline int
read_rss(struct state *state, struct mp_rss_reader *reader, uint64_t *bytes,
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
    struct state *state = ready_state();
    int64_t ns;
    return read_rss(state, &state->reader, bytes, &ns);
}

/* Is it too early for another sample? Then *bytes is that of the last one. It never is
 * if the interval is 0, not even for a thread that took its time before the last
 * sample. */
static inline bool
too_early(struct state *state, int64_t now_ns, int64_t min_interval_ns, uint64_t *bytes)
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
store(struct state *state, int64_t ns, int64_t min_interval_ns, uint64_t *bytes)
{
    int error = 0;
    mp_lock_acquire(&state->lock);
    if (state->ring.slots == NULL) {
        error = ring_allocate(&state->ring);
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

static inline int
sample(struct state *state, struct mp_rss_reader *reader, int64_t min_interval_ns,
       uint64_t *bytes)
{
    int64_t ns;
    int error = read_rss(state, reader, bytes, &ns);
    return error != 0 ? error : store(state, ns, min_interval_ns, bytes);
}

MP_FLAT int
mp_probe_sample(uint64_t *bytes)
{
    struct state *state = ready_state();
    return sample(state, &state->reader, 0, bytes);
}

MP_FLAT int
mp_probe_sample_throttled(uint64_t *bytes)
{
    struct state *state = ready_state();
    int64_t min_interval_ns =
        atomic_load_explicit(&configured_min_interval_ns, memory_order_relaxed);
    if (min_interval_ns > 0 &&
        too_early(state, mp_clock_ns(), min_interval_ns, bytes)) {
        return 0;
    }
    return sample(state, &state->reader, min_interval_ns, bytes);
}

void
mp_probe_set_min_interval(int64_t ns)
{
    atomic_store(&configured_min_interval_ns, ns);
}

int
mp_probe_peak(uint64_t *bytes)
{
    struct state *state = ready_state();
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
    struct state *state = ready_state();
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
    atomic_store(&configured_capacity, capacity);
    mp_lock_release(&state->lock);
    if (old_slots != NULL) {
        mp_pages_unmap(old_slots, old_size);
    }
    return 0;
}

void
mp_probe_stats(uint64_t *stored, uint64_t *overwritten, struct mp_totals *totals)
{
    struct state *state = ready_state();
    mp_lock_acquire(&state->lock);
    *stored = mp_ring_stored(&state->ring);
    *overwritten = mp_ring_overwritten(&state->ring);
    *totals = state->ring.totals;
    mp_lock_release(&state->lock);
}

static uint64_t
copy(struct mp_sample *to, uint64_t room, bool forgotten)
{
    struct state *state = ready_state();
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
    struct state *state = ready_state();
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
    struct state *state = ready_state();
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
    struct state *state = ready_state();
    mp_lock_acquire(&state->lock);
    mp_ring_forget(&state->ring, number);
    if (mp_ring_stored(&state->ring) == 0) {
        atomic_store(&state->last_ns, 0); /* the next sample is never too early */
    }
    mp_lock_release(&state->lock);
}

/* Creates the file and moves the ring into it. With record_control. */
static int
begin_recording(struct state *state)
{
    const struct mp_recording *what = &configured_recording;
    uint64_t capacity = atomic_load(&configured_capacity);
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
keep_recording(struct state *state, struct mp_sampler_own *own)
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
    struct state *state = owner;
    uint64_t bytes;
    (void)sample(state, &own->reader, 0, &bytes);
    if (atomic_load(&recording_configured)) {
        keep_recording(state, own);
    }
}

int
mp_probe_start_sampling(int64_t interval_ns)
{
    struct state *state = ready_state();
    return mp_sampler_start(&state->sampler, interval_ns, take_sample, state);
}

void
mp_probe_stop_sampling(void)
{
    struct state *state = ready_state();
    if (!atomic_load(&recording_configured)) {
        mp_sampler_stop(&state->sampler);
    }
}

int
mp_probe_record(const struct mp_recording *what, char path[MP_LONGEST_PATH])
{
    struct state *state = ready_state();
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
        struct state *state = ready_state();
        (void)mp_sampler_start(&state->sampler, configured_recording.interval_ns,
                               take_sample, state);
    }
}

int
mp_probe_stop_recording(void)
{
    struct state *state = ready_state();
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
    mp_sampler_pause(&ready_state()->sampler);
}

void
mp_probe_resume_sampling(void)
{
    mp_sampler_resume(&ready_state()->sampler);
}

int
mp_probe_enter(struct mp_block *block, const char **source)
{
    struct state *state = ready_state();
    *source = mp_rss_peak_source;
    int error = mp_rss_read_mark(&state->reader, &block->mark);
    if (error != 0) {
        return error;
    }
    *source = mp_rss_source;
    error = read_rss(state, &state->reader, &block->before, &block->start_ns);
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
    struct state *state = ready_state();
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
    struct state *state = ready_state();
    measured->before = block->before;
    measured->ns = mp_clock_ns() - block->start_ns;
    mp_probe_abandon(block);
    int64_t ns;
    *source = mp_rss_source;
    int error = read_rss(state, &state->reader, &measured->after, &ns);
    if (error != 0) {
        return error;
    }
    measured->peak = block->highest;
    if (measured->after > measured->peak) {
        measured->peak = measured->after;
    }
    uint64_t mark;
    *source = mp_rss_peak_source;
    error = mp_rss_read_mark(&state->reader, &mark);
    if (error == 0 && mark > block->mark) {
        uint64_t peak;
        error = mp_rss_read_peak(&peak);
        if (error == 0 && peak > measured->peak) {
            measured->peak = peak;
        }
    }
    return error;
}
