/* What the core needs of the operating system besides RSS: a lock, a clock, memory, and
 * a thread that waits. */
#ifndef MP_OS_H
#define MP_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The lock. All zeros is an unlocked one on each system (tests/core/test_probe.c checks
 * it): memory that the kernel has wiped in a forked child holds locks that can be used.
 */
#if defined(_WIN32)
typedef struct {
    void *srwlock;
} mp_lock;
struct mp_thread {
    void *handle;
    void *stop;  /* an event */
    void *timer; /* NULL before Windows 10, 1803 */
};
#elif defined(__APPLE__)
#    include <os/lock.h>
#    include <pthread.h>
typedef os_unfair_lock mp_lock;
#else
#    include <pthread.h>
typedef pthread_mutex_t mp_lock;
#endif
#if !defined(_WIN32)
/* All zeros: none runs. */
struct mp_thread {
    pthread_t handle;
    pthread_mutex_t lock;
    pthread_cond_t stop;
    bool stopping;
    int id;
    void (*run)(void *);
    void *argument;
};
#endif

void mp_lock_acquire(mp_lock *lock);
void mp_lock_release(mp_lock *lock);

/* Lets another thread run. */
void mp_yield(void);

/* Nanoseconds of the clock that Python's time.monotonic_ns() reads. */
int64_t mp_clock_ns(void);

/* Nanoseconds since 1970-01-01 UTC. */
int64_t mp_wall_clock_ns(void);

/* Maps zeroed memory for state. *wiped says whether a forked child finds zeros there,
 * in whatever way it was forked. Returns NULL if there is no memory. */
void *mp_state_map(size_t bytes, bool *wiped);

/* A number that a forked child doesn't share with its parent; at most 62 bits, of which
 * the low 32 are the process's number. */
uint64_t mp_process_id(void);

/* Maps zeroed memory that is resident from the start, so that filling it doesn't look
 * like growth. A forked child doesn't have it. Returns NULL if there is no memory. */
void *mp_pages_map(size_t bytes);

/* Starts a thread that runs run(argument), with all signals blocked. Returns 0, or an
 * errno (on Windows a GetLastError() code). */
int mp_thread_start(struct mp_thread *thread, void (*run)(void *), void *argument);

/* In the thread: waits until that time of mp_clock_ns(), or until the thread is to
 * stop. Returns whether it is to stop. */
bool mp_thread_wait(struct mp_thread *thread, int64_t until_ns);

/* In the thread: gives it a table of file descriptors of its own, an empty one, where
 * the system can. Nobody can close its files then, and it holds none of the program's
 * pipes open. */
void mp_thread_leave_files(void);

/* Stops the thread at once, waits for its end, also for the system's count of threads
 * to go down, and frees what it needed. */
void mp_thread_stop(struct mp_thread *thread);

/* Leaves mapped memory out of forked children. */
void mp_pages_leave_out_of_fork(void *pages, size_t bytes);

/* Gives back what mp_state_map or mp_pages_map returned. */
void mp_pages_unmap(void *pages, size_t bytes);

#endif
