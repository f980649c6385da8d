/* The system as callgrind is to see it: preloaded, it gives every process the same
 * statm and a clock that stands still. So a count of instructions depends neither on
 * how many digits RSS has just now, nor on whether memprobe's verification of its file,
 * once a millisecond, falls into it. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <valgrind/callgrind.h>

/* How RSS is from one reading to the next. */
enum state {
    STILL,  /* 33 333 pages */
    MOVING, /* 33 331 and 33 330 in turn, which were exceeded before */
    RISING, /* a page more each time */
};
enum state rss_state;

ssize_t
pread(int fd, void *to, size_t size, off_t offset)
{
    static char text[] = "55555 33333 1234 700 0 22222 0\n";
    static unsigned highest = 33333;
    (void)fd;
    if (offset != 0) { /* at the end of what is no statm */
        return 0;
    }
    if (rss_state == MOVING) {
        text[10] = text[10] == '1' ? '0' : '1';
    } else if (rss_state == RISING) {
        highest++;
        text[6] = (char)('0' + highest / 10000 % 10);
        text[7] = (char)('0' + highest / 1000 % 10);
        text[8] = (char)('0' + highest / 100 % 10);
        text[9] = (char)('0' + highest / 10 % 10);
        text[10] = (char)('0' + highest % 10);
    }
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

/* Calls a function of the C API; callgrind writes what just this took, under that name.
 * Returns 0, or what the function returned. */
int
counted_readings(const char *name, int (*reading)(uint64_t *), long count)
{
    uint64_t bytes;
    CALLGRIND_ZERO_STATS;
    for (long i = 0; i < count; i++) {
        int error = reading(&bytes);
        if (error != 0) {
            return error;
        }
    }
    CALLGRIND_DUMP_STATS_AT(name);
    return 0;
}

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
