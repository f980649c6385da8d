/* The sampler's thread, and blocks of all kinds, from many native threads at once. Run
 * it under ThreadSanitizer too. */
#include "check.h"
#include "probe.h"
#include "system.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define MS INT64_C(1000000)
#define MIB (UINT64_C(1) << 20)

static const int owner;

static void
sleep_ns(int64_t ns)
{
    for (int64_t end = mp_clock_ns() + ns; mp_clock_ns() < end;) {
        mp_yield();
    }
}

static uint64_t
count_samples(void)
{
    uint64_t stored, overwritten;
    struct mp_totals totals;
    mp_probe_stats(&stored, &overwritten, &totals);
    return totals.count;
}

static void
wait_for_samples(uint64_t more)
{
    uint64_t wanted = count_samples() + more;
    for (int64_t end = mp_clock_ns() + 20000 * MS; count_samples() < wanted;) {
        CHECK(mp_clock_ns() < end);
        mp_yield();
    }
}

static void
start(int64_t interval_ns)
{
    int64_t running_ns;
    CHECK(mp_probe_start_sampling(interval_ns, &running_ns) == 0);
}

static void
stop(void)
{
    const char *source;
    CHECK(mp_probe_stop_sampling(&source) == 0);
}

static void
test_samples_come_until_it_is_stopped(void)
{
    int64_t running_ns;
    start(MS);
    start(MS);
    wait_for_samples(10);
    CHECK(mp_probe_start_sampling(2 * MS, &running_ns) == MP_SAMPLING);
    CHECK(running_ns == MS);
    stop();
    stop();
    uint64_t count = count_samples();
    sleep_ns(20 * MS);
    CHECK(count_samples() == count);
}

static void
test_a_fork_pauses_and_resumes(void)
{
    start(MS);
    wait_for_samples(5);
    for (int i = 0; i < 20; i++) {
        mp_probe_pause_thread();
        uint64_t count = count_samples();
        sleep_ns(3 * MS);
        CHECK(count_samples() == count);
        start(MS); /* by another hook: it waits for the end of the fork */
        CHECK(count_samples() == count);
        mp_probe_resume_thread();
        wait_for_samples(2);
    }
    mp_probe_pause_thread();
    mp_probe_allow_thread(); /* and the second half doesn't come */
    wait_for_samples(2);
    stop();
}

static uint64_t
measure(enum mp_peak peak, size_t size)
{
    struct mp_block block;
    struct mp_measured measured;
    const char *source;
    _Atomic uint64_t told = 0;
    CHECK(mp_probe_enter(&block, peak, &owner, &told, &source) == 0);
    char *memory = mp_pages_map(size);
    CHECK(memory != NULL);
    memset(memory, 1, size);
    sleep_ns(size > MIB ? 30 * MS : 0);
    mp_pages_unmap(memory, size);
    CHECK(mp_probe_leave(&block, &measured, &source) == 0);
    CHECK(measured.peak >= measured.before && measured.peak >= measured.after);
    CHECK(told <= measured.peak);
    if (peak == MP_PEAK_WATCH && size > MIB) {
        CHECK(told > measured.before + size - 5 * MIB); /* before it was left */
    }
    return measured.peak - measured.before;
}

static void
test_a_peak_below_the_past_is_seen(void)
{
    (void)measure(MP_PEAK_ENDS, 200 * MIB);
    CHECK(measure(MP_PEAK_WATCH, 100 * MIB) > 95 * MIB);
    CHECK(measure(MP_PEAK_ENDS, 50 * MIB) < 20 * MIB);
}

static void
test_an_owners_blocks_are_left_and_then_hand_out_both_ends(void)
{
    static const int another_owner;
    struct mp_block blocks[20];
    struct mp_measured measured;
    const char *source;
    for (int i = 0; i < 20; i++) {
        CHECK(mp_probe_enter(&blocks[i], MP_PEAK_WATCH,
                             i % 2 == 0 ? &owner : &another_owner, NULL, &source) == 0);
    }
    mp_probe_abandon_all(&owner);
    for (int i = 0; i < 20; i++) {
        CHECK(mp_probe_leave(&blocks[i], &measured, &source) == 0);
        CHECK(measured.before == blocks[i].before && measured.peak >= measured.after);
        mp_probe_abandon(&blocks[i]);
    }
}

static atomic_bool done;

static void *
measure_often(void *argument)
{
    int number = *(const int *)argument;
    while (!atomic_load(&done)) {
        (void)measure(number % 2 == 0 ? MP_PEAK_WATCH : MP_PEAK_ENDS, 65536);
#ifdef __linux__
        (void)measure(MP_PEAK_KERNEL, 65536);
#endif
    }
    return NULL;
}

static void *
sample_often(void *ignored)
{
    (void)ignored;
    while (!atomic_load(&done)) {
        uint64_t bytes, peak;
        CHECK(mp_probe_sample(&bytes) == 0 && mp_probe_peak(&peak) == 0);
        CHECK(peak >= bytes);
    }
    return NULL;
}

static void *
start_and_stop_often(void *argument)
{
    int number = *(const int *)argument;
    while (!atomic_load(&done)) {
        int64_t running_ns;
        int error = mp_probe_start_sampling(MS * (1 + number % 2), &running_ns);
        CHECK(error == 0 || (error == MP_SAMPLING && running_ns > 0));
        const char *source;
        error = mp_probe_stop_sampling(&source);
        CHECK(error == 0 ||
              error == MP_NO_ANSWER); /* there are not enough processors */
    }
    return NULL;
}

static void
test_all_at_once(void)
{
    pthread_t threads[9];
    int numbers[9];
    atomic_store(&done, false);
    for (int i = 0; i < 9; i++) {
        void *(*work)(void *) = i < 4   ? measure_often
                                : i < 6 ? sample_often
                                        : start_and_stop_often;
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, work, &numbers[i]) == 0);
    }
    int64_t longest = 0;
    for (int i = 0; i < 200; i++) {
        int64_t before = mp_clock_ns();
        mp_probe_pause_thread();
        mp_probe_resume_thread();
        int64_t took = mp_clock_ns() - before;
        longest = took > longest ? took : longest;
    }
    atomic_store(&done, true);
    for (int i = 0; i < 9; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(longest < 5000 * MS); /* nobody waited for somebody who waited for him */
    stop();
    start(MS);
    wait_for_samples(3);
    stop();
}

int
main(void)
{
    CHECK(mp_probe_start() == 0);
    test_samples_come_until_it_is_stopped();
    if (mp_thread_is_main()) { /* never on Windows, where nobody forks */
        test_a_fork_pauses_and_resumes();
    }
    test_a_peak_below_the_past_is_seen();
    test_an_owners_blocks_are_left_and_then_hand_out_both_ends();
    test_all_at_once();
    return 0;
}
