/* For MADV_DONTFORK, MAP_POPULATE, syscall and the like, also with -std=c11. */
#ifndef _GNU_SOURCE
#    define _GNU_SOURCE 1
#endif

#include "system.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Linux 4.14, glibc 2.26. A test build defines it as advice that the kernel refuses. */
#ifndef MP_WIPEONFORK
#    define MP_WIPEONFORK 18
#endif

/* Linux 5.9; the number is the same on all architectures. */
#ifndef SYS_close_range
#    define SYS_close_range 436
#endif
#define CLOSE_RANGE_UNSHARE_FLAG 2U

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

static inline int64_t
read_clock(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        return -(int64_t)errno;
    }
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t
mp_clock_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t
mp_wall_clock_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

static void *
map(size_t bytes, int flags)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void *
mp_state_map(size_t bytes)
{
    return map(bytes, 0);
}

/* qemu's user emulation accepts any advice and follows none. So the kernel's answer
 * means something only if it refuses advice that doesn't exist, which is how BoringSSL
 * asks (crypto/fipsmodule/rand/fork_detect). */
bool
mp_state_wipe(void *state, size_t bytes)
{
    return madvise(state, bytes, -1) != 0 && madvise(state, bytes, MP_WIPEONFORK) == 0;
}

/* How many calls of fork() lie between the program's start and this process: in a PID
 * namespace within another, parent and child can both be process 1, and a number may
 * return once its process has gone. */
static _Atomic uint64_t forks;

static void (*call_in_child)(void); /* written once, before the system knows of it */

static void
count_fork(void)
{
    (void)atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
    call_in_child();
}

int
mp_fork_watch(void (*in_child)(void))
{
    call_in_child = in_child;
    return pthread_atfork(NULL, NULL, count_fork);
}

#define MOST_FORKS ((UINT64_C(1) << 28) - 1)

uint64_t
mp_process_id(void)
{
    uint64_t count = atomic_load_explicit(&forks, memory_order_relaxed);
    return (count & MOST_FORKS) << 32 | (uint32_t)getpid();
}

/* Wiped in a child and not left out of it: one who doesn't know yet that it is a child
 * may write there. */
void *
mp_pages_map(size_t bytes)
{
    void *pages = map(bytes, MAP_POPULATE);
    if (pages != NULL) {
        (void)mp_state_wipe(pages, bytes); /* else it finds a copy */
    }
    return pages;
}

void
mp_pages_leave_out_of_fork(void *pages, size_t bytes)
{
    (void)madvise(pages, bytes, MADV_DONTFORK);
}

void
mp_pages_unmap(void *pages, size_t bytes)
{
    (void)munmap(pages, bytes);
}

static void *
thread_main(void *argument)
{
    struct mp_thread *thread = argument;
    thread->id = (int)syscall(SYS_gettid);
    thread->run(thread->argument);
    return NULL;
}

int
mp_thread_start(struct mp_thread *thread, void (*run)(void *), void *argument)
{
    sigset_t all, before;
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&thread->lock, NULL);
    (void)pthread_cond_init(&thread->stop, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    thread->stopping = false;
    thread->run = run;
    thread->argument = argument;
    /* The thread inherits the mask. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->handle, NULL, thread_main, thread);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

bool
mp_thread_wait(struct mp_thread *thread, int64_t until_ns)
{
    struct timespec until = {
        .tv_sec = (time_t)(until_ns / 1000000000),
        .tv_nsec = (long)(until_ns % 1000000000),
    };
    int error = 0;
    (void)pthread_mutex_lock(&thread->lock);
    while (!thread->stopping && error == 0) {
        error = pthread_cond_timedwait(&thread->stop, &thread->lock, &until);
    }
    bool stopping = thread->stopping;
    (void)pthread_mutex_unlock(&thread->lock);
    return stopping;
}

/* Where it fails, before Linux 5.9 or by a seccomp filter, the table stays shared. */
void
mp_thread_leave_files(void)
{
    (void)syscall(SYS_close_range, 0U, ~0U, CLOSE_RANGE_UNSHARE_FLAG);
}

/* pthread_join returns a moment before the kernel takes the thread off the count that
 * Python's os.fork() looks at. A number that was given away again ends the wait as
 * well. */
static void
wait_until_uncounted(int thread)
{
    int64_t give_up_ns = mp_clock_ns() + 10 * 1000000;
    while (syscall(SYS_tgkill, getpid(), thread, 0) == 0 &&
           mp_clock_ns() < give_up_ns) {
        mp_yield();
    }
}

void
mp_thread_stop(struct mp_thread *thread)
{
    (void)pthread_mutex_lock(&thread->lock);
    thread->stopping = true;
    (void)pthread_cond_signal(&thread->stop);
    (void)pthread_mutex_unlock(&thread->lock);
    (void)pthread_join(thread->handle, NULL);
    wait_until_uncounted(thread->id);
    (void)pthread_cond_destroy(&thread->stop);
    (void)pthread_mutex_destroy(&thread->lock);
}
