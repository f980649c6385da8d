/* Preloaded: pread and open that lie about the files of /proc that memprobe reads, as
 * `lie` says, and count what is asked of the others. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the test sets. `part` is of the path: "/statm", or "/task/" for that of a
 * thread. */
struct {
    char part[32];
    char text[300]; /* what pread hands over instead; "" is the end of the file */
    long length;    /* of `text`; -1: the truth */
    int read_errno; /* how pread fails; 0: it doesn't */
    int open_errno;
    int times;         /* how many more calls are lied to; -1: all */
    int told;          /* how many were */
    int foreign_reads; /* how often pread was asked for a file that isn't in /proc */
} lie = {.length = -1};

static bool
lies_about(const char *path)
{
    if (strncmp(path, "/proc/", 6) != 0 || lie.part[0] == 0 ||
        strstr(path, lie.part) == NULL || lie.times == 0) {
        return false;
    }
    /* The process's own statm isn't meant by "/statm" alone, the thread's isn't. */
    if (strcmp(lie.part, "/statm") == 0 &&
        (strstr(path, "/task/") != NULL || strstr(path, "thread-self") != NULL)) {
        return false;
    }
    return true;
}

static void
count_lie(void)
{
    lie.told++;
    lie.times -= lie.times > 0;
}

static ssize_t
pread_or_lie(int fd, void *to, size_t size, off_t offset)
{
    int error = errno;
    char link[64], path[256] = "";
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    (void)!readlink(link, path, sizeof path - 1);
    errno = error;
    lie.foreign_reads += path[0] != 0 && strncmp(path, "/proc/", 6) != 0;
    if (lies_about(path) && lie.read_errno != 0) {
        count_lie();
        errno = lie.read_errno;
        return -1;
    }
    if (lies_about(path) && lie.length >= 0) {
        count_lie();
        size_t length = (size_t)lie.length < size ? (size_t)lie.length : size;
        memcpy(to, lie.text, length);
        return (ssize_t)length;
    }
    static ssize_t (*real)(int, void *, size_t, off_t);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "pread");
    }
    return real(fd, to, size, offset);
}

ssize_t
pread(int fd, void *to, size_t size, off_t offset)
{
    return pread_or_lie(fd, to, size, offset);
}

#if defined(__GLIBC__) /* elsewhere there is one name only */
ssize_t
pread64(int fd, void *to, size_t size, off_t offset)
{
    return pread_or_lie(fd, to, size, offset);
}
#endif

/* `name` is in that folder, if it isn't a path from the root. */
static bool
refuses(int folder, const char *name)
{
    int error = errno;
    char link[64], path[512] = "";
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = name[0] == '/' ? 0 : readlink(link, path, 255);
    (void)snprintf(path + (length > 0 ? length : 0), 256, "%s%s", length > 0 ? "/" : "",
                   name);
    errno = error;
    if (!lies_about(path) || lie.open_errno == 0) {
        return false;
    }
    count_lie();
    errno = lie.open_errno;
    return true;
}

static int
open_at(int folder, const char *path, int flags, va_list more)
{
    unsigned mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, unsigned) : 0;
    if (refuses(folder, path)) {
        return -1;
    }
    static int (*real)(int, const char *, int, ...);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "openat");
    }
    return real(folder, path, flags, mode);
}

#define OPEN(name)                                                                     \
    int name(const char *path, int flags, ...)                                         \
    {                                                                                  \
        va_list more;                                                                  \
        va_start(more, flags);                                                         \
        int fd = open_at(AT_FDCWD, path, flags, more);                                 \
        va_end(more);                                                                  \
        return fd;                                                                     \
    }

OPEN(open)

#define OPENAT(name)                                                                   \
    int name(int folder, const char *path, int flags, ...)                             \
    {                                                                                  \
        va_list more;                                                                  \
        va_start(more, flags);                                                         \
        int fd = open_at(folder, path, flags, more);                                   \
        va_end(more);                                                                  \
        return fd;                                                                     \
    }

OPENAT(openat)

#if defined(__GLIBC__)
OPEN(open64)
OPENAT(openat64)
#endif

/* For a reader that goes past the C library's pread. */
long
syscall(long number, ...)
{
    long arguments[6];
    va_list more;
    va_start(more, number);
    for (int i = 0; i < 6; i++) {
        arguments[i] = va_arg(more, long);
    }
    va_end(more);
    if (number == SYS_pread64) {
        return pread_or_lie((int)arguments[0], (void *)arguments[1],
                            (size_t)arguments[2], (off_t)arguments[3]);
    }
    if (number == SYS_openat &&
        refuses((int)arguments[0], (const char *)arguments[1])) {
        return -1;
    }
    static long (*real)(long, ...);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    }
    return real(number, arguments[0], arguments[1], arguments[2], arguments[3],
                arguments[4], arguments[5]);
}
