#include "probe_state.h"
#include "attributes.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#ifndef MP_DEFAULT_CAPACITY
#    define MP_DEFAULT_CAPACITY 65536
#endif

/* How a forked child is told apart from its parent.
 *
 * The kernel wipes the state in it, however it was forked: the state of another process
 * is all zeros, and a call needs to compare with one number. fork() calls in_child()
 * besides, because a process that was restored from a checkpoint (by CRIU before 4.2)
 * has lost that advice, and because only there is the child known to be alone. What
 * neither sees, a raw clone() in a restored process, is seen by the process's number,
 * at the next look at whose file is read and by each call that can afford it (0.1 of a
 * reading). Where the kernel wipes nothing, each call asks for that number. */

/* How far the state is prepared, in the low bits of `owner`. The other bits are the
 * process's number, but with READY. */
enum phase {
    BUSY = 1,  /* one thread is preparing it, the others wait */
    OPEN = 2,  /* the reader has opened its file: done at import, and in in_child() */
    READY = 3, /* the ring is there, resident: done before the first reading */
    ASKED = 4, /* the same, where the kernel wipes nothing */
};
#define PHASE_BITS 3
#define PHASES ((1 << PHASE_BITS) - 1)

static _Atomic(struct mp_state *) shared_state;

/* What a child inherits, in memory that isn't wiped. */

struct mp_rss_reader mp_state_reader;
_Atomic uint64_t mp_configured_capacity = MP_DEFAULT_CAPACITY;

/* Where the slots are. Of two places one is valid, and the other is written first: a
 * fork by another thread at any moment finds one that is whole. */
static struct {
    struct slots {
        struct mp_sample *at;
        size_t bytes;
    } places[2];
    atomic_int valid;
} noted_slots;

/* Has fork() been asked to call in_child()? */
static atomic_bool watched;

static inline uint64_t
owner_in(enum phase phase)
{
    return phase == READY ? READY : mp_process_id() << PHASE_BITS | phase;
}

void
mp_state_note_slots(struct mp_sample *slots, uint64_t capacity)
{
    int other = 1 - atomic_load_explicit(&noted_slots.valid, memory_order_relaxed);
    noted_slots.places[other] = (struct slots){slots, (size_t)capacity * sizeof *slots};
    atomic_store_explicit(&noted_slots.valid, other, memory_order_release);
}

MP_COLD int
mp_state_allocate_ring(struct mp_state *state)
{
    uint64_t capacity = atomic_load(&mp_configured_capacity);
    struct mp_sample *slots = mp_pages_map((size_t)capacity * sizeof *slots);
    if (slots == NULL) {
        return MP_NO_MEMORY;
    }
    mp_state_note_slots(slots, capacity);
    state->ring.slots = slots;
    state->ring.capacity = capacity;
    return 0;
}

/* Makes the state this process's. It may be that of a parent, or all zeros. `alone`: no
 * other thread runs. */
static void
take_over(struct mp_state *state, bool alone)
{
    static bool first_is_over;
    size_t kept = offsetof(struct mp_state, highest);
    memset((char *)state + kept, 0, sizeof *state - kept);
    struct slots slots = noted_slots.places[atomic_load(&noted_slots.valid)];
    mp_state_note_slots(NULL, 0);
    if (slots.at != NULL) {
        mp_pages_unmap(slots.at, slots.bytes);
    }
    if (first_is_over) {
        mp_rss_open_in_child(&mp_state_reader, alone);
    } else {
        mp_rss_open(&mp_state_reader);
        first_is_over = true;
    }
}

/* Prepares the state up to that phase, if it isn't yet. */
static MP_COLD void
prepare(struct mp_state *state, enum phase wanted, bool alone)
{
    uint64_t owner = atomic_load(&state->owner);
    bool ours;
    for (;;) {
        uint64_t process =
            owner == READY ? atomic_load(&state->process) : owner >> PHASE_BITS;
        ours = process == mp_process_id();
        uint64_t phase = owner & PHASES;
        if (ours && phase != BUSY && phase >= (uint64_t)wanted) {
            return;
        }
        if (ours && phase == BUSY) {
            mp_yield();
            owner = atomic_load(&state->owner);
        } else if (atomic_compare_exchange_weak(&state->owner, &owner,
                                                owner_in(BUSY))) {
            break;
        }
    }
    if (!ours) {
        take_over(state, alone);
    }
    /* Each time: who was restored from a checkpoint gets it back. */
    bool wiped = mp_state_wipe(state, sizeof *state);
    if (wanted == READY) {
        /* Without memory the samples will fail, and try again. */
        (void)mp_state_allocate_ring(state);
        wanted = wiped ? READY : ASKED;
    }
    atomic_store(&state->process, mp_process_id());
    atomic_store(&state->owner, owner_in(wanted));
}

struct mp_state *
mp_state_ready(void)
{
    struct mp_state *state = atomic_load_explicit(&shared_state, memory_order_acquire);
    uint64_t owner = atomic_load_explicit(&state->owner, memory_order_acquire);
    if (owner != READY) {
        prepare(state, READY, false);
    }
    return state;
}

MP_COLD struct mp_state *
mp_state_certain(void)
{
    struct mp_state *state = atomic_load_explicit(&shared_state, memory_order_acquire);
    prepare(state, READY, false);
    return state;
}

/* In each child of fork(), alone. */
static void
in_child(void)
{
    struct mp_state *state = atomic_load(&shared_state);
    if (state != NULL) {
        prepare(state, OPEN, true);
        mp_state_begin_blocks_again(state);
    }
}

int
mp_probe_start(void)
{
    if (!atomic_exchange(&watched, true) && mp_fork_watch(in_child) != 0) {
        atomic_store(&watched, false);
        return MP_NO_MEMORY;
    }
    struct mp_state *state = atomic_load(&shared_state);
    if (state == NULL) {
        struct mp_state *new_state = mp_state_map(sizeof *new_state);
        if (new_state == NULL) {
            return MP_NO_MEMORY;
        }
        if (atomic_compare_exchange_strong(&shared_state, &state, new_state)) {
            state = new_state;
        } else {
            mp_pages_unmap(new_state, sizeof *new_state);
        }
    }
    prepare(state, OPEN, false);
    return 0;
}
