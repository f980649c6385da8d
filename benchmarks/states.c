/* Readings while RSS stands still, moves, and rises, and the least that one can cost in
 * the same loop. Each call is timed by itself: what changes RSS is not part of it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum state {
    STILL,
    MOVING, /* a page is touched before each call, below an earlier highest RSS */
    RISING, /* the same, and each makes a new highest RSS */
};

enum timed {
    PREAD, /* one pread of an open statm */
    LEAST, /* the same, the clock, and a call from C of a Python function of nothing */
    CALL,  /* a call from C of a Python function */
};

#define MOST_CALLS 10000
#define PAGE 4096
#define ABOVE ((size_t)512 << 20) /* what RSS was higher by before, while it moves */

/* Python's, in whose process this is. */
void *PyObject_CallNoArgs(void *function);
void Py_DecRef(void *object);

static int64_t
clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static char *
map(size_t bytes)
{
    char *pages =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        return NULL;
    }
    (void)madvise(pages, bytes, MADV_NOHUGEPAGE); /* one page at a time */
    return pages;
}

/* Makes RSS what it is to be before the calls. Returns 0, or -1. */
int
begin_state(enum state state)
{
    if (state != MOVING) {
        return 0;
    }
    char *pages = map(ABOVE);
    if (pages == NULL) {
        return -1;
    }
    memset(pages, 1, ABOVE);
    return munmap(pages, ABOVE);
}

/* Returns the nanoseconds that `count` calls take, -1 if one fails. */
int64_t
state_ns(enum state state, enum timed timed, void *function, long count)
{
    static int fd = -1;
    char text[256];
    if (fd < 0) {
        fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    }
    size_t bytes = (size_t)count * PAGE;
    char *pages = count > MOST_CALLS ? NULL : map(bytes);
    if (pages == NULL) {
        return -1;
    }
    int64_t ns = 0;
    for (long i = 0; i < count; i++) {
        if (state != STILL) {
            *(volatile char *)(pages + i * PAGE) = 1;
        }
        int64_t start_ns = clock_ns();
        if (timed != CALL && pread(fd, text, sizeof text, 0) <= 0) {
            return -1;
        }
        if (timed == LEAST) {
            (void)clock_ns();
        }
        if (timed != PREAD) {
            void *result = PyObject_CallNoArgs(function);
            if (result == NULL) {
                return -1;
            }
            Py_DecRef(result);
        }
        ns += clock_ns() - start_ns;
    }
    if (state != RISING) {
        (void)munmap(pages, bytes);
    }
    return ns;
}
