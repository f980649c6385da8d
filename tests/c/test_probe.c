/* The probe and the reader of this system, without Python. */
#include "check.h"
#include "probe.h"
#include "system.h"

#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define TOUCHED (64 * MIB)

/* Which memory holds after a fork. */
static void
test_zeros_are_an_unlocked_lock(void)
{
    static mp_lock zeros;
#if defined(_WIN32)
    mp_lock unlocked = {NULL}; /* SRWLOCK_INIT */
#elif defined(__APPLE__)
    mp_lock unlocked = OS_UNFAIR_LOCK_INIT;
#else
    mp_lock unlocked = PTHREAD_MUTEX_INITIALIZER;
#endif
    CHECK(memcmp(&zeros, &unlocked, sizeof zeros) == 0);
}

static void
test_a_reading_rises_with_touched_memory(void)
{
    uint64_t before, after;
    CHECK(mp_probe_rss(&before) == 0 && before > 0);
    char *memory = malloc(TOUCHED);
    CHECK(memory != NULL);
    memset(memory, 1, TOUCHED);
    CHECK(mp_probe_rss(&after) == 0);
    CHECK(after > before + TOUCHED * 97 / 100 && after < before + TOUCHED * 103 / 100);
    CHECK(memory[TOUCHED / 2] == 1);
    free(memory);
}

static void
test_the_peak_is_not_below_any_reading(void)
{
    uint64_t now, peak;
    CHECK(mp_probe_rss(&now) == 0);
    CHECK(mp_probe_peak(&peak) == 0);
    CHECK(peak >= now && peak > TOUCHED);
}

static void
test_samples_are_stored_in_order(void)
{
    uint64_t bytes;
    for (int i = 0; i < 100; i++) {
        CHECK(mp_probe_sample(&bytes) == 0);
    }
    struct mp_sample samples[100];
    CHECK(mp_probe_copy(samples, 100) == 100);
    for (int i = 1; i < 100; i++) {
        CHECK(samples[i - 1].ns <= samples[i].ns);
    }
    CHECK(samples[99].bytes == bytes);
    struct mp_selection selection = mp_probe_select(samples, 3, 3);
    CHECK(selection.count == 3 && selection.overwritten == 0);
    mp_probe_forget(selection.end);
    CHECK(mp_probe_copy(samples, 100) == 0);
}

/* As when samples come between the counting and the copying. */
static void
test_a_selection_of_all_ends_where_its_room_does(void)
{
    uint64_t bytes, stored, overwritten;
    struct mp_totals totals;
    struct mp_sample samples[10], all[10];
    for (int i = 0; i < 10; i++) {
        CHECK(mp_probe_sample(&bytes) == 0);
    }
    CHECK(mp_probe_copy(all, 10) == 10);
    struct mp_selection selection = mp_probe_select(samples, 7, 8);
    CHECK(selection.count == 7 && memcmp(samples, all, sizeof *all * 7) == 0);
    mp_probe_forget(selection.end);
    mp_probe_stats(&stored, &overwritten, &totals);
    CHECK(stored == 3 && overwritten == 0);
    CHECK(mp_probe_select(samples, 1, 5).count == 1 && samples[0].ns == all[7].ns);
    selection = mp_probe_select(samples, 10, 10);
    CHECK(selection.count == 3 && memcmp(samples, all + 7, sizeof *all * 3) == 0);
    mp_probe_forget(selection.end);
    CHECK(mp_probe_copy(samples, 10) == 0);
}

static void
test_a_capacity_without_memory_changes_nothing(void)
{
    uint64_t bytes, stored, overwritten;
    struct mp_totals totals;
    CHECK(mp_probe_set_capacity(3) == 0);
    for (int i = 0; i < 5; i++) {
        CHECK(mp_probe_sample(&bytes) == 0);
    }
    CHECK(mp_probe_set_capacity(UINT64_MAX) == MP_NO_MEMORY);
    CHECK(mp_probe_set_capacity(UINT64_MAX / 32) == MP_NO_MEMORY);
    mp_probe_stats(&stored, &overwritten, &totals);
    CHECK(stored == 3 && overwritten == 2 && totals.count == 5);
}

static void
test_a_sample_that_comes_too_soon_is_not_stored(void)
{
    uint64_t bytes, again, stored, overwritten;
    struct mp_totals totals;
    mp_probe_forget(UINT64_MAX);
    mp_probe_set_min_interval(INT64_C(3600) * 1000000000);
    for (int i = 0; i < 10; i++) {
        CHECK(mp_probe_sample_throttled(&again) == 0);
        bytes = i == 0 ? again : bytes;
        CHECK(again == bytes);
    }
    mp_probe_stats(&stored, &overwritten, &totals);
    CHECK(totals.count == 1);
    CHECK(mp_probe_sample(&again) == 0); /* not throttled, and the last one now */
    CHECK(mp_probe_sample_throttled(&bytes) == 0 && bytes == again);
    mp_probe_forget(UINT64_MAX);
    CHECK(mp_probe_sample_throttled(&bytes) == 0);
    mp_probe_stats(&stored, &overwritten, &totals);
    CHECK(totals.count == 1);
    mp_probe_set_min_interval(0);
}

int
main(void)
{
    CHECK(mp_probe_start() == 0);
    CHECK(mp_probe_start() == 0); /* as a second interpreter does */
    CHECK(mp_probe_set_capacity(1000) == 0);
    test_zeros_are_an_unlocked_lock();
    test_a_reading_rises_with_touched_memory();
    test_the_peak_is_not_below_any_reading();
    test_samples_are_stored_in_order();
    test_a_selection_of_all_ends_where_its_room_does();
    test_a_capacity_without_memory_changes_nothing();
    test_a_sample_that_comes_too_soon_is_not_stored();
    return 0;
}
