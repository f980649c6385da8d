/* What a system must provide: a lock, a clock, memory, a thread that waits, and the
 * readings, numbers of this process. A folder per system implements it: linux/, macos/,
 * windows/, and posix/ for what the first two share; extension.c picks it. */
#ifndef MP_SYSTEM_H
#define MP_SYSTEM_H

#include <stdatomic.h>
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
#elif defined(__APPLE__)
#    include <os/lock.h>
#    include <pthread.h>
typedef os_unfair_lock mp_lock;
#else
#    include <pthread.h>
typedef pthread_mutex_t mp_lock;
#endif

/* A thread of ours. All zeros: none was started yet. */
struct mp_thread {
    _Atomic uint32_t calls;
    void (*run)(void *);
    void *argument;
#if defined(_WIN32)
    void *handle;
    void *called; /* an event */
    void *timer;  /* NULL before Windows 10, 1803 */
#elif defined(__APPLE__)
    pthread_t handle;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool prepared; /* the two before */
    bool running;
    bool joinable;
#else
    atomic_bool running;
    _Atomic int id; /* once it runs */
#endif
};

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

/* For so long memprobe waits for a thread of its own at most, which may be frozen. */
#define MP_PATIENCE_NS 100000000

/* Starts a thread that runs run(argument), with all signals blocked, and with a stack of
 * 256 KiB or the least that the system takes. Where the last one hasn't ended yet, it
 * waits for that as mp_thread_join does. Returns 0, or an errno (on Windows a
 * GetLastError() code). */
int mp_thread_start(struct mp_thread *thread, void (*run)(void *), void *argument);

/* Calls the thread, whose wait then ends; how often it was called. */
void mp_thread_call(struct mp_thread *thread);
uint32_t mp_thread_calls(struct mp_thread *thread);

/* In the thread: waits until that time of mp_clock_ns(), or until it has been called
 * more often than so many times. */
void mp_thread_wait(struct mp_thread *thread, uint32_t calls, int64_t until_ns);

/* Waits for the thread's end, also for the system's count of threads to go down, but for
 * MP_PATIENCE_NS at most. Returns whether it has ended, or never ran. Not for two
 * callers at once, nor beside mp_thread_start. */
bool mp_thread_join(struct mp_thread *thread);

/* Is this the thread that the process began with? */
bool mp_thread_is_main(void);

/* Leaves mapped memory out of forked children. */
void mp_pages_leave_out_of_fork(void *pages, size_t bytes);

/* Gives back what mp_state_map or mp_pages_map returned. */
void mp_pages_unmap(void *pages, size_t bytes);

/* Readings */

/* The open file that linux/rss.c reads; it stays all zeros on the other systems, which
 * have nothing to keep open. All zeros: not open. */
struct mp_rss_reader {
    _Atomic int file; /* descriptor + 1 */
    _Atomic int64_t
        verified_ns;            /* when `file` was last known to be the one we opened */
    mp_lock lock;               /* guards the changes of all fields */
    _Atomic bool maxrss_is_own; /* mp_rss_read_mark need not look into a file */
    uint64_t page_size;
    uint64_t device;
    uint64_t inode;
};

/* Where the numbers come from, for error messages. */
extern const char mp_rss_source[];
extern const char mp_rss_peak_source[];

/* Opens what the reader needs, if anything, while that is still possible: before a
 * chroot, a seccomp filter or the last free descriptor. An error is left to the first
 * reading. */
void mp_rss_open(struct mp_rss_reader *reader);

/* Closes what is open, unless it is somebody else's by now. */
void mp_rss_close(struct mp_rss_reader *reader);

/* Reads RSS in bytes, never 0, and the monotonic time of the reading.
 * Returns 0, or an errno (on Windows a GetLastError() code). */
int mp_rss_read(struct mp_rss_reader *reader, uint64_t *bytes, int64_t *ns);

/* For a number that mp_rss_read has just handed out and that will not be forgotten:
 * makes sure that it is this process's, if need be by a new reading into *bytes.
 * Returns as mp_rss_read does. */
int mp_rss_confirm(struct mp_rss_reader *reader, uint64_t *bytes);

/* Reads the kernel's high-water mark of RSS in bytes. Returns as mp_rss_read does. */
int mp_rss_read_peak(uint64_t *bytes);

/* Reads a number of bytes that rises when the high-water mark rises, and only then; it
 * may lag behind that mark, but costs less. Returns as mp_rss_read_peak does. */
int mp_rss_read_mark(struct mp_rss_reader *reader, uint64_t *bytes);

#endif
