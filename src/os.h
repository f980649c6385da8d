/* What the core needs of the operating system besides RSS: a lock, a clock, memory. */
#ifndef MP_OS_H
#define MP_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The lock. All zeros is an unlocked one on each system (os_linux.c checks it): memory
 * that the kernel has wiped in a forked child holds locks that can be used. */
#if defined(_WIN32)
typedef struct {
    void *srwlock;
} mp_lock;
#elif defined(__APPLE__)
#    include <os/lock.h>
typedef os_unfair_lock mp_lock;
#else
#    include <pthread.h>
typedef pthread_mutex_t mp_lock;
#endif

void mp_lock_acquire(mp_lock *lock);
void mp_lock_release(mp_lock *lock);

/* Lets another thread run. */
void mp_yield(void);

/* Nanoseconds of the clock that Python's time.monotonic_ns() reads. */
int64_t mp_clock_ns(void);

/* Maps zeroed memory for state. *wiped says whether a forked child finds zeros there,
 * in whatever way it was forked. Returns NULL if there is no memory. */
void *mp_state_map(size_t bytes, bool *wiped);

/* A number that a forked child doesn't share with its parent; at most 62 bits. */
uint64_t mp_process_id(void);

/* Maps zeroed memory that is resident from the start, so that filling it doesn't look
 * like growth. A forked child doesn't have it. Returns NULL if there is no memory. */
void *mp_pages_map(size_t bytes);

/* Gives back what mp_state_map or mp_pages_map returned. */
void mp_pages_unmap(void *pages, size_t bytes);

#endif
