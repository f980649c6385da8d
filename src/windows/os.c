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

void
mp_pages_unmap(void *pages, size_t bytes)
{
    (void)bytes; /* MEM_RELEASE takes the whole mapping, and no size */
    (void)VirtualFree(pages, 0, MEM_RELEASE);
}

static DWORD WINAPI
thread_main(void *argument)
{
    struct mp_thread *thread = argument;
    thread->run(thread->argument);
    return 0;
}

/* Of ours, of address space alone; 1 MiB by default. */
#define STACK_BYTES 262144

#define HIGH_RESOLUTION_TIMER 2 /* CREATE_WAITABLE_TIMER_HIGH_RESOLUTION */

/* The event and the timer stay. */
int
mp_thread_start(struct mp_thread *thread, void (*run)(void *), void *argument)
{
    if (!mp_thread_join(thread)) {
        return ERROR_BUSY;
    }
    if (thread->called == NULL) {
        thread->called = CreateEventW(NULL, FALSE, FALSE, NULL);
        thread->timer =
            CreateWaitableTimerExW(NULL, NULL, HIGH_RESOLUTION_TIMER, TIMER_ALL_ACCESS);
    }
    if (thread->called == NULL) {
        return (int)GetLastError();
    }
    thread->run = run;
    thread->argument = argument;
    thread->handle = CreateThread(NULL, STACK_BYTES, thread_main, thread,
                                  STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    return thread->handle != NULL ? 0 : (int)GetLastError();
}

void
mp_thread_call(struct mp_thread *thread)
{
    atomic_fetch_add(&thread->calls, 1);
    if (thread->called != NULL) {
        (void)SetEvent(thread->called);
    }
}

uint32_t
mp_thread_calls(struct mp_thread *thread)
{
    return atomic_load(&thread->calls);
}

/* The longest single wait. */
#define DAY_NS (INT64_C(24) * 3600 * 1000000000)

/* A wait with a time limit ends with the system's tick, 16 ms; a timer doesn't. */
void
mp_thread_wait(struct mp_thread *thread, uint32_t calls, int64_t until_ns)
{
    for (;;) {
        int64_t rest_ns = until_ns - mp_clock_ns();
        if (rest_ns <= 0 || atomic_load(&thread->calls) != calls) {
            return;
        }
        if (rest_ns > DAY_NS) {
            rest_ns = DAY_NS;
        }
        LARGE_INTEGER due = {.QuadPart = -((rest_ns + 99) / 100)};
        DWORD result;
        if (thread->timer != NULL &&
            SetWaitableTimer(thread->timer, &due, 0, NULL, NULL, FALSE)) {
            HANDLE handles[] = {thread->called, thread->timer};
            result = WaitForMultipleObjects(2, handles, FALSE, INFINITE);
        } else {
            result = WaitForSingleObject(thread->called,
                                         (DWORD)((rest_ns + 999999) / 1000000));
        }
        if (result == WAIT_FAILED) {
            Sleep(1);
        }
    }
}

bool
mp_thread_join(struct mp_thread *thread)
{
    if (thread->handle == NULL) {
        return true;
    }
    if (WaitForSingleObject(thread->handle, MP_PATIENCE_NS / 1000000) == WAIT_TIMEOUT) {
        return false;
    }
    (void)CloseHandle(thread->handle);
    thread->handle = NULL;
    return true;
}

/* Nobody asks where there is no fork. */
bool
mp_thread_is_main(void)
{
    return false;
}
