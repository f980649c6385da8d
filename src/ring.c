#include "ring.h"

#include <assert.h>
#include <string.h>

void
mp_totals_add(struct mp_totals *totals, struct mp_sample sample)
{
    if (totals->count == 0) {
        totals->first = sample;
        totals->min = sample.bytes;
        totals->max = sample.bytes;
    } else if (sample.bytes < totals->min) {
        totals->min = sample.bytes;
    } else if (sample.bytes > totals->max) {
        totals->max = sample.bytes;
    }
    totals->last = sample;
    totals->count++;
    totals->sum_low += sample.bytes;
    totals->sum_high += totals->sum_low < sample.bytes;
}

void
mp_ring_push(struct mp_ring *ring, int64_t ns, uint64_t bytes)
{
    assert(ring->capacity > 0);
    struct mp_sample sample = {ns, bytes};
    if (ring->totals.count > 0 && ns < ring->totals.last.ns) {
        sample.ns = ring->totals.last.ns;
    }
    if (ring->taken - ring->oldest == ring->capacity) {
        ring->oldest++;
    }
    ring->slots[ring->next] = sample;
    ring->next = ring->next + 1 == ring->capacity ? 0 : ring->next + 1;
    ring->taken++;
    mp_totals_add(&ring->totals, sample);
}

struct mp_sample
mp_ring_at(const struct mp_ring *ring, uint64_t number)
{
    assert(ring->oldest <= number && number < ring->taken);
    return ring->slots[number % ring->capacity];
}

void
mp_ring_copy(const struct mp_ring *ring, uint64_t number, uint64_t count,
             struct mp_sample *to)
{
    assert(mp_ring_oldest_kept(ring) <= number && number + count <= ring->taken);
    if (count == 0) {
        return;
    }
    uint64_t slot = number % ring->capacity;
    uint64_t until_end = ring->capacity - slot;
    uint64_t head = count < until_end ? count : until_end;
    memcpy(to, ring->slots + slot, (size_t)head * sizeof *to);
    memcpy(to + head, ring->slots, (size_t)(count - head) * sizeof *to);
}

void
mp_ring_forget(struct mp_ring *ring, uint64_t number)
{
    if (number <= ring->start) {
        return;
    }
    if (number > ring->taken) {
        number = ring->taken;
    }
    ring->start = number;
    if (ring->oldest < number) {
        ring->oldest = number;
    }
    memset(&ring->totals, 0, sizeof ring->totals);
    for (uint64_t i = ring->oldest; i < ring->taken; i++) {
        mp_totals_add(&ring->totals, mp_ring_at(ring, i));
    }
}

void
mp_ring_move(struct mp_ring *ring, struct mp_sample *slots, uint64_t capacity)
{
    assert(capacity > 0);
    uint64_t first = mp_ring_oldest_kept(ring);
    if (ring->taken - first > capacity) {
        first = ring->taken - capacity;
    }
    for (uint64_t i = first; i < ring->taken; i++) {
        slots[i % capacity] = ring->slots[i % ring->capacity];
    }
    if (ring->oldest < first) {
        ring->oldest = first;
    }
    ring->first_kept = first;
    ring->slots = slots;
    ring->capacity = capacity;
    ring->next = ring->taken % capacity;
}
