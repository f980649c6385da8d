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
mp_pages_unmap(void *pages, size_t bytes)
{
    (void)munmap(pages, bytes);
}

static void *
thread_main(void *argument)
{
    struct mp_thread *thread = argument;
    thread->run(thread->argument);
    (void)pthread_mutex_lock(&thread->lock);
    thread->running = false;
    (void)pthread_cond_broadcast(&thread->changed);
    (void)pthread_mutex_unlock(&thread->lock);
    return NULL;
}

/* Of ours: 512 KiB by default. */
#define STACK_BYTES 262144

/* With the calling thread's mask of signals, which the new one inherits. */
static int
create(struct mp_thread *thread)
{
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        return error;
    }
    error = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (error == 0) {
        error = pthread_create(&thread->handle, &attributes, thread_main, thread);
    }
    (void)pthread_attr_destroy(&attributes);
    return error;
}

/* The lock and the condition aren't all zeros here; they stay. */
static int
prepare_thread(struct mp_thread *thread)
{
    if (thread->prepared) {
        return 0;
    }
    int error = pthread_mutex_init(&thread->lock, NULL);
    if (error == 0) {
        error = pthread_cond_init(&thread->changed, NULL);
    }
    thread->prepared = error == 0;
    return error;
}

int
mp_thread_start(struct mp_thread *thread, void (*run)(void *), void *argument)
{
    sigset_t all, before;
    int error = prepare_thread(thread);
    if (error == 0 && !mp_thread_join(thread)) {
        error = EBUSY;
    }
    (void)sigfillset(&all);
    if (error == 0) {
        error = pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    if (error != 0) {
        return error;
    }
    thread->run = run;
    thread->argument = argument;
    thread->running = true;
    error = create(thread);
    thread->running = error == 0;
    thread->joinable = error == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

void
mp_thread_call(struct mp_thread *thread)
{
    if (!thread->prepared) {
        return;
    }
    (void)pthread_mutex_lock(&thread->lock);
    atomic_fetch_add(&thread->calls, 1);
    (void)pthread_cond_broadcast(&thread->changed);
    (void)pthread_mutex_unlock(&thread->lock);
}

uint32_t
mp_thread_calls(struct mp_thread *thread)
{
    return atomic_load(&thread->calls);
}

/* What a wait takes at most at once, and a sleep instead of one that was none. */
#define LONGEST_WAIT_NS (INT64_C(3600) * 1000000000)
#define LONGEST_SLEEP_NS 10000000

/* With the lock. There is no absolute wait on a monotonic clock here. */
static void
wait_for(struct mp_thread *thread, int64_t rest_ns)
{
    int64_t ns = rest_ns < LONGEST_WAIT_NS ? rest_ns : LONGEST_WAIT_NS;
    struct timespec rest = {
        .tv_sec = (time_t)(ns / 1000000000),
        .tv_nsec = (long)(ns % 1000000000),
    };
    (void)pthread_cond_timedwait_relative_np(&thread->changed, &thread->lock, &rest);
}

/* A wait that ends too soon, for whatever reason, isn't asked for again at once. */
void
mp_thread_wait(struct mp_thread *thread, uint32_t calls, int64_t until_ns)
{
    for (;;) {
        (void)pthread_mutex_lock(&thread->lock);
        int64_t rest_ns = until_ns - mp_clock_ns();
        if (rest_ns > 0 && atomic_load(&thread->calls) == calls) {
            wait_for(thread, rest_ns);
        }
        (void)pthread_mutex_unlock(&thread->lock);
        rest_ns = until_ns - mp_clock_ns();
        if (rest_ns <= 0 || atomic_load(&thread->calls) != calls) {
            return;
        }
        struct timespec sleep = {
            .tv_sec = 0,
            .tv_nsec = (long)(rest_ns < LONGEST_SLEEP_NS ? rest_ns : LONGEST_SLEEP_NS),
        };
        (void)nanosleep(&sleep, NULL);
    }
}

/* The join is for the system's count, and takes a moment: the thread has left. */
bool
mp_thread_join(struct mp_thread *thread)
{
    if (!thread->prepared) {
        return true;
    }
    int64_t give_up_ns = mp_clock_ns() + MP_PATIENCE_NS;
    (void)pthread_mutex_lock(&thread->lock);
    for (int64_t now_ns = mp_clock_ns(); thread->running && now_ns < give_up_ns;
         now_ns = mp_clock_ns()) {
        wait_for(thread, give_up_ns - now_ns);
    }
    bool ended = !thread->running;
    (void)pthread_mutex_unlock(&thread->lock);
    if (ended && thread->joinable) {
        thread->joinable = false;
        (void)pthread_join(thread->handle, NULL);
    }
    return ended;
}

bool
mp_thread_is_main(void)
{
    return pthread_main_np() != 0;
}
