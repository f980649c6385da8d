/* For MAP_ANON and the like, also with -std=c11. */
#ifndef _DARWIN_C_SOURCE
#    define _DARWIN_C_SOURCE 1
#endif

#include "system.h"

#include <errno.h>
#include <mach/vm_inherit.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void
mp_lock_acquire(mp_lock *lock)
{
    os_unfair_lock_lock(lock);
}

void
mp_lock_release(mp_lock *lock)
{
    os_unfair_lock_unlock(lock);
}

void
mp_yield(void)
{
    (void)sched_yield();
}

/* The function's 0 is its error. */
static int64_t
read_clock(clockid_t clock)
{
    int64_t ns = (int64_t)clock_gettime_nsec_np(clock);
    return ns == 0 ? -(int64_t)errno : ns;
}

/* Python reads mach_absolute_time(), and this is that in nanoseconds. */
int64_t
mp_clock_ns(void)
{
    return read_clock(CLOCK_UPTIME_RAW);
}

int64_t
mp_wall_clock_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

static void *
map(size_t bytes)
{
    void *pages =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void *
mp_state_map(size_t bytes)
{
    return map(bytes);
}

/* There is no inheritance as zeros here. */
bool
mp_state_wipe(void *state, size_t bytes)
{
    (void)state;
    (void)bytes;
    return false;
}

int
mp_fork_watch(void (*in_child)(void))
{
    return pthread_atfork(NULL, NULL, in_child);
}

uint64_t
mp_process_id(void)
{
    return (uint64_t)getpid();
}

void *
mp_pages_map(size_t bytes)
{
    void *pages = map(bytes);
    if (pages != NULL) {
        memset(pages, 0, bytes);
    }
    return pages;
}

void
mp_pages_leave_out_of_fork(void *pages, size_t bytes)
{
    (void)minherit(pages, bytes, VM_INHERIT_NONE);
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
    thread->run(thread->argument);
    return NULL;
}

int
mp_thread_start(struct mp_thread *thread, void (*run)(void *), void *argument)
{
    sigset_t all, before;
    (void)pthread_mutex_init(&thread->lock, NULL);
    (void)pthread_cond_init(&thread->stop, NULL);
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

/* There is no absolute wait on a monotonic clock here. */
bool
mp_thread_wait(struct mp_thread *thread, int64_t until_ns)
{
    (void)pthread_mutex_lock(&thread->lock);
    for (;;) {
        int64_t rest_ns = until_ns - mp_clock_ns();
        if (thread->stopping || rest_ns <= 0) {
            break;
        }
        struct timespec rest = {
            .tv_sec = (time_t)(rest_ns / 1000000000),
            .tv_nsec = (long)(rest_ns % 1000000000),
        };
        (void)pthread_cond_timedwait_relative_np(&thread->stop, &thread->lock, &rest);
    }
    bool stopping = thread->stopping;
    (void)pthread_mutex_unlock(&thread->lock);
    return stopping;
}

/* A task has one table here, and the reading needs no file. */
void
mp_thread_leave_files(void)
{
}

void
mp_thread_stop(struct mp_thread *thread)
{
    (void)pthread_mutex_lock(&thread->lock);
    thread->stopping = true;
    (void)pthread_cond_signal(&thread->stop);
    (void)pthread_mutex_unlock(&thread->lock);
    (void)pthread_join(thread->handle, NULL);
    (void)pthread_cond_destroy(&thread->stop);
    (void)pthread_mutex_destroy(&thread->lock);
}
