/* The probe from many native threads at once, with no GIL to keep them apart. Exact
 * counts here; run it under ThreadSanitizer too. */
#include "check.h"
#include "probe.h"
#include "system.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#ifndef _WIN32
#    include <sys/wait.h>
#    include <unistd.h>
#endif

#define SAMPLERS 4
#define OTHERS 6
#define EACH 5000
#define FIRST 20

/* Threads come here and go on together. A barrier, which macOS doesn't have. */
static atomic_uint expected_at_gate;
static atomic_uint at_gate;

static void
wait_for_the_others(void)
{
    atomic_fetch_add(&at_gate, 1);
    while (atomic_load(&at_gate) < atomic_load(&expected_at_gate)) {
        mp_yield();
    }
}

static atomic_bool samplers_are_done;

static void *
sampler(void *ignored)
{
    (void)ignored;
    wait_for_the_others();
    for (int i = 0; i < EACH; i++) {
        uint64_t bytes;
        CHECK(mp_probe_sample(&bytes) == 0);
        CHECK(bytes > 0 && bytes % 4096 == 0);
    }
    return NULL;
}

static void *
throttled_sampler(void *ignored)
{
    (void)ignored;
    wait_for_the_others();
    uint64_t bytes = 0;
    CHECK(mp_probe_sample_throttled(&bytes) == 0);
    CHECK(bytes > 0);
    return NULL;
}

static void
forget(void)
{
    struct mp_sample samples[10];
    mp_probe_forget(mp_probe_select(samples, 10, 10).end);
}

static void
resize(void)
{
    static _Thread_local uint64_t capacity;
    capacity = (capacity + 37) % 200;
    CHECK(mp_probe_set_capacity(capacity + 1) == 0);
}

static void
check_samples(const struct mp_sample *samples, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        CHECK(samples[i].bytes > 0 && samples[i].bytes % 4096 == 0);
        CHECK(i == 0 || samples[i - 1].ns <= samples[i].ns);
    }
}

static void
copy(void)
{
    struct mp_sample samples[200];
    check_samples(samples, mp_probe_copy(samples, 200));
}

static void
select_some(void)
{
    struct mp_sample samples[10];
    check_samples(samples, mp_probe_select(samples, 10, 10).count);
}

static void
read_totals(void)
{
    uint64_t stored, overwritten;
    struct mp_totals totals;
    mp_probe_stats(&stored, &overwritten, &totals);
    CHECK(totals.count <= stored + overwritten);
    if (totals.count > 0) {
        CHECK(totals.min <= totals.first.bytes && totals.first.bytes <= totals.max);
        CHECK(totals.min <= totals.last.bytes && totals.last.bytes <= totals.max);
        CHECK(totals.first.ns <= totals.last.ns);
    }
}

static void
read_numbers(void)
{
    uint64_t bytes, peak;
    CHECK(mp_probe_rss(&bytes) == 0 && mp_probe_peak(&peak) == 0 && peak >= bytes);
    mp_probe_set_min_interval(0);
}

/* A function that another thread calls until the samplers are done. */
struct other {
    void (*call)(void);
};

static void *
beside(void *argument)
{
    const struct other *other = argument;
    wait_for_the_others();
    while (!atomic_load(&samplers_are_done)) {
        other->call();
    }
    return NULL;
}

static void
run_together(void *(*work)(void *), unsigned samplers, struct other *others,
             unsigned count)
{
    pthread_t threads[32];
    CHECK(samplers + count <= 32);
    atomic_store(&at_gate, 0);
    atomic_store(&expected_at_gate, samplers + count);
    atomic_store(&samplers_are_done, false);
    for (unsigned i = 0; i < samplers; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
    }
    for (unsigned i = 0; i < count; i++) {
        CHECK(pthread_create(&threads[samplers + i], NULL, beside, &others[i]) == 0);
    }
    for (unsigned i = 0; i < samplers + count; i++) {
        if (i == samplers) {
            atomic_store(&samplers_are_done, true);
        }
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

/* How many samples ever came, whatever was forgotten. */
static uint64_t
ever_stored(void)
{
    struct mp_sample sample;
    return mp_probe_select(&sample, 1, 1).end;
}

static void
test_every_sample_is_counted_once_beside_everything(void)
{
    struct other others[OTHERS] = {{forget},      {resize},      {copy},
                                   {select_some}, {read_totals}, {read_numbers}};
    uint64_t before = ever_stored();
    run_together(sampler, SAMPLERS, others, OTHERS);
    CHECK(ever_stored() - before == SAMPLERS * EACH);
}

static void
test_the_totals_are_exact_while_the_ring_is_resized(void)
{
    struct other others[] = {{resize}, {resize}, {copy}, {read_totals}};
    mp_probe_forget(UINT64_MAX);
    run_together(sampler, SAMPLERS, others, 4);
    uint64_t stored, overwritten;
    struct mp_totals totals;
    mp_probe_stats(&stored, &overwritten, &totals);
    CHECK(totals.count == SAMPLERS * EACH && stored + overwritten == totals.count);
    CHECK(stored <= 200);
}

static void
test_of_samples_at_the_same_time_the_interval_lets_one_through(void)
{
    mp_probe_set_min_interval(INT64_C(3600) * 1000000000);
    for (int i = 0; i < 200; i++) {
        mp_probe_forget(UINT64_MAX);
        run_together(throttled_sampler, SAMPLERS, NULL, 0);
        uint64_t stored, overwritten;
        struct mp_totals totals;
        mp_probe_stats(&stored, &overwritten, &totals);
        CHECK(totals.count == 1 && stored == 1);
    }
    mp_probe_set_min_interval(0);
}

#ifndef _WIN32
static void *
first_sampler(void *ignored)
{
    (void)ignored;
    wait_for_the_others();
    for (int i = 0; i < FIRST; i++) {
        uint64_t bytes;
        CHECK(mp_probe_sample(&bytes) == 0);
    }
    return NULL;
}

/* A forked child finds the state all zeros; whoever comes first prepares it. */
static void
test_threads_that_make_a_childs_first_readings_share_one_ring(void)
{
    for (int i = 0; i < 150; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            run_together(first_sampler, 8, NULL, 0);
            struct mp_sample samples[8 * FIRST];
            CHECK(mp_probe_copy(samples, 8 * FIRST) == 8 * FIRST);
            check_samples(samples, 8 * FIRST);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
}
#endif

int
main(void)
{
    CHECK(mp_probe_start() == 0);
    CHECK(mp_probe_set_capacity(8 * FIRST) == 0);
#ifndef _WIN32
    test_threads_that_make_a_childs_first_readings_share_one_ring();
#endif
    test_every_sample_is_counted_once_beside_everything();
    test_the_totals_are_exact_while_the_ring_is_resized();
    test_of_samples_at_the_same_time_the_interval_lets_one_through();
    return 0;
}
