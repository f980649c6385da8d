/* Forks in the middle of readings: native threads sample and copy without pause, and
 * the ring's lock is held at the moment of many of the forks. Each child must find
 * itself at the start, with locks that can be taken. argv: how many forks. */
#define _GNU_SOURCE
#include "../c/check.h"
#include "probe.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CAPACITY 20000
#define GROWTH (UINT64_C(4) << 20)

static atomic_bool stop;

/* What the kernel says to one who asks for the first time. */
static uint64_t
true_rss(void)
{
    char text[256] = "";
    unsigned long long pages;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && close(fd) == 0);
    CHECK(sscanf(text, "%*u %llu", &pages) == 1);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool
is_near(uint64_t one, uint64_t other)
{
    uint64_t difference = one < other ? other - one : one - other;
    return difference < UINT64_C(1) << 20;
}

static void *
sample_until_stopped(void *count)
{
    while (!atomic_load(&stop)) {
        uint64_t bytes;
        CHECK(mp_probe_sample(&bytes) == 0);
        CHECK(bytes > 0);
        ++*(uint64_t *)count;
    }
    return NULL;
}

/* Holds the ring's lock nearly all the time. */
static void *
copy_until_stopped(void *samples)
{
    while (!atomic_load(&stop)) {
        CHECK(mp_probe_copy(samples, CAPACITY) <= CAPACITY);
    }
    return NULL;
}

/* What looks whose file is read, and what notes and forgets. */
static void *
ask_until_stopped(void *ignored)
{
    (void)ignored;
    for (int64_t i = 0; !atomic_load(&stop); i++) {
        uint64_t bytes, peak;
        bool above;
        CHECK(mp_probe_rss_anon(&bytes) == 0 && mp_probe_peak(&peak) == 0);
        CHECK(bytes > 0 && bytes < peak);
        CHECK(mp_probe_above(peak, i % 7, &above) == 0);
        mp_probe_set_min_interval(i % 3 * 1000);
        CHECK(mp_probe_sample_throttled(&bytes) == 0 && bytes > 0);
    }
    return NULL;
}

#if defined(__SANITIZE_THREAD__)
#    define KINDS 1 /* it knows of fork() alone */

void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);

/* ThreadSanitizer goes on to compare with what the parent's threads did, which a child
 * doesn't have. It is the parent that it is to watch. */
static void
ignore_child(void)
{
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
#else
#    define KINDS 3

static void
ignore_child(void)
{
}
#endif

static pid_t
fork_in_some_way(unsigned number)
{
    switch (number % KINDS) {
    case 0:
        return fork();
#ifdef SYS_fork
    case 1:
        return (pid_t)syscall(SYS_fork);
#endif
#ifdef __x86_64__
    case 2: /* the order of the arguments is the machine's */
        return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
#endif
    default:
        return fork();
    }
}

static void
check_child(void)
{
    uint64_t bytes, stored, overwritten;
    struct mp_totals totals;
    (void)alarm(20);
    mp_probe_stats(&stored, &overwritten, &totals);
    CHECK(stored == 0 && overwritten == 0 && totals.count == 0);
    void *grown = mmap(NULL, GROWTH, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    CHECK(grown != MAP_FAILED);
    CHECK(mp_probe_sample(&bytes) == 0);
    CHECK(is_near(bytes, true_rss()));
    mp_probe_stats(&stored, &overwritten, &totals);
    CHECK(stored == 1 && overwritten == 0 && totals.count == 1);
}

int
main(int argc, char **argv)
{
    CHECK(argc == 2);
    CHECK(pthread_atfork(NULL, NULL, ignore_child) == 0);
    CHECK(mp_probe_start() == 0);
    CHECK(mp_probe_set_capacity(CAPACITY) == 0);
    static struct mp_sample samples[CAPACITY];
    uint64_t count = 0;
    pthread_t sampling, copying, asking;
    CHECK(pthread_create(&sampling, NULL, sample_until_stopped, &count) == 0);
    CHECK(pthread_create(&copying, NULL, copy_until_stopped, samples) == 0);
    CHECK(pthread_create(&asking, NULL, ask_until_stopped, NULL) == 0);
    for (int i = 0; i < atoi(argv[1]); i++) {
        pid_t pid = fork_in_some_way((unsigned)i);
        CHECK(pid >= 0);
        if (pid == 0) {
            check_child();
            _exit(0);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(status == 0);
    }
    atomic_store(&stop, true);
    CHECK(pthread_join(sampling, NULL) == 0 && pthread_join(copying, NULL) == 0);
    CHECK(pthread_join(asking, NULL) == 0);
    uint64_t stored, overwritten;
    struct mp_totals totals;
    mp_probe_stats(&stored, &overwritten, &totals);
    CHECK(totals.count > count && stored + overwritten == totals.count);
    uint64_t bytes;
    CHECK(mp_probe_rss(&bytes) == 0 && is_near(bytes, true_rss()));
    printf("%llu samples\n", (unsigned long long)count);
    return 0;
}
