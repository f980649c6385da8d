/* The probe when the n-th mapping of memory fails, for every n. On Linux, where mmap()
 * can be replaced by one of this program's own; elsewhere there is nothing to test. */
#define _GNU_SOURCE
#include "check.h"
#include "probe.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#ifdef __linux__
#    include <stdint.h>
#    include <sys/mman.h>
#    include <sys/syscall.h>
#    include <sys/wait.h>
#    include <unistd.h>

/* How many mappings still succeed; negative: all. */
static int left = -1;

void *
mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (left == 0) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    left -= left > 0;
    long result = syscall(SYS_mmap, address, size, protection, flags, fd, offset);
    return (void *)result;
}

static uint64_t
samples_taken(void)
{
    uint64_t stored, overwritten;
    struct mp_totals totals;
    mp_probe_stats(&stored, &overwritten, &totals);
    CHECK(stored + overwritten == totals.count);
    return totals.count;
}

static void
test_a_start_without_memory_fails_and_may_be_tried_again(void)
{
    left = 0;
    CHECK(mp_probe_start() == MP_NO_MEMORY);
    CHECK(mp_probe_start() == MP_NO_MEMORY);
    left = 1; /* the state, and none for the ring, which comes with a reading */
    CHECK(mp_probe_start() == 0);
}

static void
test_without_a_ring_everything_but_samples_works(void)
{
    uint64_t bytes;
    struct mp_sample sample;
    left = 0;
    for (int i = 0; i < 3; i++) {
        CHECK(mp_probe_sample(&bytes) == MP_NO_MEMORY);
        CHECK(mp_probe_sample_throttled(&bytes) == MP_NO_MEMORY);
        CHECK(mp_probe_rss(&bytes) == 0 && bytes > 0);
        CHECK(mp_probe_peak(&bytes) == 0 && bytes > 0);
        CHECK(mp_probe_set_capacity(5) == MP_NO_MEMORY);
        CHECK(mp_probe_copy(&sample, 1) == 0);
        CHECK(mp_probe_select(&sample, 1, 1).count == 0);
        mp_probe_forget(UINT64_MAX);
        CHECK(samples_taken() == 0);
    }
}

static void
test_samples_are_stored_as_soon_as_there_is_memory(void)
{
    uint64_t bytes;
    left = -1;
    for (uint64_t i = 1; i <= 3; i++) {
        CHECK(mp_probe_sample(&bytes) == 0);
        CHECK(samples_taken() == i);
        CHECK(mp_probe_set_capacity(3) == 0); /* whatever it was */
    }
}

static void
test_a_capacity_without_memory_keeps_the_samples(void)
{
    struct mp_sample before[3], after[3];
    CHECK(mp_probe_copy(before, 3) == 3);
    left = 0;
    CHECK(mp_probe_set_capacity(2) == MP_NO_MEMORY);
    CHECK(mp_probe_set_capacity(200000) == MP_NO_MEMORY);
    left = -1;
    CHECK(mp_probe_copy(after, 3) == 3);
    CHECK(memcmp(before, after, sizeof before) == 0);
}

static void
test_a_child_without_memory_says_so_until_there_is_some(void)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        left = 0;
        test_without_a_ring_everything_but_samples_works();
        test_samples_are_stored_as_soon_as_there_is_memory();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(samples_taken() == 3);
}

int
main(void)
{
    test_a_start_without_memory_fails_and_may_be_tried_again();
    test_without_a_ring_everything_but_samples_works();
    test_samples_are_stored_as_soon_as_there_is_memory();
    test_a_capacity_without_memory_keeps_the_samples();
    test_a_child_without_memory_says_so_until_there_is_some();
    return 0;
}

#else

int
main(void)
{
    return 0;
}

#endif
