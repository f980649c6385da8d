#include "system.h"

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
    if (!QueryPerformanceFrequency(&frequency) || !QueryPerformanceCounter(&now)) {
        return -(int64_t)GetLastError();
    }
    int64_t seconds = now.QuadPart / frequency.QuadPart;
    int64_t rest = now.QuadPart % frequency.QuadPart;
    return seconds * 1000000000 + rest * 1000000000 / frequency.QuadPart;
}

/* FILETIME counts 100 ns since 1601-01-01. */
int64_t
mp_wall_clock_ns(void)
{
    FILETIME now;
    GetSystemTimePreciseAsFileTime(&now);
    int64_t ticks = (int64_t)now.dwHighDateTime << 32 | now.dwLowDateTime;
    return (ticks - INT64_C(116444736000000000)) * 100;
}

void *
mp_state_map(size_t bytes)
{
    return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

/* There is no fork. */
bool
mp_state_wipe(void *state, size_t bytes)
{
    (void)state;
    (void)bytes;
    return true;
}

int
mp_fork_watch(void (*in_child)(void))
{
    (void)in_child;
    return 0;
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

/* There is no fork. */
void
mp_pages_leave_out_of_fork(void *pages, size_t bytes)
{
    (void)pages;
    (void)bytes;
}

void
mp_pages_unmap(void *pages, size_t bytes)
{
    (void)bytes; /* MEM_RELEASE takes the whole mapping, and no size */
    (void)VirtualFree(pages, 0, MEM_RELEASE);
}

struct start {
    void (*run)(void *);
    void *argument;
};

static DWORD WINAPI
thread_main(void *argument)
{
    struct start start = *(struct start *)argument;
    (void)HeapFree(GetProcessHeap(), 0, argument);
    start.run(start.argument);
    return 0;
}

static void
close_handles(struct mp_thread *thread)
{
    if (thread->stop != NULL) {
        (void)CloseHandle(thread->stop);
    }
    if (thread->timer != NULL) {
        (void)CloseHandle(thread->timer);
    }
}

#define HIGH_RESOLUTION_TIMER 2 /* CREATE_WAITABLE_TIMER_HIGH_RESOLUTION */

int
mp_thread_start(struct mp_thread *thread, void (*run)(void *), void *argument)
{
    struct start *start = HeapAlloc(GetProcessHeap(), 0, sizeof *start);
    if (start == NULL) {
        return ERROR_NOT_ENOUGH_MEMORY;
    }
    *start = (struct start){run, argument};
    thread->stop = CreateEventW(NULL, TRUE, FALSE, NULL);
    thread->timer =
        CreateWaitableTimerExW(NULL, NULL, HIGH_RESOLUTION_TIMER, TIMER_ALL_ACCESS);
    if (thread->stop != NULL) {
        thread->handle = CreateThread(NULL, 0, thread_main, start, 0, NULL);
        if (thread->handle != NULL) {
            return 0;
        }
    }
    int error = (int)GetLastError();
    close_handles(thread);
    (void)HeapFree(GetProcessHeap(), 0, start);
    return error;
}

/* The longest single wait. */
#define DAY_NS (INT64_C(24) * 3600 * 1000000000)

/* A wait with a time limit ends with the system's tick, 16 ms; a timer doesn't. */
bool
mp_thread_wait(struct mp_thread *thread, int64_t until_ns)
{
    for (;;) {
        int64_t rest_ns = until_ns - mp_clock_ns();
        if (rest_ns <= 0) {
            return WaitForSingleObject(thread->stop, 0) == WAIT_OBJECT_0;
        }
        if (rest_ns > DAY_NS) {
            rest_ns = DAY_NS;
        }
        LARGE_INTEGER due = {.QuadPart = -((rest_ns + 99) / 100)};
        DWORD result;
        if (thread->timer != NULL &&
            SetWaitableTimer(thread->timer, &due, 0, NULL, NULL, FALSE)) {
            HANDLE handles[] = {thread->stop, thread->timer};
            result = WaitForMultipleObjects(2, handles, FALSE, INFINITE);
        } else {
            result = WaitForSingleObject(thread->stop,
                                         (DWORD)((rest_ns + 999999) / 1000000));
        }
        if (result == WAIT_OBJECT_0) {
            return true;
        }
    }
}

/* The reading needs no file. */
void
mp_thread_leave_files(void)
{
}

void
mp_thread_stop(struct mp_thread *thread)
{
    (void)SetEvent(thread->stop);
    (void)WaitForSingleObject(thread->handle, INFINITE);
    (void)CloseHandle(thread->handle);
    close_handles(thread);
}
