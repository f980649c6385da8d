/* For fstatfs, O_CLOEXEC and the like, also with -std=c11. */
#ifndef _GNU_SOURCE
#    define _GNU_SOURCE 1
#endif

#include "attributes.h"
#include "statm.h"
#include "status.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PROC "/proc/"
const char mp_rss_source[] = PROC "self/statm";
const char mp_rss_peak_source[] = PROC "self/status";
const char mp_rss_reset_source[] = PROC "thread-self/clear_refs";

/* From <linux/magic.h>, which musl doesn't come with. */
#define PROC_SUPER_MAGIC 0x9fa0

/* The thread that calls; "self" is the process, whose files say nothing about memory
 * once its main thread has ended (its mm is gone, fs/proc/array.c), though others live
 * on. */
static const char thread_statm[] = PROC "thread-self/statm";
static const char thread_status[] = PROC "thread-self/status";

/* All threads read one open file, though the kernel lets one pread of it in at a time
 * (the mutex in fs/seq_file.c). That counts without a GIL only, and then little:
 * benchmarks/threads.c, on two processors, gives two threads that do nothing but read
 * 1.0 million readings a second from one file, 1.75 from a file each; with 10 us of
 * work between two readings of a thread both ways are equal within 2 %. A file each
 * would be a descriptor for each thread, each to be verified, to be forgotten after a
 * fork or when all are closed, and to be closed when its thread ends. */

/* For so long a stranger's file is believed that took the number of our descriptor and
 * reads like a statm. An fstat at each reading would cost a third to half of one more;
 * one a millisecond costs nothing that can be measured. */
#ifndef MP_VERIFY_EVERY_NS
#    define MP_VERIFY_EVERY_NS 1000000
#endif

/* Seven numbers of at most 20 digits need 147 bytes; what is longer isn't a statm. */
#define STATM_SIZE 256

/* How much of status is read at once; the line of the peak is among its first 500. */
#ifndef MP_STATUS_PIECE
#    define MP_STATUS_PIECE 1024
#endif

/* With 65 536 groups of ten digits, the most that Linux has, it is shorter. */
#define LONGEST_STATUS (1 << 20)

/* Where our descriptors' offsets stand, which no reading uses: a program that opens the
 * same file itself has no reason to go there. */
#define OUR_OFFSET 0x6d656d70

/* RSS is whole pages, of 4096 bytes at least, so these bits of a number of bytes are
 * free: `unconfirmed` has in them for which opening of the file it was read. */
#define OPENING UINT64_C(0xfff)

/* What a failed call has left; never 0, whoever stands in for the call. */
static int
failure(void)
{
    return errno != 0 ? errno : EIO;
}

/* Opens a file of the kernel's. Returns a descriptor, or -1 with errno set. */
static int
open_checked(int folder, const char *path, int flags)
{
    int fd = openat(folder, path, flags | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    int error = 0;
    struct statfs system;
    if (fstatfs(fd, &system) != 0) {
        error = failure();
    } else if (system.f_type != PROC_SUPER_MAGIC) {
        error = EBADMSG; /* something is mounted over it */
    } else if (fd <= STDERR_FILENO) {
        /* A program that has closed 0 to 2 is about to open its own there. */
        int higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        error = higher < 0 ? failure() : 0;
        (void)close(fd);
        fd = higher;
    }
    if (error != 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        errno = error;
        return -1;
    }
    return fd;
}

/* By what an open file is to be known again. Returns 0 or an errno. */
static int
identify(int fd, struct mp_rss_identity *identity)
{
    struct stat opened;
    if (fstat(fd, &opened) != 0) {
        return failure();
    }
    identity->device = opened.st_dev;
    identity->inode = opened.st_ino;
    identity->offset = lseek(fd, OUR_OFFSET, SEEK_SET);
    return 0;
}

/* Is the descriptor's number still that of the file that we opened? Another process's
 * statm has the same st_dev, so both are compared. */
static bool
is_same(int fd, const struct mp_rss_identity *identity)
{
    struct stat now;
    return fd >= 0 && fstat(fd, &now) == 0 && now.st_dev == identity->device &&
           now.st_ino == identity->inode;
}

/* Closes what can't be anybody else's: the same file opened by the program would not
 * have our offset. */
static void
close_ours(int fd, const struct mp_rss_identity *identity)
{
    if (is_same(fd, identity) && lseek(fd, 0, SEEK_CUR) == identity->offset) {
        (void)close(fd);
    }
}

static inline int
descriptor_in(uint64_t file)
{
    return (int)(uint32_t)file - 1;
}

static int
descriptor_of(struct mp_rss_reader *reader)
{
    return descriptor_in(atomic_load_explicit(&reader->file, memory_order_relaxed));
}

/* Opens a file of /proc, by the folder that was opened when it was there, else by its
 * path. The folder's "self" is whoever asks, in whatever PID namespace. With the lock.
 * Returns as open_checked does. */
static int
open_proc_to(struct mp_rss_reader *reader, const char *path, int flags)
{
    int fd = -1;
    if (is_same(reader->folder - 1, &reader->proc)) {
        fd = open_checked(reader->folder - 1, path + sizeof PROC - 1, flags);
    }
    return fd >= 0 ? fd : open_checked(AT_FDCWD, path, flags);
}

static int
open_proc(struct mp_rss_reader *reader, const char *path)
{
    return open_proc_to(reader, path, O_RDONLY);
}

/* Keeps /proc open, for a forked child of this process that finds it gone; the number
 * of a folder that was open before is forgotten. With the lock. */
static void
keep_folder(struct mp_rss_reader *reader)
{
    if (is_same(reader->folder - 1, &reader->proc)) {
        return;
    }
    int fd = open_checked(AT_FDCWD, PROC, O_RDONLY | O_DIRECTORY);
    if (fd >= 0 && identify(fd, &reader->proc) != 0) {
        (void)close(fd);
        fd = -1;
    }
    reader->folder = fd + 1;
}

/* Opens statm; with the lock. The number of the file that was open before is forgotten,
 * not closed: by now it is somebody else's. So are the readings since the last look.
 * Returns 0 or an errno. */
static int
open_statm(struct mp_rss_reader *reader, const char *path)
{
    atomic_store_explicit(&reader->file, 0, memory_order_relaxed);
    int fd = open_proc(reader, path);
    if (fd < 0) {
        return failure();
    }
    int error = identify(fd, &reader->statm);
    long page_size = sysconf(_SC_PAGESIZE);
    if (error == 0 && page_size < (long)OPENING + 1) {
        error = EINVAL;
    }
    if (error != 0) {
        (void)close(fd);
        return error;
    }
    if (reader->page_size == 0) {
        reader->page_size = (uint64_t)page_size;
    }
    reader->opened++;
    /* A reading from the file before, by a thread that is yet to note it, is of another
     * opening from here on. */
    atomic_store_explicit(&reader->unconfirmed, reader->opened & OPENING,
                          memory_order_release);
    atomic_store_explicit(&reader->file, reader->opened << 32 | (uint32_t)(fd + 1),
                          memory_order_release);
    keep_folder(reader);
    return 0;
}

/* Notes a reading of that opening of the file, if it is the highest. Returns 0, or
 * MP_RSS_UNVERIFIED if another thread has found that the file was a stranger's. */
static int
note(struct mp_rss_reader *reader, uint64_t file, uint64_t bytes)
{
    uint64_t opening = file >> 32 & OPENING;
    uint64_t highest = atomic_load_explicit(&reader->unconfirmed, memory_order_relaxed);
    while (bytes > highest) {
        if ((highest & OPENING) != opening) {
            return MP_RSS_UNVERIFIED;
        }
        if (atomic_compare_exchange_weak_explicit(&reader->unconfirmed, &highest,
                                                  bytes | opening, memory_order_release,
                                                  memory_order_relaxed)) {
            break;
        }
    }
    return 0;
}

/* Is the file still ours? Then what was noted before this look was read from it: nobody
 * who has our file closed can open the same one again. With the lock. */
static bool
look(struct mp_rss_reader *reader, uint64_t *confirmed)
{
    uint64_t highest = atomic_exchange_explicit(
        &reader->unconfirmed, reader->opened & OPENING, memory_order_acquire);
    int64_t now = mp_clock_ns();
    if (!is_same(descriptor_of(reader), &reader->statm)) {
        return false;
    }
    atomic_store_explicit(&reader->verified_ns, now, memory_order_relaxed);
    highest &= ~OPENING;
    *confirmed = highest > *confirmed ? highest : *confirmed;
    return true;
}

/* After a pread that has failed: makes it anew if it was interrupted, which is no
 * reason to go on for ever. Returns as pread does. */
static MP_COLD ssize_t
read_again(int fd, void *text, size_t size, off_t at)
{
    ssize_t length = -1;
    for (int i = 0; length < 0 && errno == EINTR && i < MP_MOST_INTERRUPTIONS; i++) {
        length = pread(fd, text, size, at);
    }
    return length;
}

/* Reads RSS and, if `shared` isn't NULL, its shared part from an open statm, in pages.
 * Returns 0 or an errno. */
static inline int
read_pages(int fd, uint64_t *pages, uint64_t *shared)
{
    char text[STATM_SIZE];
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    if (length < 0) {
        length = read_again(fd, text, sizeof text - 1, 0);
    }
    if (length < 0) {
        return failure();
    }
    text[length] = '\0';
    if (shared == NULL) {
        return mp_statm_parse(text, (size_t)length, pages);
    }
    return mp_statm_parse_shared(text, (size_t)length, pages, shared);
}

/* Reads from the open file and notes what it read. Returns as mp_rss_read does. */
static inline int
read_file(struct mp_rss_reader *reader, uint64_t file, uint64_t *bytes,
          uint64_t *shared)
{
    uint64_t pages = 0; /* for gcc, which takes it for uninitialized */
    int error = read_pages(descriptor_in(file), &pages, shared);
    if (error != 0) {
        return error;
    }
    *bytes = pages * reader->page_size;
    if (shared != NULL && *shared != MP_RSS_UNKNOWN) {
        *shared *= reader->page_size;
    }
    if (*bytes > atomic_load_explicit(&reader->unconfirmed, memory_order_relaxed)) {
        return note(reader, file, *bytes);
    }
    return 0;
}

int
mp_rss_read(struct mp_rss_reader *reader, uint64_t *bytes, uint64_t *shared,
            int64_t *ns)
{
    *ns = mp_clock_ns();
    int64_t verified_ns =
        atomic_load_explicit(&reader->verified_ns, memory_order_relaxed);
    /* Unsigned, so that it is also time if the clock is refused or went back. */
    if ((uint64_t)*ns - (uint64_t)verified_ns >= MP_VERIFY_EVERY_NS) {
        return MP_RSS_UNVERIFIED;
    }
    uint64_t file = atomic_load_explicit(&reader->file, memory_order_acquire);
    return read_file(reader, file, bytes, shared);
}

/* The reading when anything is out of the ordinary: it is time to look at the file, it
 * isn't open, or it couldn't be read. Looked at first: a pread would take a packet from
 * a stranger's network tunnel, or wait for one for ever. */
MP_COLD int
mp_rss_read_verified(struct mp_rss_reader *reader, uint64_t *bytes, uint64_t *shared,
                     uint64_t *confirmed)
{
    const char *path = mp_rss_source;
    int error = 0;
    *confirmed = 0;
    mp_lock_acquire(&reader->lock);
    /* Another thread may close the file between the two steps; the file may turn out to
     * be of a process whose main thread, or of a thread that has ended. */
    for (int attempts = 3; attempts > 0; attempts--) {
        error = look(reader, confirmed) ? 0 : open_statm(reader, path);
        if (error != 0) {
            continue;
        }
        uint64_t file = atomic_load_explicit(&reader->file, memory_order_relaxed);
        error = read_file(reader, file, bytes, shared);
        if (error == 0) {
            break;
        }
        if (error == ENODATA || error == ESRCH) {
            close_ours(descriptor_in(file), &reader->statm);
            atomic_store_explicit(&reader->file, 0, memory_order_relaxed);
            path = error == ENODATA ? thread_statm : mp_rss_source;
        }
    }
    mp_lock_release(&reader->lock);
    return error;
}

uint64_t
mp_rss_confirm(struct mp_rss_reader *reader)
{
    uint64_t confirmed = 0;
    if (atomic_load_explicit(&reader->unconfirmed, memory_order_relaxed) <= OPENING) {
        return 0;
    }
    mp_lock_acquire(&reader->lock);
    (void)look(reader, &confirmed);
    mp_lock_release(&reader->lock);
    return confirmed;
}

/* ru_maxrss in bytes, 0 if that is refused. */
static uint64_t
read_maxrss(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return 0;
    }
    return (uint64_t)usage.ru_maxrss * 1024;
}

static void
open_reader(struct mp_rss_reader *reader)
{
    /* The first reading makes the kernel allocate the file's buffer. */
    uint64_t bytes, confirmed;
    (void)mp_rss_read_verified(reader, &bytes, NULL, &confirmed);
}

void
mp_rss_open(struct mp_rss_reader *reader)
{
    uint64_t maxrss = read_maxrss();
    reader->foreign_maxrss = maxrss != 0 ? maxrss : UINT64_MAX;
    open_reader(reader);
    uint64_t mark; /* mostly ru_maxrss is found to be its own */
    (void)mp_rss_read_mark(reader, &mark);
}

void
mp_rss_open_in_child(struct mp_rss_reader *reader, bool alone)
{
    if (alone) {
        close_ours(descriptor_of(reader), &reader->statm);
    }
    struct mp_rss_identity proc = reader->proc;
    int folder = reader->folder;
    memset(reader, 0, sizeof *reader);
    reader->proc = proc;
    reader->folder = folder;
    open_reader(reader);
}

void
mp_rss_close(struct mp_rss_reader *reader)
{
    mp_lock_acquire(&reader->lock);
    close_ours(descriptor_of(reader), &reader->statm);
    close_ours(reader->folder - 1, &reader->proc);
    atomic_store_explicit(&reader->file, 0, memory_order_relaxed);
    reader->folder = 0;
    mp_lock_release(&reader->lock);
}

/* Reads the peak from an open status, in pieces: nothing is allocated, which would give
 * a thread a heap of its own. Returns 0, ENODATA if there is none, or an errno. */
static int
find_peak(int fd, uint64_t *bytes)
{
    char text[MP_STATUS_PIECE];
    size_t kept = 0;
    off_t at = 0;
    bool inside = false; /* of a line whose beginning didn't fit, that of the groups */
    for (;;) {
        ssize_t length = pread(fd, text + kept, sizeof text - kept, at);
        if (length < 0) {
            length = read_again(fd, text + kept, sizeof text - kept, at);
        }
        if (length <= 0) {
            return length < 0 ? failure() : ENODATA;
        }
        at += length;
        if (at > LONGEST_STATUS) {
            return EBADMSG;
        }
        char *line = text;
        char *end = text + kept + length;
        char *newline;
        while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
            size_t size = (size_t)(newline + 1 - line);
            int error = inside ? ENODATA : mp_status_parse_peak(line, size, bytes);
            if (error != ENODATA) {
                return error;
            }
            inside = false;
            line = newline + 1;
        }
        kept = (size_t)(end - line);
        if (kept == sizeof text) {
            inside = true;
            kept = 0;
        }
        memmove(text, line, kept);
    }
}

/* Reads the peak from one file. Returns as find_peak does. */
static int
read_peak(struct mp_rss_reader *reader, const char *path, uint64_t *bytes)
{
    mp_lock_acquire(&reader->lock);
    int fd = open_proc(reader, path);
    int error = fd < 0 ? failure() : 0;
    mp_lock_release(&reader->lock);
    if (error == 0) {
        error = find_peak(fd, bytes);
        (void)close(fd);
    }
    return error;
}

/* Is this ru_maxrss the process's own? It begins with the peak of the program that the
 * process ran before exec, or of the parent if that used vfork (fs/exec.c), and is
 * never below that, though the mark may be reset: so what is above it at first, or not
 * below what was its own once, is its own. */
static bool
is_own_maxrss(struct mp_rss_reader *reader, uint64_t maxrss)
{
    uint64_t own = atomic_load_explicit(&reader->own_maxrss, memory_order_relaxed);
    return maxrss > reader->foreign_maxrss || (own != 0 && maxrss >= own);
}

int
mp_rss_read_peak(struct mp_rss_reader *reader, uint64_t *bytes)
{
    int error = read_peak(reader, mp_rss_peak_source, bytes);
    if (error == ENODATA) {
        error = read_peak(reader, thread_status, bytes);
    }
    if (error != 0) { /* it can't be opened: no number is left, or no /proc */
        *bytes = read_maxrss();
        error = is_own_maxrss(reader, *bytes) ? 0 : error;
    }
    return error;
}

/* getrusage costs 0.65 of a reading, the file 7. */
int
mp_rss_read_mark(struct mp_rss_reader *reader, uint64_t *bytes)
{
    uint64_t maxrss = read_maxrss();
    if (is_own_maxrss(reader, maxrss)) {
        *bytes = maxrss;
        return 0;
    }
    int error = mp_rss_read_peak(reader, bytes);
    if (error == 0 && maxrss <= *bytes) {
        atomic_store_explicit(&reader->own_maxrss, maxrss, memory_order_relaxed);
    }
    return error;
}

/* By "self" nothing happens, and nothing is said, once the main thread has ended. */
int
mp_rss_reset_peak(struct mp_rss_reader *reader)
{
    mp_lock_acquire(&reader->lock);
    int fd = open_proc_to(reader, mp_rss_reset_source, O_WRONLY);
    int error = fd < 0 ? failure() : 0;
    mp_lock_release(&reader->lock);
    if (error == 0) {
        error = write(fd, "5", 1) == 1 ? 0 : failure();
        (void)close(fd);
    }
    return error;
}

/* Linux 5.9; the number is the same on all architectures. */
#ifndef SYS_close_range
#    define SYS_close_range 436
#endif
#define CLOSE_RANGE_UNSHARE_FLAG 2U

/* Closes all descriptors but two, or one if they are the same, or none if they are -1,
 * in a table that becomes the calling thread's own. Returns 0, or an errno: before
 * Linux 5.9 or with a seccomp filter the table stays shared, and all open. */
static int
leave_table(int low, int high)
{
    unsigned after_low = (unsigned)(low + 1), after_high = (unsigned)(high + 1);
    if (syscall(SYS_close_range, after_high, ~0U, CLOSE_RANGE_UNSHARE_FLAG) != 0) {
        return failure();
    }
    if (after_low < (unsigned)high) {
        (void)syscall(SYS_close_range, after_low, (unsigned)high - 1, 0);
    }
    if (low > 0) {
        (void)syscall(SYS_close_range, 0U, (unsigned)low - 1, 0);
    }
    return 0;
}

/* What a descriptor is in a thread's own table, or its double where the table is
 * shared; -1 if it isn't, or is no longer, the file that it is to be. */
static int
taken_along(int fd, const struct mp_rss_identity *identity, bool shared)
{
    if (fd >= 0 && shared) {
        fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    }
    if (fd >= 0 && !is_same(fd, identity)) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

bool
mp_rss_take_along(struct mp_rss_reader *own, struct mp_rss_reader *reader)
{
    mp_lock_acquire(&reader->lock);
    int statm = descriptor_of(reader);
    int folder = reader->folder - 1;
    *own = (struct mp_rss_reader){
        .page_size = reader->page_size,
        .opened = 1,
        .statm = reader->statm,
        .proc = reader->proc,
        .foreign_maxrss = UINT64_MAX, /* it reads no marks */
    };
    mp_lock_release(&reader->lock);
    bool shared = leave_table(statm < folder ? statm : folder,
                              statm < folder ? folder : statm) != 0;
    statm = taken_along(statm, &own->statm, shared);
    own->folder = taken_along(folder, &own->proc, shared) + 1;
    atomic_store(&own->unconfirmed, own->opened & OPENING);
    atomic_store(&own->file, own->opened << 32 | (uint32_t)(statm + 1));
    return !shared;
}
