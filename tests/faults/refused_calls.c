/* Preloaded: functions of the C library that fail as `refuse` says: with that errno,
 * and, as a failed call may, with nothing written. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* What the test sets: errnos, 0: not refused. */
struct {
    int clock;
    int getrusage;
    int sysconf;
    int madvise;
    int atfork;
    int lseek;
} refuse;

#define REAL(name)                                                                     \
    static __typeof__(name) *real;                                                     \
    if (real == NULL) {                                                                \
        *(void **)&real = dlsym(RTLD_NEXT, #name);                                     \
    }

static int
failed(int error)
{
    errno = error;
    return -1;
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
    REAL(clock_gettime)
    return refuse.clock != 0 ? failed(refuse.clock) : real(clock, now);
}

int
getrusage(__typeof__(RUSAGE_SELF) who, struct rusage *usage)
{
    REAL(getrusage)
    return refuse.getrusage != 0 ? failed(refuse.getrusage) : real(who, usage);
}

long
sysconf(int name)
{
    REAL(sysconf)
    return refuse.sysconf != 0 ? failed(refuse.sysconf) : real(name);
}

int
madvise(void *address, size_t size, int advice)
{
    REAL(madvise)
    return refuse.madvise != 0 ? failed(refuse.madvise) : real(address, size, advice);
}

off_t
lseek(int fd, off_t offset, int whence)
{
    REAL(lseek)
    return refuse.lseek != 0 ? failed(refuse.lseek) : real(fd, offset, whence);
}

#if defined(__GLIBC__) /* whose pthread_atfork is in each library, and calls this */
int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *);

int
__register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                  void *library)
{
    REAL(__register_atfork)
    return refuse.atfork != 0 ? refuse.atfork : real(prepare, parent, child, library);
}
#endif
