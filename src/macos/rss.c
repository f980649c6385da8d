#include "system.h"

#include <errno.h>
#include <mach/mach.h>

const char mp_rss_source[] = "task_info(MACH_TASK_BASIC_INFO)";
const char mp_rss_peak_source[] = "task_info(MACH_TASK_BASIC_INFO)";
const char mp_rss_reset_source[] = "the high-water mark";

/* Reads both numbers. mach_task_self() each time: a forked child has another port. What
 * task_info returns is no errno, so it becomes the one that says as much: EIO. */
static int
read_info(mach_task_basic_info_data_t *info)
{
    mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
    kern_return_t result =
        task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)info, &count);
    if (result != KERN_SUCCESS || count < MACH_TASK_BASIC_INFO_COUNT) {
        return EIO;
    }
    return info->resident_size == 0 ? ENODATA : 0;
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
    mach_task_basic_info_data_t info;
    int error = read_info(&info);
    if (error != 0) {
        return error;
    }
    *bytes = info.resident_size;
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
    mach_task_basic_info_data_t info;
    int error = read_info(&info);
    if (error == 0) {
        *bytes = info.resident_size_max;
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
