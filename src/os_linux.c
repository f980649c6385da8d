#define _GNU_SOURCE
#include "os.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Linux 4.14, glibc 2.26. A test build defines it as advice that the kernel refuses. */
#ifndef MP_WIPEONFORK
#    define MP_WIPEONFORK 18
#endif

void
mp_lock_acquire(mp_lock *lock)
{
    (void)pthread_mutex_lock(lock);
}

void
mp_lock_release(mp_lock *lock)
{
    (void)pthread_mutex_unlock(lock);
}

void
mp_yield(void)
{
    (void)sched_yield();
}

int64_t
mp_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void *
map(size_t bytes, int flags)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

/* How many forks lie between the program's start and this process, those of fork() at
 * least: in a PID namespace within another, parent and child can both be process 1, and
 * a number may return once its process has gone. Counted where nothing is wiped. */
static _Atomic uint64_t forks;

static void
count_fork(void)
{
    (void)atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
}

/* qemu's user emulation accepts any advice and follows none. So the kernel's answer
 * means something only if it refuses advice that doesn't exist, which is how BoringSSL
 * asks (crypto/fipsmodule/rand/fork_detect). */
void *
mp_state_map(size_t bytes, bool *wiped)
{
    void *pages = map(bytes, 0);
    *wiped = pages != NULL && madvise(pages, bytes, -1) != 0 &&
             madvise(pages, bytes, MP_WIPEONFORK) == 0;
    if (pages != NULL && !*wiped) {
        (void)pthread_atfork(NULL, NULL, count_fork);
    }
    return pages;
}

uint64_t
mp_process_id(void)
{
    uint64_t count = atomic_load_explicit(&forks, memory_order_relaxed);
    return count << 32 | (uint32_t)getpid();
}

void *
mp_pages_map(size_t bytes)
{
    void *pages = map(bytes, MAP_POPULATE);
    if (pages != NULL) {
        (void)madvise(pages, bytes, MADV_DONTFORK);
    }
    return pages;
}

void
mp_pages_unmap(void *pages, size_t bytes)
{
    (void)munmap(pages, bytes);
}
