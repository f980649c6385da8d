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

/* From <linux/futex.h>, which musl doesn't come with. */
#define WAIT_PRIVATE 128
#define WAKE_PRIVATE 129

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
        return -(int64_t)(errno != 0 ? errno : EIO);
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
mp_pages_unmap(void *pages, size_t bytes)
{
    (void)munmap(pages, bytes);
}

/* Of ours: what the kernel takes is 8 MB by default (RLIMIT_STACK), which counts as
 * address space, and as RSS if all memory is locked. */
#define STACK_BYTES 262144

/* Where programs have much thread-local memory, as with sanitizers, it takes more. */
#define MOST_STACK_BYTES (16 << 20)

static void *
thread_main(void *argument)
{
    struct mp_thread *thread = argument;
    atomic_store(&thread->id, (int)syscall(SYS_gettid));
    thread->run(thread->argument);
    atomic_store(&thread->running, false);
    return NULL;
}

/* With the calling thread's mask of signals, which the new one inherits. */
static int
create(struct mp_thread *thread)
{
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        return error;
    }
    error = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (error == 0) {
        error = EINVAL; /* the stack is too small */
    }
    for (size_t size = STACK_BYTES; error == EINVAL && size <= MOST_STACK_BYTES;
         size *= 2) {
        error = pthread_attr_setstacksize(&attributes, size);
        if (error == 0) {
            pthread_t unwanted;
            error = pthread_create(&unwanted, &attributes, thread_main, thread);
        }
    }
    (void)pthread_attr_destroy(&attributes);
    return error;
}

int
mp_thread_start(struct mp_thread *thread, void (*run)(void *), void *argument)
{
    sigset_t all, before;
    (void)mp_thread_join(thread);
    (void)sigfillset(&all);
    int error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error != 0) {
        return error;
    }
    thread->run = run;
    thread->argument = argument;
    atomic_store(&thread->id, 0);
    atomic_store(&thread->running, true);
    error = create(thread);
    if (error != 0) {
        atomic_store(&thread->running, false);
    }
    /* The program can't go on without its signals. */
    for (int attempts = 3; attempts > 0; attempts--) {
        if (pthread_sigmask(SIG_SETMASK, &before, NULL) == 0) {
            break;
        }
    }
    return error;
}

void
mp_thread_call(struct mp_thread *thread)
{
    atomic_fetch_add(&thread->calls, 1);
    (void)syscall(SYS_futex, &thread->calls, WAKE_PRIVATE, 1);
}

uint32_t
mp_thread_calls(struct mp_thread *thread)
{
    return atomic_load(&thread->calls);
}

static void
sleep_ns(int64_t ns)
{
    struct timespec time = {.tv_sec = 0, .tv_nsec = (long)ns};
    (void)nanosleep(&time, NULL);
}

/* What a wait takes at most at once, and a sleep instead of one that was none. */
#define LONGEST_WAIT_S 3600
#define LONGEST_SLEEP_NS 10000000

/* How long it is until then; while the clock can't be read, a moment. */
static int64_t
rest_until(int64_t until_ns)
{
    int64_t now_ns = mp_clock_ns();
    return now_ns < 0 ? LONGEST_SLEEP_NS : until_ns - now_ns;
}

/* The kernel is asked directly, and for a length of time: under a preloaded library
 * that fakes clocks and waits, the wait would be for another clock than
 * mp_clock_ns()'s. A wait that ends too soon, for whatever reason, isn't asked for
 * again at once. */
void
mp_thread_wait(struct mp_thread *thread, uint32_t calls, int64_t until_ns)
{
    for (;;) {
        int64_t rest_ns = rest_until(until_ns);
        if (rest_ns <= 0 || atomic_load(&thread->calls) != calls) {
            return;
        }
        /* Two longs also where time_t is longer than the kernel's. */
        long time[2] = {LONGEST_WAIT_S, 0};
        if (rest_ns < (int64_t)LONGEST_WAIT_S * 1000000000) {
            time[0] = (long)(rest_ns / 1000000000);
            time[1] = (long)(rest_ns % 1000000000);
        }
        (void)syscall(SYS_futex, &thread->calls, WAIT_PRIVATE, calls, time, NULL, 0);
        rest_ns = rest_until(until_ns);
        if (rest_ns > 0 && atomic_load(&thread->calls) == calls) {
            sleep_ns(rest_ns < LONGEST_SLEEP_NS ? rest_ns : LONGEST_SLEEP_NS);
        }
    }
}

/* Does the kernel still have the thread, and count it, as Python's os.fork() looks at?
 * It takes it off a moment after the thread's last instruction. */
static bool
is_there(struct mp_thread *thread)
{
    int id = atomic_load(&thread->id);
    if (id != 0 && syscall(SYS_tgkill, getpid(), id, 0) == 0) {
        return true;
    }
    return (id == 0 || errno != ESRCH) && atomic_load(&thread->running);
}

/* First by giving way, for the thread needs 50 us; then by sleeping, for it may have a
 * lower priority. Counted besides, for a clock that stands still, and for a container
 * whose time is up: that is as long for the thread. A number that was given away again
 * ends the wait as well. */
bool
mp_thread_join(struct mp_thread *thread)
{
    int64_t give_up_ns = mp_clock_ns() + MP_PATIENCE_NS;
    for (int i = 0; is_there(thread); i++) {
        if (i < 100) {
            mp_yield();
        } else if (i < 120 || (i < 1000 && mp_clock_ns() < give_up_ns)) {
            sleep_ns(50000);
        } else {
            return false;
        }
    }
    atomic_store(&thread->id, 0);
    return true;
}

bool
mp_thread_is_main(void)
{
    return syscall(SYS_gettid) == getpid();
}
