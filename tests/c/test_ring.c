#include "check.h"
#include "ring.h"

#include <stdbool.h>
#include <string.h>

/* A ring whose slots lie in memory of exactly their size. */
static struct mp_ring
new_ring(uint64_t capacity)
{
    struct mp_ring ring = {.capacity = capacity};
    ring.slots = calloc(capacity, sizeof *ring.slots);
    CHECK(ring.slots != NULL);
    return ring;
}

static void
move_ring(struct mp_ring *ring, uint64_t capacity)
{
    struct mp_sample *old = ring->slots;
    struct mp_sample *slots = calloc(capacity, sizeof *slots);
    CHECK(slots != NULL);
    mp_ring_move(ring, slots, capacity);
    free(old);
}

/* Pushes samples first ... last, which have their own number as time and as bytes. */
static void
push_numbers(struct mp_ring *ring, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++) {
        mp_ring_push(ring, (int64_t)i, i);
    }
}

/* Checks that samples first ... last are stored, nothing else, by both ways of reading.
 */
static void
check_stored(const struct mp_ring *ring, uint64_t first, uint64_t last)
{
    uint64_t stored = mp_ring_stored(ring);
    CHECK(stored == last + 1 - first);
    struct mp_sample *copy = malloc((size_t)stored * sizeof *copy + 1);
    CHECK(copy != NULL);
    mp_ring_copy(ring, ring->oldest, stored, copy);
    for (uint64_t i = 0; i < stored; i++) {
        CHECK(copy[i].bytes == first + i && copy[i].ns == (int64_t)(first + i));
        CHECK(mp_ring_at(ring, ring->oldest + i).bytes == first + i);
    }
    free(copy);
}

static void
test_keeps_the_newest_and_counts_the_overwritten(void)
{
    for (uint64_t capacity = 1; capacity <= 5; capacity++) {
        for (uint64_t taken = 1; taken <= 17; taken++) {
            struct mp_ring ring = new_ring(capacity);
            push_numbers(&ring, 1, taken);
            uint64_t stored = taken < capacity ? taken : capacity;
            check_stored(&ring, taken - stored + 1, taken);
            CHECK(mp_ring_overwritten(&ring) == taken - stored);
            free(ring.slots);
        }
    }
}

static void
test_totals_include_overwritten_samples(void)
{
    struct mp_ring ring = new_ring(2);
    static const uint64_t bytes[] = {50, 10, 90, 60, 70};
    for (int i = 0; i < 5; i++) {
        mp_ring_push(&ring, 100 + i, bytes[i]);
    }
    CHECK(ring.totals.count == 5);
    CHECK(ring.totals.min == 10 && ring.totals.max == 90);
    CHECK(ring.totals.first.bytes == 50 && ring.totals.first.ns == 100);
    CHECK(ring.totals.last.bytes == 70 && ring.totals.last.ns == 104);
    CHECK(ring.totals.sum_low == 280 && ring.totals.sum_high == 0);
    free(ring.slots);
}

static void
test_sum_goes_beyond_64_bits(void)
{
    struct mp_ring ring = new_ring(1);
    for (int i = 0; i < 5; i++) {
        mp_ring_push(&ring, i, UINT64_MAX);
    }
    /* 5 * (2**64 - 1) = 4 * 2**64 + (2**64 - 5) */
    CHECK(ring.totals.sum_high == 4 && ring.totals.sum_low == UINT64_MAX - 4);
    free(ring.slots);
}

static void
test_time_never_goes_backwards(void)
{
    struct mp_ring ring = new_ring(4);
    mp_ring_push(&ring, 20, 1);
    mp_ring_push(&ring, 10, 2);
    mp_ring_push(&ring, 30, 3);
    CHECK(mp_ring_at(&ring, 0).ns == 20);
    CHECK(mp_ring_at(&ring, 1).ns == 20 && mp_ring_at(&ring, 1).bytes == 2);
    CHECK(mp_ring_at(&ring, 2).ns == 30);
    free(ring.slots);
}

static void
test_forgetting_keeps_what_came_later(void)
{
    struct mp_ring ring = new_ring(4);
    push_numbers(&ring, 1, 6);
    uint64_t end = ring.taken;
    push_numbers(&ring, 7, 8);
    mp_ring_forget(&ring, end);
    check_stored(&ring, 7, 8);
    CHECK(mp_ring_overwritten(&ring) == 0);
    CHECK(ring.totals.count == 2 && ring.totals.min == 7 && ring.totals.max == 8);
    CHECK(ring.totals.first.bytes == 7 && ring.totals.sum_low == 15);
    mp_ring_forget(&ring, end - 3); /* forgotten already */
    check_stored(&ring, 7, 8);
    mp_ring_forget(&ring, UINT64_MAX); /* everything */
    CHECK(mp_ring_stored(&ring) == 0 && mp_ring_overwritten(&ring) == 0);
    CHECK(ring.totals.count == 0 && ring.totals.sum_low == 0);
    push_numbers(&ring, 9, 20);
    check_stored(&ring, 17, 20);
    CHECK(mp_ring_overwritten(&ring) == 8 && ring.totals.count == 12);
    free(ring.slots);
}

static void
test_forgetting_counts_later_samples_that_are_overwritten(void)
{
    struct mp_ring ring = new_ring(4);
    push_numbers(&ring, 1, 2);
    uint64_t end = ring.taken;
    push_numbers(&ring, 3, 12);
    mp_ring_forget(&ring, end);
    check_stored(&ring, 9, 12);
    CHECK(mp_ring_overwritten(&ring) == 6);
    CHECK(ring.totals.count == 4 && ring.totals.first.bytes == 9);
    free(ring.slots);
}

static void
test_moving_keeps_the_newest_that_fit(void)
{
    for (uint64_t from = 1; from <= 6; from++) {
        for (uint64_t taken = 1; taken <= 13; taken++) {
            for (uint64_t to = 1; to <= 8; to++) {
                struct mp_ring ring = new_ring(from);
                push_numbers(&ring, 1, taken);
                move_ring(&ring, to);
                uint64_t stored = taken < from ? taken : from;
                stored = stored < to ? stored : to;
                check_stored(&ring, taken - stored + 1, taken);
                CHECK(mp_ring_overwritten(&ring) == taken - stored);
                CHECK(ring.totals.count == taken);
                push_numbers(&ring, taken + 1, taken + 20);
                check_stored(&ring, taken + 21 - to, taken + 20);
                free(ring.slots);
            }
        }
    }
}

/* Checks that samples first ... last are held, forgotten or not, and nothing else. */
static void
check_held(const struct mp_ring *ring, uint64_t first, uint64_t last)
{
    struct mp_ring all = *ring;
    all.oldest = mp_ring_oldest_kept(ring);
    check_stored(&all, first, last);
}

static void
test_forgotten_samples_are_held_until_they_are_overwritten(void)
{
    struct mp_ring ring = new_ring(4);
    push_numbers(&ring, 1, 3);
    mp_ring_forget(&ring, UINT64_MAX);
    check_held(&ring, 1, 3);
    push_numbers(&ring, 4, 6);
    check_held(&ring, 3, 6);
    mp_ring_forget(&ring, UINT64_MAX);
    move_ring(&ring, 3);
    check_held(&ring, 4, 6);
    move_ring(&ring, 8);
    CHECK(mp_ring_stored(&ring) == 0 && mp_ring_overwritten(&ring) == 0);
    check_held(&ring, 4, 6); /* the slots before them hold nothing */
    push_numbers(&ring, 7, 30);
    check_held(&ring, 23, 30);
    check_stored(&ring, 23, 30);
    free(ring.slots);
}

static void
test_all_zeros_is_an_empty_ring(void)
{
    struct mp_ring ring;
    memset(&ring, 0, sizeof ring);
    CHECK(mp_ring_stored(&ring) == 0 && mp_ring_overwritten(&ring) == 0);
    CHECK(mp_ring_oldest_kept(&ring) == 0);
    mp_ring_copy(&ring, 0, 0, NULL);
    mp_ring_forget(&ring, UINT64_MAX);
    move_ring(&ring, 3);
    push_numbers(&ring, 1, 2);
    check_stored(&ring, 1, 2);
    free(ring.slots);
}

int
main(void)
{
    test_keeps_the_newest_and_counts_the_overwritten();
    test_totals_include_overwritten_samples();
    test_sum_goes_beyond_64_bits();
    test_time_never_goes_backwards();
    test_forgetting_keeps_what_came_later();
    test_forgetting_counts_later_samples_that_are_overwritten();
    test_moving_keeps_the_newest_that_fit();
    test_forgotten_samples_are_held_until_they_are_overwritten();
    test_all_zeros_is_an_empty_ring();
    return 0;
}
