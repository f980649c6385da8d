/* The ring: the newest samples, and totals over all of them. Pure: it asks nothing of
 * the system, allocates nothing and has no lock; its owner, the probe, does all three.
 */
#ifndef MP_RING_H
#define MP_RING_H

#include <stdbool.h>
#include <stdint.h>

/* The columns of snapshot(), in its order. */
struct mp_sample {
    int64_t ns; /* monotonic time */
    uint64_t bytes;
};

/* Over `count` samples, overwritten ones included. All but `count` mean nothing while
 * it is 0. The sum has 128 bits: 2**64 bytes are a day of samples at a microsecond
 * each. */
struct mp_totals {
    uint64_t count;
    uint64_t sum_low;
    uint64_t sum_high;
    uint64_t min;
    uint64_t max;
    struct mp_sample first;
    struct mp_sample last;
};

void mp_totals_add(struct mp_totals *totals, struct mp_sample sample);

/* Samples are numbered from 0 in the order in which they came, for as long as the ring
 * lives; sample i lies in slots[i % capacity]. start <= oldest <= taken.
 * All zeros is a ring without slots: nothing can be pushed, everything else works. */
struct mp_ring {
    struct mp_sample *slots;
    uint64_t capacity;
    uint64_t taken;      /* how many samples ever came: only grows */
    uint64_t oldest;     /* number of the oldest sample that is still stored */
    uint64_t start;      /* number of the first sample that is not forgotten */
    uint64_t first_kept; /* number of the first sample that was put into these slots */
    uint64_t next; /* taken % capacity: a division would cost as much as the push */
    struct mp_totals totals;
};

/* How many samples are stored. */
static inline uint64_t
mp_ring_stored(const struct mp_ring *ring)
{
    return ring->taken - ring->oldest;
}

/* How many samples are neither forgotten nor stored any more. */
static inline uint64_t
mp_ring_overwritten(const struct mp_ring *ring)
{
    return ring->oldest - ring->start;
}

/* Number of the oldest sample that a slot still holds, forgotten or not. */
static inline uint64_t
mp_ring_oldest_kept(const struct mp_ring *ring)
{
    uint64_t room = ring->taken - ring->first_kept;
    return room < ring->capacity ? ring->first_kept : ring->taken - ring->capacity;
}

/* Stores a sample, over the oldest one if the ring is full. A time stamp before that of
 * the last sample becomes that one: two threads may take theirs in one order and come
 * here in the other. */
void mp_ring_push(struct mp_ring *ring, int64_t ns, uint64_t bytes);

/* The sample of that number; oldest <= number < taken. */
struct mp_sample mp_ring_at(const struct mp_ring *ring, uint64_t number);

/* Copies samples number ... number + count - 1, all of them held, in this order. */
void mp_ring_copy(const struct mp_ring *ring, uint64_t number, uint64_t count,
                  struct mp_sample *to);

/* Forgets the samples before that number, and with them the count of overwritten ones;
 * keeps the later ones. The totals are from then on those of the samples that are kept
 * (if some of these are overwritten already, they stay in the count of overwritten ones
 * alone). Does nothing if these samples are forgotten already. */
void mp_ring_forget(struct mp_ring *ring, uint64_t number);

/* Moves the newest samples that fit, forgotten ones included, into other slots, which
 * don't overlap the present ones; the rest count as overwritten. capacity > 0. */
void mp_ring_move(struct mp_ring *ring, struct mp_sample *slots, uint64_t capacity);

#endif
