/* The readings: numbers of this process from the operating system. One file per system
 * implements this; extension.c picks it. */
#ifndef MP_RSS_H
#define MP_RSS_H

#include "os.h"

#include <stdatomic.h>
#include <stdint.h>

/* The open file that rss_linux.c reads; it stays all zeros on the other systems, which
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
