/* What a system must provide: a lock, a clock, memory, a thread that waits, and the
 * readings, numbers of this process. A folder per system implements it: linux/, macos/,
 * windows/, and posix/ for what the first two share; extension.c picks it. */
#ifndef MP_SYSTEM_H
#define MP_SYSTEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sizes and counts are kept in size_t and long, too: none of it was made for fewer. */
#if UINTPTR_MAX < UINT64_MAX
#    error "memprobe is for 64-bit systems"
#endif

/* How often a call that was interrupted is made anew: nobody is to wait for ever. */
#define MP_MOST_INTERRUPTIONS 256

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

/* Nanoseconds of the clock that Python's time.monotonic_ns() reads; where it can't be
 * read, the negative of an errno (on Windows of a GetLastError() code). */
int64_t mp_clock_ns(void);

/* Nanoseconds since 1970-01-01 UTC; negative as above. */
int64_t mp_wall_clock_ns(void);

/* Maps zeroed memory for state. Returns NULL if there is none. */
void *mp_state_map(size_t bytes);

/* Has the kernel wipe that memory in forked children, in whatever way they are forked.
 * Returns whether it will. */
bool mp_state_wipe(void *state, size_t bytes);

/* Has in_child called in each child of fork(), before fork() returns there and nobody
 * else runs; once a process. Returns 0 or an errno. */
int mp_fork_watch(void (*in_child)(void));

/* A number that a forked child doesn't share with its parent; at most 60 bits, of which
 * the low 32 are the process's number. */
uint64_t mp_process_id(void);

/* Maps zeroed memory that is resident from the start, so that filling it doesn't look
 * like growth. A forked child has it too, empty where the kernel can do that. Returns
 * NULL if there is no memory. */
void *mp_pages_map(size_t bytes);

/* For so long memprobe waits for a thread of its own at most, which may be frozen. */
#define MP_PATIENCE_NS 100000000

/* Starts a thread that runs run(argument), with all signals blocked, and with a stack
 * of 256 KiB or the least that the system takes. Where the last one hasn't ended yet,
 * it waits for that as mp_thread_join does. Returns 0, or an errno (on Windows a
 * GetLastError() code). */
int mp_thread_start(struct mp_thread *thread, void (*run)(void *), void *argument);

/* Calls the thread, whose wait then ends; how often it was called. */
void mp_thread_call(struct mp_thread *thread);
uint32_t mp_thread_calls(struct mp_thread *thread);

/* In the thread: waits until that time of mp_clock_ns(), or until it has been called
 * more often than so many times. */
void mp_thread_wait(struct mp_thread *thread, uint32_t calls, int64_t until_ns);

/* Waits for the thread's end, also for the system's count of threads to go down, but
 * for MP_PATIENCE_NS at most. Returns whether it has ended, or never ran. Not for two
 * callers at once, nor beside mp_thread_start. */
bool mp_thread_join(struct mp_thread *thread);

/* Is this the thread that the process began with? */
bool mp_thread_is_main(void);

/* Gives back what mp_state_map or mp_pages_map returned. */
void mp_pages_unmap(void *pages, size_t bytes);

/* Readings */

/* By what a descriptor is known again, whose number the program may have closed and
 * given to a file of its own. */
struct mp_rss_identity {
    uint64_t device;
    uint64_t inode;
    int64_t offset; /* which others have no reason to leave it at */
};

/* What linux/rss.c keeps open; it stays all zeros on the other systems, which have
 * nothing to keep open, but for the highest reading. All zeros: nothing is open. */
struct mp_rss_reader {
    /* Descriptor + 1 of statm in the low half, and how often another one was opened in
     * the high. Changed with the lock; the store (release) pairs with the load
     * (acquire) of whoever reads without it, who then sees page_size. */
    _Atomic uint64_t file;
    /* When `file` was last known to be the one we opened; changed with the lock.
     * Relaxed: nothing else is read because of it. */
    _Atomic int64_t verified_ns;
    /* The highest reading since then. Anybody raises it (release), who has the lock
     * takes it (acquire), so that the reading comes before the look at whose file it
     * was. */
    _Atomic uint64_t unconfirmed;
    uint64_t page_size; /* written once, before `file` */
    mp_lock lock;       /* guards all that follows */
    uint64_t opened;    /* how often statm was, as in `file` */
    struct mp_rss_identity statm;
    int folder; /* descriptor + 1 of /proc */
    struct mp_rss_identity proc;
    /* Of mp_rss_read_mark: ru_maxrss at first, written before others know; and when it
     * was last found to be this process's own, 0: never. Relaxed. */
    uint64_t foreign_maxrss;
    _Atomic uint64_t own_maxrss;
};

/* "Not known", among numbers of bytes and pages. */
#define MP_RSS_UNKNOWN UINT64_MAX

/* From mp_rss_read: it takes mp_rss_read_verified. No error of any system. */
#define MP_RSS_UNVERIFIED (-100)

/* Where the numbers come from, for error messages. */
extern const char mp_rss_source[];
extern const char mp_rss_peak_source[];
extern const char mp_rss_reset_source[];

/* Opens what the reader needs, if anything, while that is still possible: before a
 * chroot, a seccomp filter or the last free descriptor. An error is left to the first
 * reading. */
void mp_rss_open(struct mp_rss_reader *reader);

/* The same in a forked child, with the reader of its parent. Only if this is the
 * child's single thread, `alone`, may the parent's file be closed: otherwise it is
 * forgotten. */
void mp_rss_open_in_child(struct mp_rss_reader *reader, bool alone);

/* Closes what is open, unless it is somebody else's by now. */
void mp_rss_close(struct mp_rss_reader *reader);

/* Reads RSS in bytes, never 0, and the monotonic time of the reading, which is negative
 * as mp_clock_ns() says. `shared` may be NULL; else it is how much of RSS can be shared
 * with other processes, or MP_RSS_UNKNOWN. What it says is at most 5 ms later than the
 * last look at whose file it reads. Returns 0, MP_RSS_UNVERIFIED, or an error after
 * which mp_rss_read_verified is to be tried. */
int mp_rss_read(struct mp_rss_reader *reader, uint64_t *bytes, uint64_t *shared,
                int64_t *ns);

/* The same after such a look, and whatever it takes. *confirmed is the highest of the
 * readings before that are known by it to be this process's, or 0. Returns 0, or an
 * errno (on Windows a GetLastError() code). */
int mp_rss_read_verified(struct mp_rss_reader *reader, uint64_t *bytes,
                         uint64_t *shared, uint64_t *confirmed);

/* The highest of the readings since the last look, or confirmation, that a look
 * confirms now; 0 if it confirms none. */
uint64_t mp_rss_confirm(struct mp_rss_reader *reader);

/* Reads the kernel's high-water mark of RSS in bytes. Returns as mp_rss_read_verified
 * does. */
int mp_rss_read_peak(struct mp_rss_reader *reader, uint64_t *bytes);

/* Reads a number of bytes that rises when the high-water mark rises, and only then; it
 * may lag behind that mark, but costs less. Returns as mp_rss_read_peak does. */
int mp_rss_read_mark(struct mp_rss_reader *reader, uint64_t *bytes);

/* Resets the high-water mark to what RSS is. It may wait for whoever maps memory.
 * Returns as mp_rss_read_verified does, or MP_RSS_NO_RESET where no system call does
 * that.
 */
int mp_rss_reset_peak(struct mp_rss_reader *reader);

/* No error of any system. */
#define MP_RSS_NO_RESET (-101)

/* For a thread of ours, when it starts: gives it a table of descriptors of its own,
 * where the system can, with what `reader` has open and nothing else, and makes *own a
 * reader of that. Nobody can close its files then, a chroot doesn't matter, and it
 * holds none of the program's pipes open. Returns whether it has such a table, which
 * takes what is open with it when the thread ends; else mp_rss_close is to be called.
 */
bool mp_rss_take_along(struct mp_rss_reader *own, struct mp_rss_reader *reader);

#endif
