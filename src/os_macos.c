#include "os.h"

#include <mach/vm_inherit.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void
mp_lock_acquire(mp_lock *lock)
{
    os_unfair_lock_lock(lock);
}

void
mp_lock_release(mp_lock *lock)
{
    os_unfair_lock_unlock(lock);
}

void
mp_yield(void)
{
    (void)sched_yield();
}

/* Python reads mach_absolute_time(), and this is that in nanoseconds. */
int64_t
mp_clock_ns(void)
{
    return (int64_t)clock_gettime_nsec_np(CLOCK_UPTIME_RAW);
}

static void *
map(size_t bytes)
{
    void *pages =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

/* There is no inheritance as zeros here. */
void *
mp_state_map(size_t bytes, bool *wiped)
{
    *wiped = false;
    return map(bytes);
}

uint64_t
mp_process_id(void)
{
    return (uint64_t)getpid();
}

void *
mp_pages_map(size_t bytes)
{
    void *pages = map(bytes);
    if (pages != NULL) {
        memset(pages, 0, bytes);
        (void)minherit(pages, bytes, VM_INHERIT_NONE);
    }
    return pages;
}

void
mp_pages_unmap(void *pages, size_t bytes)
{
    (void)munmap(pages, bytes);
}
