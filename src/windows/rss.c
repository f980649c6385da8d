#include "system.h"

#include <windows.h>
/* After windows.h, whose types it uses. */
#include <psapi.h>

const char mp_rss_source[] = "K32GetProcessMemoryInfo";
const char mp_rss_peak_source[] = "K32GetProcessMemoryInfo";

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
mp_rss_close(struct mp_rss_reader *reader)
{
    (void)reader;
}

int
mp_rss_read(struct mp_rss_reader *reader, uint64_t *bytes, int64_t *ns)
{
    (void)reader;
    PROCESS_MEMORY_COUNTERS counters;
    int error = read_counters(&counters);
    *ns = mp_clock_ns();
    if (error == 0) {
        *bytes = counters.WorkingSetSize;
    }
    return error;
}

int
mp_rss_confirm(struct mp_rss_reader *reader, uint64_t *bytes)
{
    (void)reader;
    (void)bytes;
    return 0;
}

int
mp_rss_read_peak(uint64_t *bytes)
{
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
    (void)reader;
    return mp_rss_read_peak(bytes);
}
