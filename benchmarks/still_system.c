/* The system as callgrind is to see it: preloaded, it gives every process the same
 * statm and a clock that stands still. So a count of instructions depends neither on
 * how many digits RSS has just now, nor on whether memprobe's verification of its file,
 * once a millisecond, falls into it. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <valgrind/callgrind.h>

/* RSS is 3 333 pages, or 3 334 at every second reading if this is 1. */
int rss_changes;

ssize_t
pread(int fd, void *to, size_t size, off_t offset)
{
    static char text[] = "55555 3333 1234 700 0 22222 0\n";
    (void)fd;
    (void)offset;
    text[9] ^= rss_changes ? '3' ^ '4' : 0;
    size_t length = sizeof text - 1;
    memcpy(to, text, size < length ? size : length);
    return (ssize_t)(size < length ? size : length);
}

ssize_t
pread64(int fd, void *to, size_t size, off_t offset)
{
    return pread(fd, to, size, offset);
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    *now = (struct timespec){.tv_sec = 1000000};
    return 0;
}

/* Python's, if the process that this is preloaded into is Python. */
__attribute__((weak)) void *PyObject_CallNoArgs(void *function);
__attribute__((weak)) void Py_DecRef(void *object);

/* Calls a Python function; callgrind writes what just this took, under that name.
 * Returns 0, or -1 if the function raised. */
int
counted_calls(const char *name, void *function, long count)
{
    CALLGRIND_ZERO_STATS;
    for (long i = 0; i < count; i++) {
        void *result = PyObject_CallNoArgs(function);
        if (result == NULL) {
            return -1;
        }
        Py_DecRef(result);
    }
    CALLGRIND_DUMP_STATS_AT(name);
    return 0;
}
