/* What the observer's file is held against: a disk whose writes fail, are cut short or
 * are the last before a kill; and all the samples that ever came. */
#ifndef RECORD_DISK_H
#define RECORD_DISK_H

#include "check.h"
#include "record_file.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum fault {
    NO_FAULT,
    NOTHING_DONE, /* and an error */
    CUT_SHORT,    /* the same, with a part of the block written */
    DONE_ANYWAY,  /* and reported as failed */
};

struct disk {
    uint8_t slots[MP_RECORD_SLOTS][MP_RECORD_BLOCK_BYTES];
    uint32_t count; /* slots that there are */
    uint64_t writes;
    enum fault fault; /* of the next write or read, and all later ones */
    uint32_t cut;     /* bytes that are written all the same */
    /* If there is one, it sees the disk before each write that is no fault. */
    void (*before_write)(struct disk *disk, uint32_t slot, const void *block);
};

static int
disk_read(void *context, uint32_t slot, void *block)
{
    struct disk *disk = context;
    CHECK(slot < MP_RECORD_SLOTS);
    if (slot >= disk->count) {
        return EBADMSG;
    }
    memcpy(block, disk->slots[slot], MP_RECORD_BLOCK_BYTES);
    return 0;
}

static void
disk_put(struct disk *disk, uint32_t slot, const void *block, uint32_t bytes)
{
    memcpy(disk->slots[slot], block, bytes);
    if (slot >= disk->count && bytes > 0) {
        disk->count = slot + 1;
    }
}

static int
disk_write(void *context, uint32_t slot, const void *block)
{
    struct disk *disk = context;
    CHECK(slot < MP_RECORD_SLOTS);
    disk->writes++;
    switch (disk->fault) {
    case NOTHING_DONE:
        return ENOSPC;
    case CUT_SHORT:
        disk_put(disk, slot, block, disk->cut);
        return EIO;
    case DONE_ANYWAY:
        disk_put(disk, slot, block, MP_RECORD_BLOCK_BYTES);
        return EIO;
    case NO_FAULT:
        break;
    }
    if (disk->before_write != NULL) {
        disk->before_write(disk, slot, block);
    }
    disk_put(disk, slot, block, MP_RECORD_BLOCK_BYTES);
    return 0;
}

static struct mp_record_io
disk_io(struct disk *disk)
{
    return (struct mp_record_io){disk, disk_read, disk_write};
}

/* A sample as it came. */
struct came {
    int64_t ns;
    uint64_t pages;
    uint64_t shared;
};

static uint32_t
fitting(uint64_t pages)
{
    return pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX;
}

/* Each merge rounds a time down, to a unit that is twice the one before or the same. */
static bool
is_time_of(const struct mp_record_block *block, uint32_t time, const struct came *came)
{
    uint64_t after = (uint64_t)(came->ns - block->start_ns) >> block->scale;
    return time <= after && after - time <= (block->level < 4 ? block->level : 4);
}

/* The block's samples are of those that came in its range, in their order; the lowest
 * and the highest of the range are there. */
static void
check_samples(const struct mp_record_block *block, const struct came *came)
{
    uint64_t low = UINT64_MAX;
    uint64_t high = 0;
    for (uint64_t i = block->first; i <= block->last; i++) {
        low = came[i].pages < low ? came[i].pages : low;
        high = came[i].pages > high ? came[i].pages : high;
    }
    CHECK(block->low == low && block->high == high);
    CHECK(block->start_ns == came[block->first].ns);
    bool has_low = false;
    bool has_high = false;
    uint64_t next = block->first;
    for (uint32_t k = 0; k < block->count; k++) {
        const struct mp_record_sample *sample = &block->samples[k];
        for (;; next++) {
            CHECK(next <= block->last);
            if (is_time_of(block, sample->time, &came[next]) &&
                sample->pages == fitting(came[next].pages) &&
                sample->shared == fitting(came[next].shared)) {
                break;
            }
        }
        if (came[next].pages == low && sample->time == block->low_time) {
            has_low = true;
        }
        if (came[next].pages == high && sample->time == block->high_time) {
            has_high = true;
        }
        next++;
    }
    CHECK(has_low || low >= UINT32_MAX);
    CHECK(has_high || high >= UINT32_MAX);
}

static void
check_totals(const struct mp_record_block *block, const struct came *came)
{
    uint64_t sum = 0;
    uint64_t carry = 0;
    uint64_t min = UINT64_MAX;
    uint64_t max = 0;
    for (uint64_t i = 0; i <= block->last; i++) {
        sum += came[i].pages;
        carry += sum < came[i].pages;
        min = came[i].pages < min ? came[i].pages : min;
        max = came[i].pages > max ? came[i].pages : max;
    }
    const struct came *last = &came[block->last];
    CHECK(block->sum_low == sum && block->sum_high == carry);
    CHECK(block->min == min && block->max == max);
    CHECK(block->first_pages == came[0].pages && block->first_ns == came[0].ns);
    CHECK(block->last_pages == last->pages && block->last_ns == last->ns);
    CHECK(block->last_shared == last->shared);
}

/* The blocks that count, the oldest first: the plainest reader there can be. Returns
 * how many. */
static uint32_t
disk_row(const struct disk *disk, const struct mp_record_block **row)
{
    const struct mp_record_block *sound[MP_RECORD_SLOTS];
    uint32_t count = 0;
    for (uint32_t slot = 1; slot < disk->count; slot++) {
        const void *block = disk->slots[slot];
        if (mp_record_file_block_is_sound(block)) {
            sound[count++] = block;
        }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool contained = false;
        for (uint32_t k = 0; k < count && !contained; k++) {
            bool covers =
                sound[k]->first <= sound[i]->first && sound[k]->last >= sound[i]->last;
            bool same =
                sound[k]->first == sound[i]->first && sound[k]->last == sound[i]->last;
            contained = covers && (!same || sound[k]->number > sound[i]->number);
        }
        if (!contained) {
            uint32_t at = kept++;
            for (; at > 0 && row[at - 1]->first > sound[i]->first; at--) {
                row[at] = row[at - 1];
            }
            row[at] = sound[i];
        }
    }
    return kept;
}

/* Everything from the first sample on is there, up to one between `least` and `most`
 * samples. Returns how many. */
static uint64_t
check_disk(const struct disk *disk, const struct came *came, uint64_t least,
           uint64_t most)
{
    CHECK(mp_record_file_head_now((const void *)disk->slots[0]) != NULL);
    const struct mp_record_block *row[MP_RECORD_SLOTS];
    uint32_t count = disk_row(disk, row);
    uint64_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        CHECK(row[i]->first == next && row[i]->last < most);
        CHECK(row[i]->count == MP_RECORD_SAMPLES || i + 1 == count);
        CHECK(i == 0 || row[i]->level <= row[i - 1]->level);
        check_samples(row[i], came);
        next = row[i]->last + 1;
    }
    CHECK(next >= least);
    if (count > 0) {
        check_totals(row[count - 1], came);
    }
    return next;
}

static struct mp_record_head
new_head(void)
{
    struct mp_record_head head;
    memset(&head, 0, sizeof head);
    head.pid = 4242;
    head.start = 1234567;
    head.started_ns = 1000;
    head.started_wall_ns = -1;
    head.pid_namespace = MP_RECORD_UNKNOWN;
    head.page_bytes = 4096;
    memcpy(head.boot, "6a97d127-2497", 13);
    head.changing[0].parent = 1;
    head.changing[0].recorder = 4242;
    head.changing[0].interval_ns = 1000000000;
    return head;
}

static struct mp_record_summary
new_summary(int64_t ns)
{
    struct mp_record_summary summary;
    memset(&summary, 0xff, sizeof summary);
    summary.written_ns = ns;
    summary.wall_ns = INT64_C(1700000000000000000);
    summary.state = MP_RECORD_RUNNING;
    summary.cause = MP_RECORD_CAUSE_UNKNOWN;
    return summary;
}

static int
push(struct mp_record_file *file, struct disk *disk, const struct came *sample)
{
    struct mp_record_io io = disk_io(disk);
    struct mp_record_summary now = new_summary(sample->ns);
    return mp_record_file_push(file, &io, sample->ns, sample->pages, sample->shared,
                               &now);
}

static void
begin(struct mp_record_file *file, struct disk *disk)
{
    struct mp_record_io io = disk_io(disk);
    struct mp_record_head head = new_head();
    CHECK(mp_record_file_begin(file, &io, &head) == 0);
}

static int
continue_file(struct mp_record_file *file, struct disk *disk)
{
    struct mp_record_io io = disk_io(disk);
    struct mp_record_head head = new_head();
    return mp_record_file_continue(file, &io, &head, disk->count);
}

#endif
