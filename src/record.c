#include "record.h"
#include "attributes.h"

#include <assert.h>
#include <string.h>

_Static_assert(sizeof(struct mp_record_header) <= MP_RECORD_HEADER_BYTES,
               "the header is one page");

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
    header->states[0].taken = ring->taken;
    header->states[0].base = ring->oldest;
    header->states[0].totals = ring->totals;
    /* Last: without it the file is none. */
    atomic_thread_fence(memory_order_release);
    memcpy(header->magic, MP_RECORD_MAGIC, sizeof header->magic);
}

MP_COLD void
mp_record_publish(struct mp_record_header *header, const struct mp_ring *ring)
{
    uint64_t sequence = atomic_load_explicit(&header->sequence, memory_order_relaxed);
    const struct mp_record_state *before = &header->states[sequence % 2];
    struct mp_record_state *after = &header->states[(sequence + 1) % 2];
    struct mp_record_state state = *before;
    mp_totals_add(&state.totals, mp_ring_at(ring, ring->taken - 1));
    state.taken = ring->taken;
    /* Readers of the page cache are other processes: the order of stores is all. */
    atomic_thread_fence(memory_order_release);
    *after = state;
    atomic_store_explicit(&header->sequence, sequence + 1, memory_order_release);
}
