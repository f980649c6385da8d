#ifndef _GNU_SOURCE
#    define _GNU_SOURCE 1 /* process_vm_readv */
#endif
#include "breakdown.h"
#include "lines.h"
#include "smaps.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/uio.h>
#include <unistd.h>

/* The thread's: those of the process say nothing once its main thread has ended. */
const char mp_mappings_source[] = "/proc/thread-self/smaps";

/* The kernel hands out a page at a time anyway (fs/seq_file.c). On the stack, because
 * another thread may fork meanwhile: there is no lock that a child could find held. */
#define PIECE 4096

/* glibc's malloc/arena.c. The heaps of all arenas but the main one begin at multiples
 * of HEAP_MAX_SIZE, with this. */
#define HEAP_MAX (sizeof(void *) == 8 ? UINT64_C(64) << 20 : UINT64_C(1) << 20)
#define LONGEST_HEAP_INFO 128
struct heap_info {
    uintptr_t arena;
    uintptr_t previous;
    size_t size;     /* in use by the arena */
    size_t writable; /* of HEAP_MAX */
};

/* The guard below a thread's stack is a page, where nobody asks for more; the largest
 * pages have 64 KiB. What is reserved below other memory is larger. Since glibc 2.42 it
 * is in the stack's own mapping, which kernels from 6.18 on say of it. */
#define LARGEST_GUARD 65536

struct reading {
    struct mp_mappings *sums;
    bool heaps;
    uint64_t page_size;
    uint64_t heap_end;  /* of the heap that was found last */
    uint64_t guard_end; /* of the last mapping, if it can be a guard */
};

static uint64_t
first_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* /proc/self/mem can't be opened by a process that isn't dumpable, such as one after
 * setuid(). */
static bool
read_heap_info(uint64_t at, struct heap_info *info)
{
    struct iovec to = {info, sizeof *info};
    struct iovec from = {(void *)(uintptr_t)at, sizeof *info};
    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)sizeof *info;
}

/* Is it a heap of malloc's that begins there? Areas of jemalloc, mimalloc and others
 * may begin at the same boundaries. An arena's own structure lies in its first heap,
 * behind the heap's. */
static bool
is_heap(const struct reading *reading, uint64_t at, struct heap_info *info)
{
    struct heap_info first;
    if (!read_heap_info(at, info)) {
        return false;
    }
    uint64_t first_at = info->arena & ~(HEAP_MAX - 1);
    uint64_t offset = info->arena - first_at;
    return offset >= sizeof *info && offset <= LONGEST_HEAP_INFO && offset % 16 == 0 &&
           info->size > 0 && info->size % reading->page_size == 0 &&
           info->size <= info->writable && info->writable % reading->page_size == 0 &&
           info->writable <= HEAP_MAX && info->previous % HEAP_MAX == 0 &&
           (info->previous == 0) == (at == first_at) &&
           read_heap_info(first_at, &first) && first.arena == info->arena &&
           first.previous == 0;
}

/* How many bytes of the mapping belong to heaps: to those that begin in it, and to the
 * last one before it. Adjacent heaps may be one mapping, and a heap may be several. */
static uint64_t
find_heaps(struct reading *reading, const struct mp_mapping *mapping)
{
    uint64_t found = 0;
    if (reading->heap_end > mapping->start) {
        found = first_of(reading->heap_end, mapping->end) - mapping->start;
    }
    uint64_t at = (mapping->start + HEAP_MAX - 1) & ~(HEAP_MAX - 1);
    struct heap_info info;
    for (; at >= mapping->start && at < mapping->end; at += HEAP_MAX) {
        if (is_heap(reading, at, &info)) {
            reading->sums->heaps_size += info.size;
            reading->heap_end = at + info.writable;
            found += first_of(reading->heap_end, mapping->end) - at;
        }
    }
    return found;
}

static void
add_mapping(void *context, const struct mp_mapping *mapping)
{
    struct reading *reading = context;
    struct mp_mappings *sums = reading->sums;
    uint64_t size = mapping->end - mapping->start;
    uint64_t anonymous = mapping->anonymous - mapping->lazy_free;
    uint64_t mapped = mapping->rss - mapping->anonymous;
    bool guarded = reading->guard_end == mapping->start || mapping->guard;
    sums->rss += mapping->rss;
    sums->pss += mapping->pss;
    sums->uss += mapping->uss;
    sums->swap += mapping->swap;
    sums->lazy_free += mapping->lazy_free;
    if (mapping->name == MP_MAPPING_SHARED) {
        sums->shared += mapped;
    } else if (mapping->inode != 0) {
        sums->files += mapped;
    } else {
        sums->rest += mapped;
    }
    bool is_guard =
        !mapping->accessible && mapping->inode == 0 && size <= LARGEST_GUARD;
    reading->guard_end = is_guard ? mapping->end : 0;

    if (mapping->name == MP_MAPPING_STACK) {
        sums->stacks += anonymous;
    } else if (mapping->name == MP_MAPPING_HEAP && reading->heaps) {
        sums->heaps += anonymous;
        sums->heaps_size += size;
    } else if (mapping->inode != 0) {
        sums->rest += anonymous;
    } else if (mapping->writable) {
        uint64_t found = reading->heaps ? find_heaps(reading, mapping) : 0;
        uint64_t in_heaps = found == size ? anonymous : first_of(anonymous, found);
        sums->heaps += in_heaps;
        *(guarded && found == 0 ? &sums->stacks : &sums->anonymous) +=
            anonymous - in_heaps;
    } else {
        sums->anonymous += anonymous;
    }
}

static void
add_smaps_line(void *context, const char *line, size_t length)
{
    mp_smaps_add(context, line, length);
}

int
mp_mappings_read(bool heaps, struct mp_mappings *mappings)
{
    struct reading reading = {
        .sums = mappings,
        .heaps = heaps,
        .page_size = (uint64_t)sysconf(_SC_PAGESIZE),
    };
    struct mp_smaps smaps = {.take = add_mapping, .context = &reading};
    struct mp_lines lines = {.take = add_smaps_line, .context = &smaps};
    *mappings = (struct mp_mappings){0};
    int fd = open(mp_mappings_source, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    char piece[PIECE];
    ssize_t length;
    off_t offset = 0;
    int interruptions = 0;
    int ends = 0; /* in a row: half of the mappings would look like all of them */
    do {
        length = read(fd, piece, sizeof piece);
        ends = length == 0 ? ends + 1 : 0;
        if (length > 0) {
            mp_lines_add(&lines, piece, (size_t)length);
            offset += length;
        }
        /* What was interrupted may have read a piece none the less. */
    } while (length > 0 || ends == 1 ||
             (length < 0 && errno == EINTR && ++interruptions < MP_MOST_INTERRUPTIONS &&
              lseek(fd, offset, SEEK_SET) == offset));
    int error = length < 0 ? errno : mp_smaps_end(&smaps);
    (void)close(fd);
    if (error == 0 && mappings->rss == 0) {
        error = ENODATA;
    }
    return error;
}
