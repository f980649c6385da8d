#include "record_file.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#    error "the file is little-endian, and written as it lies in memory"
#endif

/* Ranges and dates add up in 64 bits with it, whatever a file claims. */
#define LEVEL_MOST 55
#define SCALE_MOST 31

#define PRIME (UINT64_MAX - 58)

#define QUARTER_SAMPLES (MP_RECORD_SAMPLES / MP_RECORD_QUARTERS)
_Static_assert(MP_RECORD_SAMPLES % 4 == 0 && QUARTER_SAMPLES % 2 == 1,
               "thinned by fours, and a quarter has one in the middle");

uint64_t
mp_record_file_checksum(uint64_t before, const void *from, size_t bytes)
{
    assert(bytes % 4 == 0);
    const uint8_t *byte = from;
    uint64_t rest = before;
    for (const uint8_t *end = byte + bytes; byte < end; byte += 4) {
        uint32_t word = (uint32_t)byte[0] << 24 | (uint32_t)byte[1] << 16 |
                        (uint32_t)byte[2] << 8 | byte[3];
        /* rest * 2**32 + word, where 2**64 is 59. */
        uint64_t low = rest << 32 | word;
        uint64_t sum = low + (rest >> 32) * 59;
        rest = sum < low ? sum + 59 : sum;
    }
    return rest >= PRIME ? rest - PRIME : rest;
}

/* -- The head ---------------------------------------------------------------------- */

static uint64_t
head_checksum(const struct mp_record_head *head)
{
    size_t from = offsetof(struct mp_record_head, pid);
    size_t until = offsetof(struct mp_record_head, changing);
    return mp_record_file_checksum(0, (const char *)head + from, until - from);
}

static uint64_t
changing_checksum(const struct mp_record_changing *part)
{
    size_t from = offsetof(struct mp_record_changing, number);
    return mp_record_file_checksum(0, (const char *)part + from, sizeof *part - from);
}

static bool
changing_is_sound(const struct mp_record_changing *part)
{
    return part->checksum == changing_checksum(part) && part->number > 0 &&
           part->interval_ns > 0 && part->interval_ns <= INT64_MAX &&
           part->title_bytes <= sizeof part->title;
}

static bool
head_is_sound(const struct mp_record_head *head)
{
    return memcmp(head->magic, MP_RECORD_MAGIC, sizeof head->magic) == 0 &&
           head->version == MP_RECORD_VERSION &&
           head->checksum == head_checksum(head) && head->started_ns >= -1 &&
           head->started_wall_ns >= -1 && head->page_bytes > 0 &&
           head->page_bytes <= 1 << 30 &&
           (head->page_bytes & (head->page_bytes - 1)) == 0 &&
           head->command_bytes <= sizeof head->command;
}

const struct mp_record_changing *
mp_record_file_head_now(const struct mp_record_head *head)
{
    if (!head_is_sound(head)) {
        return NULL;
    }
    const struct mp_record_changing *one = &head->changing[0];
    const struct mp_record_changing *two = &head->changing[1];
    if (!changing_is_sound(two)) {
        return changing_is_sound(one) ? one : NULL;
    }
    return changing_is_sound(one) && one->number > two->number ? one : two;
}

static bool
says_the_same(const struct mp_record_changing *one,
              const struct mp_record_changing *two)
{
    return memcmp(&one->parent, &two->parent,
                  sizeof *one - offsetof(struct mp_record_changing, parent)) == 0;
}

/* Puts the new part over the older one and writes the head, if it is news. */
static int
write_change(const struct mp_record_io *io, struct mp_record_head *head,
             const struct mp_record_changing *now)
{
    const struct mp_record_changing *before = mp_record_file_head_now(head);
    if (before == NULL) {
        return EBADMSG;
    }
    if (says_the_same(before, now)) {
        return 0;
    }
    struct mp_record_changing *part = &head->changing[before == head->changing];
    uint64_t number = before->number + 1;
    *part = *now;
    part->number = number;
    part->checksum = changing_checksum(part);
    return io->write(io->context, 0, head);
}

int
mp_record_file_change(struct mp_record_file *file, const struct mp_record_io *io,
                      const struct mp_record_changing *now)
{
    (void)file;
    struct mp_record_head head;
    int error = io->read(io->context, 0, &head);
    return error != 0 ? error : write_change(io, &head, now);
}

/* PROC_PID_INIT_INO of Linux's include/linux/proc_ns.h, the same since 3.8. */
#define FIRST_PID_NAMESPACE UINT64_C(0xeffffffc)

void
mp_record_file_name(char name[MP_RECORD_NAME_BYTES], uint64_t pid, uint64_t start,
                    const char *boot, uint64_t pid_namespace)
{
    char eight[] = "00000000";
    char space[24] = "";
    for (int i = 0; i < 8 && isalnum((unsigned char)boot[i]); i++) {
        eight[i] = boot[i];
    }
    if (pid_namespace != MP_RECORD_UNKNOWN && pid_namespace != FIRST_PID_NAMESPACE) {
        snprintf(space, sizeof space, "-%" PRIu64, pid_namespace);
    }
    snprintf(name, MP_RECORD_NAME_BYTES, "%" PRIu64 "-%" PRIu64 "-%s%s.memprobe", pid,
             start, eight, space);
}

/* -- Blocks ------------------------------------------------------------------------ */

static uint64_t
block_checksum(const struct mp_record_block *block)
{
    size_t from = offsetof(struct mp_record_block, samples_checksum);
    size_t until = offsetof(struct mp_record_block, samples);
    return mp_record_file_checksum(0, (const char *)block + from, until - from);
}

static uint64_t
samples_checksum(const struct mp_record_block *block)
{
    return mp_record_file_checksum(0, block->samples,
                                   block->count * sizeof *block->samples);
}

/* By the clock, in ns. */
static uint64_t
block_end(const struct mp_record_block *block)
{
    uint64_t last = block->samples[block->count - 1].time;
    return (uint64_t)block->start_ns + (last << block->scale);
}

static uint32_t
in_32_bits(uint64_t pages)
{
    return pages < MP_RECORD_UNKNOWN_32 ? (uint32_t)pages : MP_RECORD_UNKNOWN_32;
}

static bool
samples_are_sound(const struct mp_record_block *block)
{
    uint32_t low = in_32_bits(block->low);
    uint32_t before = 0;
    for (uint32_t i = 0; i < block->count; i++) {
        const struct mp_record_sample *sample = &block->samples[i];
        if (sample->time < before || sample->pages < low ||
            sample->pages > block->high) {
            return false;
        }
        before = sample->time;
    }
    return block->low_time <= before && block->high_time <= before &&
           block_end(block) <= INT64_MAX &&
           block->samples_checksum == samples_checksum(block);
}

bool
mp_record_file_block_is_sound(const struct mp_record_block *block)
{
    if (block->checksum != block_checksum(block) || block->number == 0 ||
        block->number > INT64_MAX || block->last > INT64_MAX ||
        block->first > block->last) {
        return false;
    }
    if (block->count == 0 || block->count > MP_RECORD_SAMPLES ||
        block->level > LEVEL_MOST ||
        (block->level > 0 && block->count < MP_RECORD_SAMPLES) ||
        block->last - block->first + 1 < (uint64_t)block->count << block->level) {
        return false;
    }
    const struct mp_record_summary *summary = &block->summary;
    if (block->start_ns < 0 || block->scale > SCALE_MOST || block->first_ns < 0 ||
        block->last_ns < block->first_ns || summary->written_ns < 0 ||
        summary->wall_ns < 0 || summary->state > MP_RECORD_ENDED ||
        summary->cause > MP_RECORD_CAUSE_OUT_OF_MEMORY) {
        return false;
    }
    if (block->low > block->high || block->min > block->low ||
        block->max < block->high) {
        return false;
    }
    return samples_are_sound(block);
}

/* Of each four samples keeps the lowest and the highest, in their order; of equal ones
 * the outer. Returns how many are left: half of `count`, which is a multiple of 4. */
static uint32_t
thin(struct mp_record_sample *samples, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i += 4) {
        uint32_t low = i;
        uint32_t high = i;
        for (uint32_t k = i + 1; k < i + 4; k++) {
            low = samples[k].pages < samples[low].pages ? k : low;
            high = samples[k].pages >= samples[high].pages ? k : high;
        }
        struct mp_record_sample earlier = samples[low < high ? low : high];
        struct mp_record_sample later = samples[low < high ? high : low];
        samples[kept++] = earlier;
        samples[kept++] = later;
    }
    return kept;
}

static struct mp_record_point
median(const struct mp_record_sample *samples)
{
    uint32_t pages[QUARTER_SAMPLES];
    for (int i = 0; i < QUARTER_SAMPLES; i++) {
        int at = i;
        for (; at > 0 && pages[at - 1] > samples[i].pages; at--) {
            pages[at] = pages[at - 1];
        }
        pages[at] = samples[i].pages;
    }
    return (struct mp_record_point){samples[QUARTER_SAMPLES / 2].time,
                                    pages[QUARTER_SAMPLES / 2]};
}

static struct mp_record_point
mean(struct mp_record_point one, struct mp_record_point two)
{
    if (one.pages == MP_RECORD_UNKNOWN_32 || two.pages == MP_RECORD_UNKNOWN_32) {
        return one.pages == MP_RECORD_UNKNOWN_32 ? two : one;
    }
    return (struct mp_record_point){
        (uint32_t)(((uint64_t)one.time + two.time) / 2),
        (uint32_t)(((uint64_t)one.pages + two.pages) / 2),
    };
}

/* Makes all times of the block count from start_ns, which is not above its own, in
 * units of 2**scale, which is not below its own. */
static void
rebase(struct mp_record_block *block, int64_t start_ns, uint32_t scale)
{
    uint64_t later = (uint64_t)(block->start_ns - start_ns);
    uint32_t *times[2 + MP_RECORD_QUARTERS + MP_RECORD_SAMPLES];
    size_t count = 0;
    times[count++] = &block->low_time;
    times[count++] = &block->high_time;
    for (int i = 0; i < MP_RECORD_QUARTERS; i++) {
        times[count++] = &block->quarters[i].time;
    }
    for (uint32_t i = 0; i < block->count; i++) {
        times[count++] = &block->samples[i].time;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t ns = (uint64_t)*times[i] << block->scale;
        *times[i] = (uint32_t)((later + ns) >> scale);
    }
    block->start_ns = start_ns;
    block->scale = scale;
    block->samples_checksum = samples_checksum(block);
}

/* The least scale, from this one on, with which so many ns fit 32 bits. */
static uint32_t
scale_for(uint64_t ns, uint32_t scale)
{
    while (ns >> scale > UINT32_MAX) {
        scale++;
    }
    return scale;
}

/* Makes the older one stand for both, a level higher; spoils the newer one. Both are
 * sound, full, and in the order of their numbers and times. */
static void
unite(struct mp_record_block *older, struct mp_record_block *newer)
{
    uint32_t scale = older->scale > newer->scale ? older->scale : newer->scale;
    scale = scale_for(block_end(newer) - (uint64_t)older->start_ns, scale);
    rebase(older, older->start_ns, scale);
    rebase(newer, older->start_ns, scale);

    uint32_t half = thin(older->samples, older->count);
    thin(newer->samples, newer->count);
    memcpy(older->samples + half, newer->samples, half * sizeof *newer->samples);
    older->samples_checksum = samples_checksum(older);
    struct mp_record_point eighths[2 * MP_RECORD_QUARTERS];
    memcpy(eighths, older->quarters, sizeof older->quarters);
    memcpy(eighths + MP_RECORD_QUARTERS, newer->quarters, sizeof newer->quarters);
    for (int i = 0; i < MP_RECORD_QUARTERS; i++) {
        older->quarters[i] = mean(eighths[2 * i], eighths[2 * i + 1]);
    }
    older->level = (older->level < newer->level ? older->level : newer->level) + 1;
    older->last = newer->last;
    if (newer->low < older->low) {
        older->low = newer->low;
        older->low_time = newer->low_time;
    }
    if (newer->high >= older->high) {
        older->high = newer->high;
        older->high_time = newer->high_time;
    }
    /* Totals and summary are as of the last sample. */
    size_t from = offsetof(struct mp_record_block, sum_low);
    size_t until = offsetof(struct mp_record_block, later);
    memcpy((char *)older + from, (char *)newer + from, until - from);
}

/* -- The file ---------------------------------------------------------------------- */

static void
set_used(struct mp_record_file *file, uint8_t slot, bool used)
{
    uint32_t bit = UINT32_C(1) << slot % 32;
    if (used) {
        file->used[slot / 32] |= bit;
    } else {
        file->used[slot / 32] &= ~bit;
    }
}

/* Writes a block to the lowest free slot, which is 0 if it failed. */
static int
write_block(struct mp_record_file *file, const struct mp_record_io *io,
            struct mp_record_block *block, uint8_t *slot)
{
    *slot = 0;
    uint32_t at = 1;
    while (at < MP_RECORD_SLOTS && (file->used[at / 32] >> at % 32 & 1) != 0) {
        at++;
    }
    if (at == MP_RECORD_SLOTS) {
        return ENOSPC;
    }
    block->number = ++file->written;
    block->checksum = block_checksum(block);
    int error = io->write(io->context, at, block);
    if (error == 0) {
        *slot = (uint8_t)at;
        set_used(file, *slot, true);
    }
    return error;
}

static int
write_newest(struct mp_record_file *file, const struct mp_record_io *io)
{
    uint8_t slot;
    int error = write_block(file, io, &file->newest, &slot);
    if (error != 0) {
        return error;
    }
    if (file->newest_slot != 0) {
        set_used(file, file->newest_slot, false);
    }
    file->newest_slot = slot;
    file->unwritten = false;
    return 0;
}

/* The index of the older of two blocks that are to become one, or -1: in a level that
 * has too many the two oldest. The levels from the top one on count together, and there
 * it is the lowest of them that has two: what stands for the least. Blocks of a level
 * stand side by side, unless a merged one was damaged and its parts are back again. */
static int
find_too_many(const struct mp_record_file *file)
{
    int top = 0; /* how many there are from the top level on: the oldest blocks */
    while (top < file->full && file->blocks[top].level >= MP_RECORD_LEVEL_TOP) {
        top++;
    }
    for (int end = file->full; end > 0;) {
        int first = end - 1;
        while (first > 0 &&
               file->blocks[first - 1].level == file->blocks[first].level) {
            first--;
        }
        bool too_many = end > top ? end - first > MP_RECORD_WIDTH
                                  : top > MP_RECORD_WIDTH && end - first > 1;
        if (too_many) {
            return first;
        }
        end = first;
    }
    return file->full > MP_RECORD_WIDTH * (MP_RECORD_LEVEL_TOP + 1) ? 0 : -1;
}

static void
forget_block(struct mp_record_file *file, int index)
{
    set_used(file, file->blocks[index].slot, false);
    file->full--;
    memmove(&file->blocks[index], &file->blocks[index + 1],
            (size_t)(file->full - index) * sizeof *file->blocks);
}

/* Reads a block as file->blocks has it. Returns 0, EBADMSG if it isn't there any more,
 * or the errno of the read. */
static int
read_full(const struct mp_record_file *file, const struct mp_record_io *io, int index,
          struct mp_record_block *block)
{
    int error = io->read(io->context, file->blocks[index].slot, block);
    if (error != 0) {
        return error;
    }
    bool same = mp_record_file_block_is_sound(block) &&
                block->level == file->blocks[index].level &&
                block->count == MP_RECORD_SAMPLES;
    return same ? 0 : EBADMSG;
}

/* Makes one of two neighbours. A block that somebody damaged is given up. */
static int
merge(struct mp_record_file *file, const struct mp_record_io *io, int index)
{
    struct mp_record_block blocks[2];
    for (int i = 0; i < 2; i++) {
        int error = read_full(file, io, index + i, &blocks[i]);
        if (error == 0 && i == 1 &&
            (blocks[1].first <= blocks[0].last ||
             (uint64_t)blocks[1].start_ns < block_end(&blocks[0]))) {
            error = EBADMSG;
        }
        if (error == EBADMSG) {
            forget_block(file, index + i);
            return 0;
        }
        if (error != 0) {
            return error;
        }
    }
    unite(&blocks[0], &blocks[1]);
    uint8_t slot;
    int error = write_block(file, io, &blocks[0], &slot);
    if (error != 0) {
        return error;
    }
    forget_block(file, index);
    set_used(file, file->blocks[index].slot, false);
    file->blocks[index].slot = slot;
    file->blocks[index].level = (uint8_t)blocks[0].level;
    return 0;
}

int
mp_record_file_begin(struct mp_record_file *file, const struct mp_record_io *io,
                     struct mp_record_head *head)
{
    memset(file, 0, sizeof *file);
    set_used(file, 0, true);
    memcpy(head->magic, MP_RECORD_MAGIC, sizeof head->magic);
    head->version = MP_RECORD_VERSION;
    head->zero = 0;
    head->spare = 0;
    head->checksum = head_checksum(head);
    head->changing[0].number = 1;
    head->changing[0].checksum = changing_checksum(&head->changing[0]);
    head->changing[1] = head->changing[0];
    assert(mp_record_file_head_now(head) != NULL);
    return io->write(io->context, 0, head);
}

/* What continuing has to know of each block at once. */
struct found {
    uint64_t first, last, number, start_ns, end_ns;
    uint8_t slot, level;
};

/* Those that stand for more go before what they contain, the newer before the older. */
static bool
goes_before(const struct found *one, const struct found *two)
{
    if (one->first != two->first) {
        return one->first < two->first;
    }
    return one->last != two->last ? one->last > two->last : one->number > two->number;
}

/* Keeps of blocks in that order those that no other contains, and whose times follow
 * each other. Returns how many. */
static size_t
keep_row(struct found *found, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const struct found *before = kept > 0 ? &found[kept - 1] : NULL;
        if (before != NULL &&
            (found[i].first <= before->last || found[i].start_ns < before->end_ns)) {
            continue;
        }
        found[kept++] = found[i];
    }
    return kept;
}

/* Reads all data blocks, into `found` those that are sound, in order. `block` is
 * for use here alone. */
static int
find_blocks(const struct mp_record_io *io, uint32_t slots, struct found *found,
            size_t *count, struct mp_record_block *block)
{
    *count = 0;
    for (uint32_t slot = 1; slot < slots; slot++) {
        int error = io->read(io->context, slot, block);
        if (error != 0 && error != EBADMSG) {
            return error;
        }
        if (error == EBADMSG || !mp_record_file_block_is_sound(block)) {
            continue;
        }
        struct found one = {block->first,         block->last,
                            block->number,        (uint64_t)block->start_ns,
                            block_end(block),     (uint8_t)slot,
                            (uint8_t)block->level};
        size_t at = (*count)++;
        for (; at > 0 && goes_before(&one, &found[at - 1]); at--) {
            found[at] = found[at - 1];
        }
        found[at] = one;
    }
    return 0;
}

/* Makes the newest block an empty one, behind what it is. */
static void
renew(struct mp_record_block *newest)
{
    newest->samples_checksum = 0;
    newest->first = newest->last + 1;
    newest->level = 0;
    newest->count = 0;
    memset(newest->samples, 0, sizeof newest->samples);
}

int
mp_record_file_continue(struct mp_record_file *file, const struct mp_record_io *io,
                        struct mp_record_head *head, uint32_t slots)
{
    if (slots == 0 || slots > MP_RECORD_SLOTS) {
        return EBADMSG;
    }
    memset(file, 0, sizeof *file);
    set_used(file, 0, true);
    struct mp_record_changing now = head->changing[0];
    struct mp_record_head there;
    int error = io->read(io->context, 0, &there);
    if (error != 0) {
        return error;
    }
    if (mp_record_file_head_now(&there) == NULL || there.pid != head->pid ||
        there.start != head->start || there.page_bytes != head->page_bytes ||
        memcmp(there.boot, head->boot, sizeof there.boot) != 0) {
        return EBADMSG;
    }

    struct found found[MP_RECORD_SLOTS];
    size_t count;
    error = find_blocks(io, slots, found, &count, &file->newest);
    if (error != 0) {
        return error;
    }
    for (size_t i = 0; i < count; i++) {
        file->written =
            found[i].number > file->written ? found[i].number : file->written;
    }
    count = keep_row(found, count);
    if (count == 0) {
        memset(&file->newest, 0, sizeof file->newest);
    } else {
        const struct found *last = &found[count - 1];
        error = io->read(io->context, last->slot, &file->newest);
        if (error == EBADMSG ||
            (error == 0 && !mp_record_file_block_is_sound(&file->newest))) {
            error = EAGAIN; /* somebody writes to it none the less */
        }
        if (error != 0) {
            return error;
        }
        if (last->level == 0) {
            file->newest_slot = last->slot;
            set_used(file, last->slot, true);
            count--;
        } else {
            renew(&file->newest);
        }
    }
    for (size_t i = 0; i < count; i++) {
        file->blocks[i].slot = found[i].slot;
        file->blocks[i].level = found[i].level;
        set_used(file, found[i].slot, true);
    }
    file->full = (uint8_t)count;

    error = write_change(io, &there, &now);
    *head = there;
    return error;
}

static void
begin_block(struct mp_record_block *block, int64_t ns, uint64_t pages)
{
    block->low = pages;
    block->high = pages;
    block->low_time = 0;
    block->high_time = 0;
    block->start_ns = ns;
    block->scale = 0;
    memset(block->quarters, 0xff, sizeof block->quarters);
}

static void
add_to_totals(struct mp_record_block *block, int64_t ns, uint64_t pages,
              uint64_t shared)
{
    if (block->last == 0) {
        block->min = pages;
        block->max = pages;
        block->first_pages = pages;
        block->first_ns = ns;
    }
    block->min = pages < block->min ? pages : block->min;
    block->max = pages > block->max ? pages : block->max;
    block->sum_low += pages;
    block->sum_high += block->sum_low < pages;
    block->last_pages = pages;
    block->last_shared = shared;
    block->last_ns = ns;
}

/* Adds a sample to a block that has room for it. */
static void
add(struct mp_record_block *block, int64_t ns, uint64_t pages, uint64_t shared)
{
    assert(block->count < MP_RECORD_SAMPLES);
    ns = ns < block->last_ns ? block->last_ns : ns;
    if (block->count == 0) {
        begin_block(block, ns, pages);
        block->last = block->first;
    } else {
        block->last++;
    }
    add_to_totals(block, ns, pages, shared);
    uint64_t after = (uint64_t)(ns - block->start_ns);
    uint32_t scale = scale_for(after, block->scale);
    if (scale != block->scale) {
        rebase(block, block->start_ns, scale);
    }
    struct mp_record_sample sample = {(uint32_t)(after >> scale), in_32_bits(pages),
                                      in_32_bits(shared)};
    if (pages < block->low) {
        block->low = pages;
        block->low_time = sample.time;
    }
    if (pages >= block->high) {
        block->high = pages;
        block->high_time = sample.time;
    }
    block->samples[block->count++] = sample;
    block->samples_checksum =
        mp_record_file_checksum(block->samples_checksum, &sample, sizeof sample);
    if (block->count == MP_RECORD_SAMPLES) {
        for (int i = 0; i < MP_RECORD_QUARTERS; i++) {
            block->quarters[i] = median(block->samples + i * QUARTER_SAMPLES);
        }
    }
}

/* Makes room in the newest block, which is full. */
static void
make_room(struct mp_record_file *file, const struct mp_record_io *io)
{
    struct mp_record_block *newest = &file->newest;
    if (file->unwritten && write_newest(file, io) != 0) {
        newest->count = thin(newest->samples, newest->count);
        newest->samples_checksum = samples_checksum(newest);
        memset(newest->quarters, 0xff, sizeof newest->quarters);
        return;
    }
    file->blocks[file->full].slot = file->newest_slot;
    file->blocks[file->full].level = 0;
    file->full++;
    file->newest_slot = 0;
    renew(newest);
}

int
mp_record_file_push(struct mp_record_file *file, const struct mp_record_io *io,
                    int64_t ns, uint64_t pages, uint64_t shared,
                    const struct mp_record_summary *now)
{
    if (file->newest.count == MP_RECORD_SAMPLES) {
        make_room(file, io);
    }
    add(&file->newest, ns, pages, shared);
    file->unwritten = true;
    int failed = mp_record_file_write(file, io, now);

    int error = 0;
    int older;
    while (error == 0 && (older = find_too_many(file)) >= 0) {
        error = merge(file, io, older);
    }
    return failed != 0 ? failed : error;
}

int
mp_record_file_write(struct mp_record_file *file, const struct mp_record_io *io,
                     const struct mp_record_summary *now)
{
    if (file->newest.count == 0) {
        return ENODATA;
    }
    file->newest.summary = *now;
    return write_newest(file, io);
}
