/* What a reading costs while other threads read too: from one open /proc/self/statm for
 * all of them, as src/linux/rss.c has it, and from an open file for each thread.
 *
 *     cc -std=c11 -O2 -pthread benchmarks/threads.c -o /tmp/threads && /tmp/threads
 *
 * Prints readings a second of all threads together, without and with other work between
 * a thread's readings: the best of many short rounds, in
 * which the two ways take turns. A round lasts from the first start to the last end:
 * what the threads spend waiting for each other counts. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define READINGS 1000
#define ROUNDS 300
#define MOST_THREADS 4

struct worker {
    pthread_t thread;
    int fd;
    int64_t work_ns;
    int64_t from_ns;
    int64_t to_ns;
};

static pthread_barrier_t start;

static int64_t
now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int
open_statm(void)
{
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        perror("/proc/self/statm");
        exit(1);
    }
    return fd;
}

static void *
work(void *argument)
{
    struct worker *worker = argument;
    char text[256];
    (void)pthread_barrier_wait(&start);
    worker->from_ns = now_ns();
    for (int i = 0; i < READINGS; i++) {
        if (pread(worker->fd, text, sizeof text, 0) <= 0) {
            perror("pread");
            exit(1);
        }
        if (worker->work_ns > 0) {
            int64_t until = now_ns() + worker->work_ns;
            while (now_ns() < until) {
            }
        }
    }
    worker->to_ns = now_ns();
    return NULL;
}

/* Returns readings a microsecond. */
static double
measure(int threads, int64_t work_ns, int file_each)
{
    struct worker workers[MOST_THREADS];
    int shared = open_statm();
    (void)pthread_barrier_init(&start, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        workers[i].fd = file_each ? open_statm() : shared;
        workers[i].work_ns = work_ns;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            perror("pthread_create");
            exit(1);
        }
    }
    int64_t from_ns = INT64_MAX;
    int64_t to_ns = 0;
    for (int i = 0; i < threads; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        from_ns = workers[i].from_ns < from_ns ? workers[i].from_ns : from_ns;
        to_ns = workers[i].to_ns > to_ns ? workers[i].to_ns : to_ns;
        if (file_each) {
            (void)close(workers[i].fd);
        }
    }
    (void)close(shared);
    (void)pthread_barrier_destroy(&start);
    return 1e3 * threads * READINGS / (double)(to_ns - from_ns);
}

int
main(void)
{
    printf("%ld processors\n", sysconf(_SC_NPROCESSORS_ONLN));
    printf(
        "threads  work between  one file  a file each  (million readings a second)\n");
    for (int threads = 1; threads <= MOST_THREADS; threads *= 2) {
        for (int work_us = 0; work_us <= 10; work_us += 10) {
            double best[2] = {0, 0};
            for (int round = 0; round < 2 * ROUNDS; round++) {
                double rate = measure(threads, work_us * 1000, round % 2);
                best[round % 2] = rate > best[round % 2] ? rate : best[round % 2];
            }
            printf("%7d  %9d us  %8.3f  %11.3f\n", threads, work_us, best[0], best[1]);
        }
    }
    return 0;
}
