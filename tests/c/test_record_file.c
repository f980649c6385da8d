#include "check.h"
#include "record_disk.h"

#include <stdlib.h>

static uint64_t seed = 1;

static uint64_t
random_below(uint64_t limit)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % limit;
}

#define SPIKE 500000

/* A second apart, a leak with noise; one of so many is a spike. */
static struct came *
new_spiky_samples(uint64_t count, uint64_t one_of)
{
    struct came *came = calloc((size_t)count, sizeof *came);
    CHECK(came != NULL);
    for (uint64_t i = 0; i < count; i++) {
        came[i].ns = (int64_t)(1 + i) * 1000000000 + (int64_t)random_below(1000000);
        came[i].pages = 100000 + i / 1000 + random_below(100);
        came[i].pages += random_below(one_of) == 0 ? SPIKE + i : 0;
        came[i].shared = random_below(10) == 0 ? MP_RECORD_UNKNOWN : 3000;
    }
    return came;
}

static struct came *
new_samples(uint64_t count)
{
    return new_spiky_samples(count, 5000);
}

static struct disk *
new_disk(void)
{
    struct disk *disk = calloc(1, sizeof *disk);
    CHECK(disk != NULL);
    return disk;
}

/* -- Against a model ----------------------------------------------------------------
 */

struct model_block {
    uint64_t first;
    uint64_t last;
    uint64_t kept[MP_RECORD_SAMPLES]; /* numbers of samples */
};

struct model_level {
    struct model_block blocks[MP_RECORD_WIDTH + 1];
    int count;
};

static uint32_t
model_thin(const struct came *came, uint64_t *kept)
{
    uint32_t left = 0;
    for (int i = 0; i < MP_RECORD_SAMPLES; i += 4) {
        int low = i;
        int high = i + 3;
        for (int k = i + 3; k >= i; k--) {
            low = came[kept[k]].pages <= came[kept[low]].pages ? k : low;
            high = came[kept[k]].pages > came[kept[high]].pages ? k : high;
        }
        uint64_t pair[] = {kept[low], kept[high]};
        kept[left++] = pair[0] < pair[1] ? pair[0] : pair[1];
        kept[left++] = pair[0] < pair[1] ? pair[1] : pair[0];
    }
    return left;
}

static void
model_add(struct model_level *levels, const struct came *came, struct model_block block)
{
    for (;; levels++) {
        levels->blocks[levels->count++] = block;
        if (levels->count <= MP_RECORD_WIDTH) {
            return;
        }
        struct model_block *oldest = levels->blocks;
        uint32_t half = model_thin(came, oldest[0].kept);
        model_thin(came, oldest[1].kept);
        memcpy(oldest[0].kept + half, oldest[1].kept, half * sizeof *oldest[1].kept);
        oldest[0].last = oldest[1].last;
        block = oldest[0];
        levels->count -= 2;
        memmove(oldest, oldest + 2, (size_t)levels->count * sizeof *oldest);
    }
}

static void
check_against_model(const struct disk *disk, const struct model_level *levels,
                    const struct came *came)
{
    const struct mp_record_block *row[MP_RECORD_SLOTS];
    uint32_t count = disk_row(disk, row);
    uint32_t at = 0;
    for (uint32_t level = 10; level-- > 0;) {
        for (int i = 0; i < levels[level].count; i++, at++) {
            const struct model_block *block = &levels[level].blocks[i];
            CHECK(at < count);
            CHECK(row[at]->level == level && row[at]->count == MP_RECORD_SAMPLES);
            CHECK(row[at]->first == block->first && row[at]->last == block->last);
            for (int k = 0; k < MP_RECORD_SAMPLES; k++) {
                const struct mp_record_sample *sample = &row[at]->samples[k];
                const struct came *kept = &came[block->kept[k]];
                CHECK(sample->pages == kept->pages);
                CHECK(is_time_of(row[at], sample->time, kept));
            }
        }
    }
    CHECK(count == at + 1);
}

static void
test_levels_are_those_of_the_model(void)
{
    enum { COUNT = 100000 };
    struct came *came = new_samples(COUNT);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    struct model_level *levels = calloc(10, sizeof *levels);
    CHECK(levels != NULL);
    struct model_block block = {0};
    for (uint64_t i = 0; i < COUNT; i++) {
        if (i > 0 && i % MP_RECORD_SAMPLES == 0) {
            model_add(levels, came, block);
        }
        block.first = i - i % MP_RECORD_SAMPLES;
        block.last = i;
        block.kept[i % MP_RECORD_SAMPLES] = i;
        CHECK(push(&file, disk, &came[i]) == 0);
        if (random_below(1000) == 0 || i + 1 == COUNT) {
            check_against_model(disk, levels, came);
        }
    }
    CHECK(check_disk(disk, came, COUNT, COUNT) == COUNT);
    free(levels);
    free(disk);
    free(came);
}

/* Is something as high as this sample kept, no further from it than a sample of the
 * oldest blocks stands for? */
static bool
shows(const struct mp_record_block *const *row, uint32_t blocks,
      const struct came *spike)
{
    for (uint32_t i = 0; i < blocks; i++) {
        for (uint32_t k = 0; k < row[i]->count; k++) {
            const struct mp_record_sample *sample = &row[i]->samples[k];
            int64_t ns = row[i]->start_ns + ((int64_t)sample->time << row[i]->scale);
            if (sample->pages >= spike->pages &&
                llabs(ns - spike->ns) < INT64_C(2000000000000)) {
                return true;
            }
        }
    }
    return false;
}

static void
test_a_month_of_seconds_is_600_kib_and_keeps_each_spike(void)
{
    const uint64_t count = 30 * 24 * 3600;
    struct came *came = new_spiky_samples(count, 50000);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    for (uint64_t i = 0; i < count; i++) {
        CHECK(push(&file, disk, &came[i]) == 0);
    }
    CHECK(disk->count * MP_RECORD_BLOCK_BYTES <= 600 * 1024);
    CHECK(check_disk(disk, came, count, count) == count);

    /* The last 80 minutes are there whole; a day ago it is each 16 s at least. */
    const struct mp_record_block *row[MP_RECORD_SLOTS];
    uint32_t blocks = disk_row(disk, row);
    uint64_t raw = 0;
    for (uint32_t i = 0; i < blocks; i++) {
        raw += row[i]->level == 0 ? row[i]->count : 0;
        CHECK(row[i]->last + 24 * 3600 < count || row[i]->level <= 4);
    }
    CHECK(raw >= 80 * 60 - MP_RECORD_SAMPLES);
    for (uint64_t i = 0; i < count; i++) {
        CHECK(came[i].pages < SPIKE || shows(row, blocks, &came[i]));
    }
    free(disk);
    free(came);
}

/* -- Kills and failures --------------------------------------------------------------
 */

static struct came *all_samples;
static uint64_t pushed;
static uint64_t kills;

/* What a kill during this write leaves is sound, and can be gone on in. */
static void
kill_here(struct disk *disk, uint32_t slot, const void *block)
{
    uint32_t level = ((const struct mp_record_block *)block)->level;
    bool is_special = level > 0 || pushed % MP_RECORD_SAMPLES < 3 || pushed < 3;
    if (!is_special && random_below(200) != 0) {
        return;
    }
    static const uint32_t cuts[] = {0, 7, 40, 104, 496, 2048, 4095, 4096};
    static struct disk copy;
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        memcpy(copy.slots, disk->slots, disk->count * sizeof *disk->slots);
        copy.count = disk->count;
        disk_put(&copy, slot, block, cuts[i]);
        uint64_t there = check_disk(&copy, all_samples, pushed - 1, pushed);
        kills++;

        if (random_below(4) == 0) {
            struct mp_record_file file;
            CHECK(continue_file(&file, &copy) == 0);
            CHECK(file.newest.last + 1 == there || there == 0);
            for (uint64_t k = there; k < there + 310; k++) {
                CHECK(push(&file, &copy, &all_samples[k]) == 0);
            }
            check_disk(&copy, all_samples, there + 310, there + 310);
        }
    }
}

static void
test_a_kill_at_any_write_leaves_a_sound_file(void)
{
    enum { COUNT = 16500 }; /* two levels have begun to merge */
    all_samples = new_samples(COUNT + 400);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    disk->before_write = kill_here;
    for (uint64_t i = 0; i < COUNT; i++) {
        pushed = i + 1;
        CHECK(push(&file, disk, &all_samples[i]) == 0);
    }
    CHECK(kills > 2000);
    free(disk);
    free(all_samples);
}

static void
test_failed_writes_lose_nothing(void)
{
    enum { COUNT = 40000 };
    struct came *came = new_samples(COUNT);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    uint64_t there = 0;
    int64_t failing = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        if (--failing < 0) {
            disk->fault = NO_FAULT;
        }
        if (random_below(20) == 0) {
            disk->fault = 1 + (enum fault)random_below(3);
            disk->cut = (uint32_t)random_below(MP_RECORD_BLOCK_BYTES);
            failing = random_below(50) == 0 ? 2000 : (int64_t)random_below(5);
        }
        int error = push(&file, disk, &came[i]);
        CHECK((error == 0) == (disk->fault == NO_FAULT));
        there = error == 0 ? i + 1 : there;
        if (random_below(300) == 0) {
            check_disk(disk, came, there, i + 1);
        }
        if (random_below(2000) == 0) { /* and a kill, on top of it */
            CHECK(continue_file(&file, disk) == 0);
            uint64_t found = file.newest.last + 1;
            CHECK(there <= found && found <= i + 1);
            i = found - 1;
        }
    }
    disk->fault = NO_FAULT;
    struct mp_record_io io = disk_io(disk);
    struct mp_record_summary now = new_summary(came[COUNT - 1].ns);
    CHECK(mp_record_file_write(&file, &io, &now) == 0);
    check_disk(disk, came, COUNT, COUNT);
    free(disk);
    free(came);
}

static void
test_a_failure_at_a_blocks_last_sample_costs_no_resolution(void)
{
    enum { COUNT = 1500 };
    struct came *came = new_samples(COUNT);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    for (uint64_t i = 0; i < COUNT; i++) {
        bool is_last = i % MP_RECORD_SAMPLES == MP_RECORD_SAMPLES - 1;
        disk->fault = is_last ? NOTHING_DONE : NO_FAULT;
        CHECK((push(&file, disk, &came[i]) == 0) == !is_last);
    }
    const struct mp_record_block *row[MP_RECORD_SLOTS];
    CHECK(disk_row(disk, row) == 5);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK(row[i]->last - row[i]->first + 1 == row[i]->count);
    }
    free(disk);
    free(came);
}

static int
failing_read(void *context, uint32_t slot, void *block)
{
    (void)context;
    (void)slot;
    (void)block;
    return EIO;
}

static void
test_blocks_that_cannot_be_read_are_merged_when_they_can(void)
{
    enum { COUNT = 12000 };
    struct came *came = new_samples(COUNT);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    struct mp_record_io blind = disk_io(disk);
    blind.read = failing_read;
    uint64_t errors = 0;
    for (uint64_t i = 0; i < 8000; i++) {
        struct mp_record_summary now = new_summary(came[i].ns);
        int error = mp_record_file_push(&file, &blind, came[i].ns, came[i].pages,
                                        came[i].shared, &now);
        CHECK(error == 0 || (error == EIO && file.full > MP_RECORD_WIDTH));
        errors += error != 0;
        CHECK(!file.unwritten);
    }
    CHECK(errors == 8000 - 17 * MP_RECORD_SAMPLES);
    for (uint64_t i = 8000; i < COUNT; i++) {
        CHECK(push(&file, disk, &came[i]) == 0);
    }
    CHECK(file.full == 15 + 12);
    check_disk(disk, came, COUNT, COUNT);
    free(disk);
    free(came);
}

static void
test_a_block_that_somebody_damaged_is_given_up(void)
{
    enum { COUNT = 12000 };
    struct came *came = new_samples(COUNT);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    for (uint64_t i = 0; i < COUNT; i++) {
        if (i == 1000) {
            CHECK(disk_row(disk, (const struct mp_record_block *[256]){0}) == 4);
            memset(disk->slots[file.blocks[1].slot] + 600, 7, 100);
        }
        CHECK(push(&file, disk, &came[i]) == 0);
    }
    const struct mp_record_block *row[MP_RECORD_SLOTS];
    uint32_t count = disk_row(disk, row);
    CHECK(row[0]->first == 0 && row[count - 1]->last == COUNT - 1);
    uint64_t missing = 0;
    for (uint32_t i = 1; i < count; i++) {
        CHECK(row[i]->first > row[i - 1]->last);
        missing += row[i]->first - row[i - 1]->last - 1;
    }
    /* Its neighbour was merged with the next one, over the gap. */
    CHECK(missing == 0 && row[0]->last == 899);
    free(disk);
    free(came);
}

/* -- Going on -----------------------------------------------------------------------
 */

static void
test_only_a_sound_file_of_this_very_process_is_continued(void)
{
    struct came *came = new_samples(10);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    for (int i = 0; i < 10; i++) {
        CHECK(push(&file, disk, &came[i]) == 0);
    }
    struct mp_record_io io = disk_io(disk);
    uint64_t writes = disk->writes;
    for (int i = 0; i < 9; i++) {
        struct disk *copy = new_disk();
        memcpy(copy, disk, sizeof *copy);
        struct mp_record_io copy_io = disk_io(copy);
        struct mp_record_head head = new_head();
        uint32_t slots = copy->count;
        switch (i) {
        case 0:
            head.pid++;
            break;
        case 1:
            head.start++;
            break;
        case 2:
            head.boot[0] = 'x';
            break;
        case 3:
            head.page_bytes = 16384;
            break;
        case 4:
            copy->slots[0][0]++; /* magic */
            break;
        case 5:
            copy->slots[0][8] = 1; /* version */
            break;
        case 6:
            copy->slots[0][200]++; /* command */
            break;
        case 7:
            slots = 0;
            break;
        case 8:
            slots = MP_RECORD_SLOTS + 1;
            break;
        }
        CHECK(mp_record_file_continue(&file, &copy_io, &head, slots) == EBADMSG);
        CHECK(copy->writes == writes);
        free(copy);
    }
    struct mp_record_head head = new_head();
    memcpy(head.command, "other", 6);
    head.command_bytes = 6;
    CHECK(mp_record_file_continue(&file, &io, &head, disk->count) == 0);
    CHECK(disk->writes == writes); /* nothing has changed */
    CHECK(file.newest.last == 9 && head.command_bytes == 0);
    free(disk);
    free(came);
}

static void
test_whoever_continues_counts_on_and_is_said_in_the_head(void)
{
    enum { COUNT = 2000 };
    struct came *came = new_samples(COUNT);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    for (uint64_t i = 0; i < COUNT; i++) {
        if (random_below(50) == 0) {
            CHECK(continue_file(&file, disk) == 0);
        }
        CHECK(push(&file, disk, &came[i]) == 0);
    }
    check_disk(disk, came, COUNT, COUNT);

    struct mp_record_io io = disk_io(disk);
    struct mp_record_head head = new_head();
    head.changing[0].recorder = 99;
    head.changing[0].interval_ns = 5;
    CHECK(mp_record_file_continue(&file, &io, &head, disk->count) == 0);
    const struct mp_record_changing *now =
        mp_record_file_head_now((void *)disk->slots[0]);
    CHECK(now->recorder == 99 && now->interval_ns == 5 && now->number == 2);
    free(disk);
    free(came);
}

static void
test_what_was_lost_with_the_newest_blocks_is_counted_anew(void)
{
    enum { COUNT = 6100 };
    struct came *came = new_samples(COUNT);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    for (uint64_t i = 0; i < COUNT; i++) {
        CHECK(push(&file, disk, &came[i]) == 0);
    }
    for (uint32_t slot = 1; slot < disk->count; slot++) {
        struct mp_record_block *block = (void *)disk->slots[slot];
        if (block->level == 0) {
            memset(block, 0, sizeof *block);
        }
    }
    CHECK(continue_file(&file, disk) == 0);
    CHECK(file.newest.count == 0);
    uint64_t there = file.newest.first;
    CHECK(there > 0 && there % (2 * MP_RECORD_SAMPLES) == 0);
    for (uint64_t i = there; i < COUNT; i++) {
        CHECK(push(&file, disk, &came[i]) == 0);
    }
    check_disk(disk, came, COUNT, COUNT);
    free(disk);
    free(came);
}

static void
test_a_change_of_the_head_cut_anywhere_leaves_the_old_one_or_the_new(void)
{
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    struct mp_record_io io = disk_io(disk);
    for (uint32_t cut = 0; cut < MP_RECORD_BLOCK_BYTES; cut += 1 + cut % 37) {
        struct mp_record_changing before =
            *mp_record_file_head_now((void *)disk->slots[0]);
        struct mp_record_changing change = before;
        change.parent++;
        memset(change.title, (int)('a' + cut % 26), sizeof change.title);
        change.title_bytes = sizeof change.title;
        disk->fault = CUT_SHORT;
        disk->cut = cut;
        CHECK(mp_record_file_change(&file, &io, &change) == EIO);
        const struct mp_record_changing *now =
            mp_record_file_head_now((void *)disk->slots[0]);
        CHECK(now != NULL);
        CHECK(now->parent == before.parent || now->parent == change.parent);
        CHECK(now->parent == before.parent || now->title[0] == change.title[0]);
        disk->fault = NO_FAULT;
        CHECK(mp_record_file_change(&file, &io, &change) == 0);
        now = mp_record_file_head_now((void *)disk->slots[0]);
        CHECK(now->parent == change.parent);
        uint64_t writes = disk->writes;
        CHECK(mp_record_file_change(&file, &io, &change) == 0);
        CHECK(disk->writes == writes); /* it was no news */
    }
    memset(disk->slots[0], 0, MP_RECORD_BLOCK_BYTES);
    struct mp_record_changing change = new_head().changing[0];
    CHECK(mp_record_file_change(&file, &io, &change) == EBADMSG);
    free(disk);
}

static void
test_the_state_at_the_end_is_written_without_a_sample(void)
{
    for (uint64_t count = 1; count <= 601; count += 300) {
        struct came *came = new_samples(count);
        struct disk *disk = new_disk();
        struct mp_record_file file;
        begin(&file, disk);
        struct mp_record_io io = disk_io(disk);
        struct mp_record_summary end = new_summary(5);
        CHECK(mp_record_file_write(&file, &io, &end) == ENODATA);
        for (uint64_t i = 0; i < count; i++) {
            CHECK(push(&file, disk, &came[i]) == 0);
        }
        end.state = MP_RECORD_DIED;
        end.status = 9;
        end.cause = MP_RECORD_CAUSE_OUT_OF_MEMORY;
        CHECK(continue_file(&file, disk) == 0);
        CHECK(mp_record_file_write(&file, &io, &end) == 0);
        check_disk(disk, came, count, count);
        const struct mp_record_block *row[MP_RECORD_SLOTS];
        uint32_t blocks = disk_row(disk, row);
        CHECK(row[blocks - 1]->summary.state == MP_RECORD_DIED);
        CHECK(row[blocks - 1]->summary.status == 9);
        CHECK(row[blocks - 1]->last == count - 1);
        free(disk);
        free(came);
    }
}

/* -- Limits of the numbers -----------------------------------------------------------
 */

static void
test_times_do_not_wrap(void)
{
    static const int64_t steps[] = {1,
                                    999999999,
                                    INT64_C(4294967295),
                                    INT64_C(4294967296),
                                    1000000000,
                                    INT64_C(5000000000),
                                    INT64_C(3600000000000),
                                    INT64_C(86400000000000)};
    enum { COUNT = 30000 };
    struct came *came = new_samples(COUNT);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    int64_t ns = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        ns += steps[random_below(8)];
        if (i == 20000) {
            ns += INT64_C(1) << 61; /* 73 years */
        }
        if (i == COUNT - 1) {
            ns = INT64_MAX;
        }
        came[i].ns = ns;
        CHECK(push(&file, disk, &came[i]) == 0);
    }
    check_disk(disk, came, COUNT, COUNT);
    free(disk);
    free(came);
}

static void
test_time_does_not_go_backwards(void)
{
    struct came came[] = {{50, 1, 1}, {50, 2, 1}, {70, 3, 1}, {70, 4, 1}};
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    static const int64_t clock[] = {50, 20, 70, -5};
    for (int i = 0; i < 4; i++) {
        struct came sample = {clock[i], came[i].pages, came[i].shared};
        struct mp_record_io io = disk_io(disk);
        struct mp_record_summary now = new_summary(100);
        CHECK(mp_record_file_push(&file, &io, sample.ns, sample.pages, sample.shared,
                                  &now) == 0);
    }
    check_disk(disk, came, 4, 4);
    free(disk);
}

static void
test_a_clock_that_stands_still(void)
{
    enum { COUNT = 6001 };
    struct came *came = new_samples(COUNT);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    for (uint64_t i = 0; i < COUNT; i++) {
        came[i].ns = 77;
        CHECK(push(&file, disk, &came[i]) == 0);
    }
    check_disk(disk, came, COUNT, COUNT);
    uint8_t full = file.full;
    CHECK(continue_file(&file, disk) == 0);
    CHECK(file.full == full && file.newest.last == COUNT - 1);
    free(disk);
    free(came);
}

static void
test_what_does_not_fit_32_bits_is_unknown_and_not_wrong(void)
{
    enum { COUNT = 12000 };
    struct came *came = new_samples(COUNT);
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    for (uint64_t i = 0; i < COUNT; i++) {
        if (i > 3000 && random_below(100) > 0) {
            came[i].pages += UINT64_C(0xffffff00) + random_below(100) * 10;
        }
        if (i > 9000) {
            came[i].pages |= UINT64_MAX - UINT32_MAX; /* sums need 128 bits */
            came[i].shared = came[i].pages;
        }
        CHECK(push(&file, disk, &came[i]) == 0);
    }
    check_disk(disk, came, COUNT, COUNT);
    const struct mp_record_block *row[MP_RECORD_SLOTS];
    uint32_t blocks = disk_row(disk, row);
    CHECK(row[blocks - 1]->high > UINT32_MAX);
    CHECK(row[blocks - 1]->samples[0].pages == MP_RECORD_UNKNOWN_32);
    CHECK(row[blocks - 1]->samples[0].shared == MP_RECORD_UNKNOWN_32);
    CHECK(row[blocks - 1]->sum_high > 0);
    CHECK(continue_file(&file, disk) == 0 && file.newest.last == COUNT - 1);
    free(disk);
    free(came);
}

/* A block of so many samples that count for more, each a second from the next one kept.
 */
static void
make_block(struct disk *disk, uint64_t first, uint32_t level, uint64_t number)
{
    struct mp_record_block block;
    memset(&block, 0, sizeof block);
    uint64_t step = UINT64_C(1) << level;
    block.first = first;
    block.last = first + MP_RECORD_SAMPLES * step - 1;
    block.number = number;
    block.level = level;
    block.count = MP_RECORD_SAMPLES;
    block.low = block.min = 10;
    block.high = block.max = 20;
    block.start_ns = (int64_t)(first * 1000);
    block.scale = 20;
    memset(block.quarters, 0xff, sizeof block.quarters);
    for (uint32_t i = 0; i < MP_RECORD_SAMPLES; i++) {
        uint64_t after = i * step * 1000 >> 20;
        block.samples[i] = (struct mp_record_sample){(uint32_t)after, 10 + i % 11, 1};
    }
    block.first_pages = block.last_pages = 10;
    block.last_ns = (int64_t)(block.last * 1000);
    block.summary = new_summary(block.last_ns);
    block.samples_checksum = mp_record_file_checksum(
        0, block.samples, MP_RECORD_SAMPLES * sizeof *block.samples);
    const char *from = (const char *)&block.samples_checksum;
    block.checksum =
        mp_record_file_checksum(0, from, (size_t)((const char *)block.samples - from));
    CHECK(mp_record_file_block_is_sound(&block));
    disk_put(disk, disk->count, &block, sizeof block);
}

/* After years: all levels are full, so those from the top one on share their places. */
static void
test_the_oldest_give_way_when_the_file_is_full(void)
{
    struct disk *disk = new_disk();
    struct mp_record_file file;
    begin(&file, disk);
    uint64_t first = 0;
    for (uint32_t level = MP_RECORD_LEVEL_TOP + 1; level-- > 0;) {
        for (int i = 0; i < MP_RECORD_WIDTH; i++) {
            make_block(disk, first, level, disk->count);
            first += (uint64_t)MP_RECORD_SAMPLES << level;
        }
    }
    CHECK(continue_file(&file, disk) == 0);
    CHECK(file.full == 15 * MP_RECORD_WIDTH - 1 && file.newest.last == first - 1);
    /* As many more as the top level gets 20 blocks of. */
    uint64_t top = 0;
    for (int block = 0; block < 20; block++) {
        /* What would be merged into one of the top level, at once. */
        struct disk *copy = new_disk();
        memcpy(copy, disk, sizeof *copy);
        struct came sample = {0, 15, 1};
        for (int i = 0; i < 301; i++) {
            sample.ns = (int64_t)((first + (uint64_t)i) * 1000);
            CHECK(push(&file, copy, &sample) == 0);
        }
        CHECK(copy->count <= MP_RECORD_SLOTS);
        const struct mp_record_block *row[MP_RECORD_SLOTS];
        uint32_t count = disk_row(copy, row);
        CHECK(count == file.full + 1U);
        CHECK(file.full <= 15 * MP_RECORD_WIDTH);
        top = 0;
        for (uint32_t i = 0; i < count; i++) {
            CHECK(i == 0 || row[i]->first == row[i - 1]->last + 1);
            CHECK(i == 0 || row[i]->level <= row[i - 1]->level);
            top += row[i]->level >= MP_RECORD_LEVEL_TOP;
        }
        CHECK(row[0]->first == 0 && top <= MP_RECORD_WIDTH);
        if (block == 0) {
            CHECK(row[0]->level == MP_RECORD_LEVEL_TOP + 1);
            CHECK(row[1]->level == MP_RECORD_LEVEL_TOP);
        }
        /* Fill each level below the top again. */
        memset(disk, 0, sizeof *disk);
        disk->count = 1;
        memcpy(disk->slots[0], copy->slots[0], MP_RECORD_BLOCK_BYTES);
        uint32_t old = 0;
        for (; old < count && row[old]->level >= MP_RECORD_LEVEL_TOP; old++) {
            disk_put(disk, disk->count, row[old], MP_RECORD_BLOCK_BYTES);
        }
        first = row[old - 1]->last + 1;
        for (uint32_t level = MP_RECORD_LEVEL_TOP; level-- > 0;) {
            for (int i = 0; i < MP_RECORD_WIDTH; i++) {
                make_block(disk, first, level, 100000U + disk->count);
                first += (uint64_t)MP_RECORD_SAMPLES << level;
            }
        }
        free(copy);
        CHECK(continue_file(&file, disk) == 0);
    }
    CHECK(top == MP_RECORD_WIDTH);
    free(disk);
}

/* -- Odds and ends -------------------------------------------------------------------
 */

static void
test_the_checksum_is_a_remainder(void)
{
    static const uint8_t bytes[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    static const uint8_t ones[16] = {255, 255, 255, 255, 255, 255, 255, 255,
                                     255, 255, 255, 255, 255, 255, 255, 255};
    CHECK(mp_record_file_checksum(0, bytes, 0) == 0);
    CHECK(mp_record_file_checksum(0, bytes, 8) == UINT64_C(0x0102030405060708));
    CHECK(mp_record_file_checksum(0, bytes, 12) == UINT64_C(0x050607084480bcf8));
    CHECK(mp_record_file_checksum(0, ones, 8) == 58);
    CHECK(mp_record_file_checksum(0, ones, 16) == 58 * 60);
    uint64_t before = mp_record_file_checksum(0, bytes, 4);
    CHECK(mp_record_file_checksum(before, bytes + 4, 8) ==
          mp_record_file_checksum(0, bytes, 12));
}

static void
test_names(void)
{
    char name[MP_RECORD_NAME_BYTES];
    const char *boot = "6a97d127-2497-4b6e";
    mp_record_file_name(name, 7, 12, boot, MP_RECORD_UNKNOWN);
    CHECK(strcmp(name, "7-12-6a97d127.memprobe") == 0);
    mp_record_file_name(name, 7, 12, boot, 4026531836); /* on any machine the first */
    CHECK(strcmp(name, "7-12-6a97d127.memprobe") == 0);
    mp_record_file_name(name, 1, 12, boot, 4026532290);
    CHECK(strcmp(name, "1-12-6a97d127-4026532290.memprobe") == 0);
    uint64_t most = UINT64_MAX;
    mp_record_file_name(name, most, most, "a/../../../etc/passwd", most - 1);
    CHECK(strcmp(name, "18446744073709551615-18446744073709551615-a0000000"
                       "-18446744073709551614.memprobe") == 0);
    mp_record_file_name(name, 1, 2, "", MP_RECORD_UNKNOWN);
    CHECK(strcmp(name, "1-2-00000000.memprobe") == 0);
}

int
main(void)
{
    test_the_checksum_is_a_remainder();
    test_names();
    test_levels_are_those_of_the_model();
    test_a_month_of_seconds_is_600_kib_and_keeps_each_spike();
    test_a_kill_at_any_write_leaves_a_sound_file();
    test_failed_writes_lose_nothing();
    test_a_failure_at_a_blocks_last_sample_costs_no_resolution();
    test_blocks_that_cannot_be_read_are_merged_when_they_can();
    test_a_block_that_somebody_damaged_is_given_up();
    test_only_a_sound_file_of_this_very_process_is_continued();
    test_whoever_continues_counts_on_and_is_said_in_the_head();
    test_what_was_lost_with_the_newest_blocks_is_counted_anew();
    test_a_change_of_the_head_cut_anywhere_leaves_the_old_one_or_the_new();
    test_the_state_at_the_end_is_written_without_a_sample();
    test_times_do_not_wrap();
    test_time_does_not_go_backwards();
    test_a_clock_that_stands_still();
    test_what_does_not_fit_32_bits_is_unknown_and_not_wrong();
    test_the_oldest_give_way_when_the_file_is_full();
    return 0;
}
