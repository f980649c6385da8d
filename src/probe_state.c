#include "probe_state.h"
#include "attributes.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define DEFAULT_CAPACITY 65536

/* How far the state is prepared, in the low bits of `owner`. */
enum phase {
    BUSY = 1,  /* one thread is preparing it, the others wait */
    OPEN = 2,  /* the reader has opened its file: done at import */
    READY = 3, /* the ring is there, resident: done before the first reading */
};
#define PHASE_BITS 2

static _Atomic(struct mp_state *) shared_state;

/* Does the kernel wipe the state in a forked child? Where it does, any process is
 * number 1: the state of another is all zeros. Where it doesn't, each call asks for the
 * process number, 0.14 of a reading on Linux; unlike pthread_atfork that sees every
 * kind of fork. */
static atomic_bool state_is_wiped;

_Atomic uint64_t mp_configured_capacity = DEFAULT_CAPACITY;

static inline uint64_t
owner_in(enum phase phase)
{
    bool wiped = atomic_load_explicit(&state_is_wiped, memory_order_relaxed);
    uint64_t process = wiped ? 1 : mp_process_id();
    return process << PHASE_BITS | phase;
}

MP_COLD int
mp_state_allocate_ring(struct mp_state *state)
{
    uint64_t capacity = atomic_load(&mp_configured_capacity);
    struct mp_sample *slots = mp_pages_map((size_t)capacity * sizeof *slots);
    if (slots == NULL) {
        return MP_NO_MEMORY;
    }
    state->ring.slots = slots;
    state->ring.capacity = capacity;
    return 0;
}

/* Takes the state over from a parent process, and prepares it up to that phase. */
static MP_COLD void
prepare(struct mp_state *state, enum phase wanted)
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
        (void)mp_state_allocate_ring(state);
    }
    atomic_store(&state->owner, owner_in(wanted));
}

struct mp_state *
mp_state_ready(void)
{
    struct mp_state *state = atomic_load_explicit(&shared_state, memory_order_acquire);
    uint64_t owner = atomic_load_explicit(&state->owner, memory_order_acquire);
    if (owner != owner_in(READY)) {
        prepare(state, READY);
    }
    return state;
}

int
mp_probe_start(void)
{
    struct mp_state *state = atomic_load(&shared_state);
    if (state == NULL) {
        bool wiped;
        struct mp_state *new_state = mp_state_map(sizeof *new_state, &wiped);
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
