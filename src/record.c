#include "record.h"
#include "attributes.h"

#include <assert.h>
#include <string.h>

_Static_assert(sizeof(struct mp_record_header) <= MP_RECORD_HEADER_BYTES,
               "the header is one page");

#define CHECKED_BYTES offsetof(struct mp_record_state, checksum)

uint64_t
mp_record_checksum(const struct mp_record_state *state)
{
    uint64_t words[CHECKED_BYTES / sizeof(uint64_t)];
    memcpy(words, state, sizeof words);
    /* All products at once, unlike a hash in which each word waits for the one before:
     * the compiler knows the powers. */
    uint64_t sum = 1;
    uint64_t power = 1;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        power *= MP_RECORD_FACTOR;
        sum += words[i] * power;
    }
    return sum;
}

void
mp_record_begin(struct mp_record_header *header, const struct mp_record_origin *origin,
                const struct mp_ring *ring)
{
    assert(ring->capacity > 0);
    size_t argv_bytes = origin->argv_bytes;
    if (argv_bytes > MP_RECORD_ARGV_BYTES) {
        argv_bytes = MP_RECORD_ARGV_BYTES;
    }
    header->version = MP_RECORD_VERSION;
    header->header_bytes = MP_RECORD_HEADER_BYTES;
    header->pid = origin->pid;
    header->wall_ns = origin->wall_ns;
    header->monotonic_ns = origin->monotonic_ns;
    header->interval_ns = origin->interval_ns;
    header->capacity = ring->capacity;
    header->memory_limit = origin->memory_limit;
    header->argv_bytes = (uint32_t)argv_bytes;
    memcpy(header->argv, origin->argv, argv_bytes);
    struct mp_record_state *state = &header->states[ring->taken % 2];
    state->taken = ring->taken;
    state->base = ring->oldest;
    state->totals = ring->totals;
    state->checksum = mp_record_checksum(state);
    /* Last: without it the file is none. */
    atomic_thread_fence(memory_order_release);
    memcpy(header->magic, MP_RECORD_MAGIC, sizeof header->magic);
}

MP_COLD void
mp_record_publish(struct mp_record_header *header, const struct mp_ring *ring)
{
    const struct mp_record_state *before = &header->states[(ring->taken - 1) % 2];
    struct mp_record_state *after = &header->states[ring->taken % 2];
    struct mp_record_state state = *before;
    mp_totals_add(&state.totals, mp_ring_at(ring, ring->taken - 1));
    state.taken = ring->taken;
    state.checksum = mp_record_checksum(&state);
    /* Its slot was written before. */
    atomic_thread_fence(memory_order_release);
    *after = state;
}
