#include "system.h"

#include <windows.h>
/* After windows.h, whose types it uses. */
#include <psapi.h>

const char mp_rss_source[] = "K32GetProcessMemoryInfo";
const char mp_rss_peak_source[] = "K32GetProcessMemoryInfo";
const char mp_rss_reset_source[] = "the high-water mark";

/* Reads both numbers. Returns 0 or a GetLastError() code. The K32 name is kernel32's
 * own: psapi.dll need not be loaded. */
static int
read_counters(PROCESS_MEMORY_COUNTERS *counters)
{
    counters->cb = sizeof *counters;
    if (!K32GetProcessMemoryInfo(GetCurrentProcess(), counters, sizeof *counters)) {
        return (int)GetLastError();
    }
    return counters->WorkingSetSize == 0 ? ERROR_INVALID_DATA : 0;
}

void
mp_rss_open(struct mp_rss_reader *reader)
{
    (void)reader;
}

void
mp_rss_open_in_child(struct mp_rss_reader *reader, bool alone)
{
    (void)alone;
    atomic_store_explicit(&reader->unconfirmed, 0, memory_order_relaxed);
}

void
mp_rss_close(struct mp_rss_reader *reader)
{
    (void)reader;
}

/* There is no file that could be a stranger's: each reading is confirmed. */
int
mp_rss_read_verified(struct mp_rss_reader *reader, uint64_t *bytes, uint64_t *shared,
                     uint64_t *confirmed)
{
    PROCESS_MEMORY_COUNTERS counters;
    int error = read_counters(&counters);
    if (error != 0) {
        return error;
    }
    *bytes = counters.WorkingSetSize;
    if (shared != NULL) {
        *shared = MP_RSS_UNKNOWN;
    }
    uint64_t highest = atomic_load_explicit(&reader->unconfirmed, memory_order_relaxed);
    while (*bytes > highest && !atomic_compare_exchange_weak_explicit(
                                   &reader->unconfirmed, &highest, *bytes,
                                   memory_order_relaxed, memory_order_relaxed)) {
    }
    *confirmed = *bytes > highest ? *bytes : highest;
    return 0;
}

int
mp_rss_read(struct mp_rss_reader *reader, uint64_t *bytes, uint64_t *shared,
            int64_t *ns)
{
    uint64_t confirmed;
    *ns = mp_clock_ns();
    return mp_rss_read_verified(reader, bytes, shared, &confirmed);
}

uint64_t
mp_rss_confirm(struct mp_rss_reader *reader)
{
    return atomic_exchange(&reader->unconfirmed, 0);
}

int
mp_rss_read_peak(struct mp_rss_reader *reader, uint64_t *bytes)
{
    (void)reader;
    PROCESS_MEMORY_COUNTERS counters;
    int error = read_counters(&counters);
    if (error == 0) {
        *bytes = counters.PeakWorkingSetSize;
    }
    return error;
}

int
mp_rss_read_mark(struct mp_rss_reader *reader, uint64_t *bytes)
{
    return mp_rss_read_peak(reader, bytes);
}

int
mp_rss_reset_peak(struct mp_rss_reader *reader)
{
    (void)reader;
    return MP_RSS_NO_RESET;
}

/* The reading needs no file. */
bool
mp_rss_take_along(struct mp_rss_reader *own, struct mp_rss_reader *reader)
{
    (void)reader;
    *own = (struct mp_rss_reader){0};
    return true;
}
