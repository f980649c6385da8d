/* When the sampler's thread is to do what. */
#include "check.h"
#include "sampler.h"

#define MS INT64_C(1000000)

/* Wakes up each time it said it would, `late` after it. Returns how many samples and
 * looks it took until `end`. */
static void
run(struct mp_sampler *sampler, int64_t *now, int64_t end, int64_t late, int *samples,
    int *looks)
{
    *samples = *looks = 0;
    for (;;) {
        int64_t next = mp_sampler_next(sampler, *now);
        CHECK(next == sampler->wakes_ns);
        if (next == INT64_MIN || next > end) {
            *now = end;
            return;
        }
        *now = (next > *now ? next : *now) + late;
        *samples += mp_sampler_takes_sample(sampler, *now);
        *looks += mp_sampler_takes_look(sampler, *now);
    }
}

static void
test_all_zeros_is_nothing_to_do(void)
{
    struct mp_sampler sampler = {0};
    CHECK(!mp_sampler_is_needed(&sampler));
    CHECK(mp_sampler_next(&sampler, 5 * MS) == INT64_MIN);
    CHECK(!mp_sampler_takes_sample(&sampler, 5 * MS));
    CHECK(!mp_sampler_takes_look(&sampler, 5 * MS));
}

static void
test_samples_come_at_once_and_then_on_a_grid(void)
{
    struct mp_sampler sampler = {0};
    int64_t now = 1234567;
    int samples, looks;
    mp_sampler_start(&sampler, 10 * MS, now);
    CHECK(mp_sampler_next(&sampler, now) == now);
    run(&sampler, &now, 1234567 + 1000 * MS, MS / 10, &samples, &looks);
    CHECK(samples == 100 + 1 && looks == 0);
    CHECK((sampler.sample_ns - 1234567) % (10 * MS) == 0);
}

static void
test_no_two_samples_are_closer_than_half_an_interval(void)
{
    for (int64_t late = 0; late < 45 * MS; late += MS / 3) {
        struct mp_sampler sampler = {0};
        int64_t last = 100 * MS;
        mp_sampler_start(&sampler, 10 * MS, last);
        CHECK(mp_sampler_takes_sample(&sampler, last));
        for (int i = 0; i < 50; i++) {
            int64_t now = sampler.sample_ns + (i % 2 == 0 ? late : 0);
            CHECK(!mp_sampler_takes_sample(&sampler, sampler.sample_ns - 1));
            CHECK(mp_sampler_takes_sample(&sampler, now));
            CHECK(now - last >= 5 * MS && sampler.sample_ns - now <= 15 * MS);
            last = now;
        }
    }
}

static void
test_no_interval_is_too_long_or_too_short(void)
{
    struct mp_sampler sampler = {0};
    mp_sampler_start(&sampler, INT64_MAX, 7 * MS);
    CHECK(mp_sampler_takes_sample(&sampler, 8 * MS));
    CHECK(mp_sampler_next(&sampler, 9 * MS) == INT64_MAX);
    mp_sampler_start(&sampler, 1, 7 * MS);
    CHECK(mp_sampler_takes_sample(&sampler, 8 * MS));
    CHECK(mp_sampler_next(&sampler, 8 * MS) == 8 * MS + 1);
}

static void
test_a_young_block_is_looked_at_each_millisecond_then_each_ten(void)
{
    struct mp_sampler sampler = {0};
    int64_t now = 0;
    int samples, looks;
    CHECK(!mp_sampler_watch(&sampler, now)); /* no thread sleeps: it is to be started */
    run(&sampler, &now, 50 * MS, 0, &samples, &looks);
    CHECK(samples == 0 && looks == 50);
    run(&sampler, &now, 1050 * MS, 0, &samples, &looks);
    CHECK(looks == 100);
    CHECK(mp_sampler_watch(&sampler, now)); /* it sleeps for too long */
    run(&sampler, &now, 1100 * MS, 0, &samples, &looks);
    CHECK(looks == 50);
}

static void
test_the_nearest_of_both_comes_next(void)
{
    struct mp_sampler sampler = {0};
    int64_t now = 0;
    int samples, looks;
    mp_sampler_start(&sampler, 7 * MS, now);
    (void)mp_sampler_watch(&sampler, now);
    run(&sampler, &now, 49 * MS, 0, &samples, &looks);
    CHECK(samples == 8 && looks == 49);
    mp_sampler_unwatch(&sampler, now);
    run(&sampler, &now, 98 * MS, 0, &samples, &looks);
    CHECK(samples == 7 && looks == 0);
    CHECK(mp_sampler_is_needed(&sampler));
    mp_sampler_stop(&sampler);
    CHECK(!mp_sampler_is_needed(&sampler));
    CHECK(mp_sampler_next(&sampler, now) == INT64_MIN);
}

static void
test_the_thread_lingers_after_the_last_block(void)
{
    struct mp_sampler sampler = {0};
    (void)mp_sampler_watch(&sampler, 0);
    mp_sampler_unwatch(&sampler, 5 * MS);
    CHECK(!mp_sampler_is_needed(&sampler));
    CHECK(mp_sampler_next(&sampler, 5 * MS) == 5 * MS + MP_LINGER_NS);
    CHECK(mp_sampler_next(&sampler, 5 * MS + MP_LINGER_NS) == INT64_MIN);
    mp_sampler_stop(&sampler);
    CHECK(mp_sampler_next(&sampler, 6 * MS) == INT64_MIN);
}

/* A call is a system call, for which an empty block has no time. */
static void
test_blocks_that_follow_each_other_call_the_thread_once_a_millisecond(void)
{
    struct mp_sampler sampler = {0};
    int calls = 0;
    int64_t now = 0;
    (void)mp_sampler_watch(&sampler, now);
    mp_sampler_unwatch(&sampler, now);
    (void)mp_sampler_next(&sampler, now);
    while (now < 100 * MS) {
        if (mp_sampler_watch(&sampler, now)) {
            calls++;
            (void)mp_sampler_next(&sampler, now);
        }
        now += 10000;
        mp_sampler_unwatch(&sampler, now);
        if (now >= sampler.wakes_ns) {
            CHECK(!mp_sampler_takes_look(&sampler, now));
            (void)mp_sampler_next(&sampler, now);
        }
    }
    CHECK(calls <= 101);
}

int
main(void)
{
    test_all_zeros_is_nothing_to_do();
    test_samples_come_at_once_and_then_on_a_grid();
    test_no_two_samples_are_closer_than_half_an_interval();
    test_no_interval_is_too_long_or_too_short();
    test_a_young_block_is_looked_at_each_millisecond_then_each_ten();
    test_the_nearest_of_both_comes_next();
    test_the_thread_lingers_after_the_last_block();
    test_blocks_that_follow_each_other_call_the_thread_once_a_millisecond();
    return 0;
}
