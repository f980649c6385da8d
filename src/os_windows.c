#include "os.h"

#include <string.h>
#include <windows.h>

_Static_assert(sizeof(mp_lock) == sizeof(SRWLOCK), "mp_lock is an SRWLOCK");

void
mp_lock_acquire(mp_lock *lock)
{
    AcquireSRWLockExclusive((SRWLOCK *)lock);
}

void
mp_lock_release(mp_lock *lock)
{
    ReleaseSRWLockExclusive((SRWLOCK *)lock);
}

void
mp_yield(void)
{
    (void)SwitchToThread();
}

/* The clock of time.monotonic() since Python 3.13; before, it was GetTickCount64(),
 * whose ticks of 16 ms are too coarse. Whole seconds apart: ticks * 10**9 would
 * overflow. */
int64_t
mp_clock_ns(void)
{
    LARGE_INTEGER frequency, now;
    (void)QueryPerformanceFrequency(&frequency);
    (void)QueryPerformanceCounter(&now);
    int64_t seconds = now.QuadPart / frequency.QuadPart;
    int64_t rest = now.QuadPart % frequency.QuadPart;
    return seconds * 1000000000 + rest * 1000000000 / frequency.QuadPart;
}

void *
mp_state_map(size_t bytes, bool *wiped)
{
    *wiped = true; /* there is no fork */
    return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

uint64_t
mp_process_id(void)
{
    return GetCurrentProcessId();
}

void *
mp_pages_map(size_t bytes)
{
    void *pages = VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (pages != NULL) {
        memset(pages, 0, bytes);
    }
    return pages;
}

void
mp_pages_unmap(void *pages, size_t bytes)
{
    (void)bytes; /* MEM_RELEASE takes the whole mapping, and no size */
    (void)VirtualFree(pages, 0, MEM_RELEASE);
}
