/* The recorder's file: what readers may rely on while the ring is written. */
#include "check.h"
#include "record.h"

#include <string.h>

#define CAPACITY 4

static struct mp_sample slots[CAPACITY];
static struct mp_record_header header;

static bool
is_whole(const struct mp_record_state *state)
{
    return state->checksum == mp_record_checksum(state);
}

/* As a reader finds it. */
static const struct mp_record_state *
current(void)
{
    const struct mp_record_state *a = &header.states[0];
    const struct mp_record_state *b = &header.states[1];
    CHECK(is_whole(a) || is_whole(b));
    return is_whole(a) && (!is_whole(b) || a->taken > b->taken) ? a : b;
}

static void
test_a_header_says_where_the_samples_come_from(void)
{
    struct mp_ring ring = {.slots = slots, .capacity = CAPACITY};
    char argv[MP_RECORD_ARGV_BYTES + 100];
    memset(argv, 'a', sizeof argv);
    struct mp_record_origin origin = {
        .pid = 7,
        .wall_ns = 11,
        .monotonic_ns = 13,
        .interval_ns = 17,
        .memory_limit = 19,
        .argv = argv,
        .argv_bytes = sizeof argv, /* more than there is room for */
    };
    for (uint64_t i = 1; i <= CAPACITY + 2; i++) {
        mp_ring_push(&ring, (int64_t)i, i * 100);
    }
    memset(&header, 0, sizeof header);
    mp_record_begin(&header, &origin, &ring);
    CHECK(memcmp(header.magic, "memprobe", 8) == 0);
    CHECK(header.version == MP_RECORD_VERSION && header.header_bytes == 4096);
    CHECK(header.pid == 7 && header.wall_ns == 11 && header.monotonic_ns == 13);
    CHECK(header.interval_ns == 17 && header.memory_limit == 19);
    CHECK(header.capacity == CAPACITY && header.ended == 0);
    CHECK(header.argv_bytes == MP_RECORD_ARGV_BYTES);
    CHECK(header.argv[MP_RECORD_ARGV_BYTES - 1] == 'a');
    /* What the ring held moves along, its totals too. */
    CHECK(current()->taken == CAPACITY + 2 && current()->base == 2);
    CHECK(current()->totals.count == CAPACITY + 2 && current()->totals.min == 100);
}

static void
test_each_published_state_is_whole_and_the_one_before_stays(void)
{
    struct mp_ring ring = {.slots = slots, .capacity = CAPACITY};
    struct mp_record_origin origin = {.argv = ""};
    memset(&header, 0, sizeof header);
    mp_record_begin(&header, &origin, &ring);
    CHECK(current()->taken == 0 && current()->totals.count == 0);
    for (uint64_t i = 1; i <= 3 * CAPACITY; i++) {
        struct mp_record_state before = *current();
        mp_ring_push(&ring, (int64_t)i, i * 100);
        CHECK(memcmp(&before, current(), sizeof before) == 0);
        mp_record_publish(&header, &ring);
        CHECK(memcmp(&before, &header.states[(i - 1) % 2], sizeof before) == 0);
        const struct mp_record_state *now = current();
        CHECK(now->taken == i && now->base == 0 && now->totals.count == i);
        CHECK(now->totals.first.bytes == 100 && now->totals.last.bytes == i * 100);
        CHECK(now->totals.min == 100 && now->totals.max == i * 100);
        CHECK(now->totals.sum_low == 100 * i * (i + 1) / 2);
        CHECK(slots[(i - 1) % CAPACITY].ns == (int64_t)i);
    }
}

static void
check_mixture(const struct mp_record_state *mixed, const struct mp_record_state *old,
              const struct mp_record_state *new)
{
    bool is_one = memcmp(mixed, old, sizeof *mixed) == 0 ||
                  memcmp(mixed, new, sizeof *mixed) == 0;
    CHECK(is_whole(mixed) == is_one);
}

/* Whichever of its words, or first bytes, came over the last state but one: a copy may
 * be made in any order. */
static void
test_a_half_written_state_is_not_whole(void)
{
    struct mp_ring ring = {.slots = slots, .capacity = CAPACITY};
    struct mp_record_origin origin = {.argv = ""};
    memset(&header, 0, sizeof header);
    mp_record_begin(&header, &origin, &ring);
    /* Some repeat each other, as a process that doesn't grow does; at the last one the
     * sum rises by what the last size has fallen. */
    static const uint64_t sizes[] = {4096, 4096, 4096, 4096, 16384, 8192, 4096};
    for (uint64_t i = 1; i <= sizeof sizes / sizeof *sizes; i++) {
        struct mp_record_state old = header.states[i % 2];
        mp_ring_push(&ring, (int64_t)(i * 1000), sizes[i - 1]);
        mp_record_publish(&header, &ring);
        struct mp_record_state new = *current();
        if (i == 1) {
            CHECK(!is_whole(&old)); /* zeros */
            continue;
        }
        for (uint32_t words = 0; words < 1 << 12; words++) {
            struct mp_record_state mixed = old;
            for (size_t word = 0; word < 12; word++) {
                if (words >> word & 1) {
                    memcpy((char *)&mixed + 8 * word, (char *)&new + 8 * word, 8);
                }
            }
            check_mixture(&mixed, &old, &new);
        }
        for (size_t bytes = 1; bytes < sizeof new; bytes++) {
            struct mp_record_state mixed = old;
            memcpy(&mixed, &new, bytes);
            check_mixture(&mixed, &old, &new);
        }
    }
}

static void
test_forgetting_samples_does_not_reach_the_file(void)
{
    struct mp_ring ring = {.slots = slots, .capacity = CAPACITY};
    struct mp_record_origin origin = {.argv = ""};
    memset(&header, 0, sizeof header);
    mp_record_begin(&header, &origin, &ring);
    for (uint64_t i = 1; i <= 3; i++) {
        mp_ring_push(&ring, (int64_t)i, 100);
        mp_record_publish(&header, &ring);
        mp_ring_forget(&ring, UINT64_MAX);
    }
    CHECK(ring.totals.count == 0);
    CHECK(current()->taken == 3 && current()->base == 0);
    CHECK(current()->totals.count == 3 && current()->totals.first.ns == 1);
    CHECK(slots[0].ns == 1 && slots[1].ns == 2 && slots[2].ns == 3);
}

int
main(void)
{
    test_a_header_says_where_the_samples_come_from();
    test_each_published_state_is_whole_and_the_one_before_stays();
    test_a_half_written_state_is_not_whole();
    test_forgetting_samples_does_not_reach_the_file();
    return 0;
}
