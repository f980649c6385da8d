#include "attributes.h"
#include "statm.h"
#include "status.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

const char mp_rss_source[] = "/proc/self/statm";
const char mp_rss_peak_source[] = "/proc/self/status";

/* From <linux/magic.h>, which musl doesn't come with. */
#define PROC_SUPER_MAGIC 0x9fa0

/* The thread that calls; "self" is the process, whose files say nothing about memory
 * once its main thread has ended (its mm is gone, fs/proc/array.c), though others live
 * on. */
static const char thread_statm[] = "/proc/thread-self/statm";
static const char thread_status[] = "/proc/thread-self/status";

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
#define VERIFY_EVERY_NS 1000000

/* Seven numbers of at most 20 digits need 147 bytes; what is longer isn't a statm. */
#define STATM_SIZE 256

/* Opens a file of the kernel's. Returns a descriptor, or -1 with errno set. */
static int
open_proc(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    int error = 0;
    struct statfs system;
    if (fstatfs(fd, &system) != 0) {
        error = errno;
    } else if (system.f_type != PROC_SUPER_MAGIC) {
        error = EBADMSG; /* something is mounted over it */
    } else if (fd <= STDERR_FILENO) {
        /* A program that has closed 0 to 2 is about to open its own there. */
        int higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        error = higher < 0 ? errno : 0;
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

/* Reads RSS in pages from an open statm. Returns 0 or an errno. */
static int
read_pages(int fd, uint64_t *pages)
{
    char text[STATM_SIZE];
    ssize_t length;
    do {
        length = pread(fd, text, sizeof text - 1, 0);
    } while (length < 0 && errno == EINTR);
    if (length < 0) {
        return errno;
    }
    text[length] = '\0';
    return mp_statm_parse(text, (size_t)length, pages);
}

/* Is the descriptor's number still that of the file that we opened? Another process's
 * statm has the same st_dev, so both are compared. With the lock. */
static bool
is_ours(const struct mp_rss_reader *reader)
{
    int fd = atomic_load_explicit(&reader->file, memory_order_relaxed) - 1;
    struct stat now;
    return fd >= 0 && fstat(fd, &now) == 0 && now.st_dev == reader->device &&
           now.st_ino == reader->inode;
}

/* Opens statm; with the lock. The number of the file that was open before is forgotten,
 * not closed: by now it is somebody else's. Returns 0 or an errno. */
static int
open_statm(struct mp_rss_reader *reader)
{
    atomic_store_explicit(&reader->file, 0, memory_order_relaxed);
    int fd = open_proc(mp_rss_source);
    if (fd < 0) {
        return errno;
    }
    struct stat opened;
    if (fstat(fd, &opened) != 0) {
        int error = errno;
        (void)close(fd);
        return error;
    }
    reader->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    reader->device = opened.st_dev;
    reader->inode = opened.st_ino;
    atomic_store_explicit(&reader->file, fd + 1, memory_order_release);
    return 0;
}

/* Reads pages from the file of the thread that calls, which other threads can't share.
 * Returns 0 or an errno. */
static int
read_pages_of_thread(uint64_t *pages)
{
    int fd = open_proc(thread_statm);
    if (fd < 0) {
        return errno;
    }
    int error = read_pages(fd, pages);
    (void)close(fd);
    return error;
}

/* The reading when anything is out of the ordinary: it is time to verify the file, it
 * isn't open, or it couldn't be read. Verified first: a pread would take a packet from
 * a stranger's network tunnel, or wait for one for ever. Returns 0 or an errno. */
static MP_COLD int
read_pages_verified(struct mp_rss_reader *reader, uint64_t *pages)
{
    int error;
    int attempts = 2; /* another thread may close the file between the two steps */
    mp_lock_acquire(&reader->lock);
    do {
        int64_t now = mp_clock_ns();
        error = is_ours(reader) ? 0 : open_statm(reader);
        if (error == 0) {
            atomic_store_explicit(&reader->verified_ns, now, memory_order_relaxed);
            int fd = atomic_load_explicit(&reader->file, memory_order_relaxed) - 1;
            error = read_pages(fd, pages);
        }
        attempts--;
    } while (error != 0 && error != ENODATA && attempts > 0);
    if (error == ENODATA) {
        error = read_pages_of_thread(pages);
    }
    mp_lock_release(&reader->lock);
    return error;
}

void
mp_rss_open(struct mp_rss_reader *reader)
{
    uint64_t pages;
    /* The first reading makes the kernel allocate the file's buffer. */
    (void)read_pages_verified(reader, &pages);
}

void
mp_rss_close(struct mp_rss_reader *reader)
{
    mp_lock_acquire(&reader->lock);
    if (is_ours(reader)) {
        (void)close(atomic_load(&reader->file) - 1);
    }
    atomic_store(&reader->file, 0);
    mp_lock_release(&reader->lock);
}

int
mp_rss_read(struct mp_rss_reader *reader, uint64_t *bytes, int64_t *ns)
{
    uint64_t pages = 0; /* for gcc, which takes it for uninitialized */
    int error = EBADF;
    *ns = mp_clock_ns();
    if (*ns - atomic_load_explicit(&reader->verified_ns, memory_order_relaxed) <
        VERIFY_EVERY_NS) {
        int fd = atomic_load_explicit(&reader->file, memory_order_acquire) - 1;
        error = read_pages(fd, &pages);
    }
    if (error != 0) {
        error = read_pages_verified(reader, &pages);
    }
    if (error == 0) {
        *bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    return error;
}

/* Reads again rather than to look whose file it is now: by now another thread may have
 * opened the right one. */
MP_COLD int
mp_rss_confirm(struct mp_rss_reader *reader, uint64_t *bytes)
{
    uint64_t pages;
    int error = read_pages_verified(reader, &pages);
    if (error == 0) {
        *bytes = pages * reader->page_size;
    }
    return error;
}

/* Reads the peak from one file. Returns 0, ENODATA if there is none, or an errno. */
static int
read_peak(const char *path, uint64_t *bytes)
{
    int fd = open_proc(path);
    if (fd < 0) {
        return errno;
    }
    FILE *file = fdopen(fd, "r");
    if (file == NULL) {
        int error = errno;
        (void)close(fd);
        return error;
    }
    /* The line comes after that of the groups, which may be long: fgets hands that over
     * in pieces, none of which begins with a letter. */
    char line[256];
    int error = ENODATA;
    while (error == ENODATA && fgets(line, sizeof line, file) != NULL) {
        error = mp_status_parse_peak(line, strlen(line), bytes);
    }
    if (error == ENODATA && ferror(file)) {
        error = errno;
    }
    (void)fclose(file);
    return error;
}

int
mp_rss_read_peak(uint64_t *bytes)
{
    int error = read_peak(mp_rss_peak_source, bytes);
    return error == ENODATA ? read_peak(thread_status, bytes) : error;
}

/* getrusage costs 0.65 of a reading, the file 7. But its ru_maxrss begins with the peak
 * of the program that this process ran before exec, or of the parent if that used vfork
 * (fs/exec.c): only once VmHWM has come up to it does it say something of this one. */
int
mp_rss_read_mark(struct mp_rss_reader *reader, uint64_t *bytes)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    uint64_t maxrss = (uint64_t)usage.ru_maxrss * 1024;
    if (!atomic_load_explicit(&reader->maxrss_is_own, memory_order_relaxed)) {
        uint64_t peak;
        int error = mp_rss_read_peak(&peak);
        if (error != 0) {
            return error;
        }
        if (maxrss > peak) {
            *bytes = peak;
            return 0;
        }
        atomic_store_explicit(&reader->maxrss_is_own, true, memory_order_relaxed);
    }
    *bytes = maxrss;
    return 0;
}
