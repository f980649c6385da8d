/* The highest reading of blocks that overlap in any way, against all readings kept. */
#include "blocks.h"
#include "check.h"

#include <string.h>

#define BLOCKS 12
#define READINGS 4000

static uint64_t
next_random(void)
{
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint64_t readings[READINGS];
static int taken;

static void
take(struct mp_blocks *blocks, uint64_t bytes)
{
    CHECK(taken < READINGS);
    readings[taken++] = bytes;
    mp_blocks_raise(&blocks->highest, bytes);
}

static uint64_t
highest_since(int first)
{
    uint64_t highest = 0;
    for (int i = first; i < taken; i++) {
        highest = readings[i] > highest ? readings[i] : highest;
    }
    return highest;
}

static void
enter(struct mp_blocks *blocks, struct mp_block *block)
{
    memset(block, 0, sizeof *block);
    block->before = next_random() % 1000;
    take(blocks, block->before);
    mp_blocks_enter(blocks, block);
}

static void
test_blocks_that_are_left_in_any_order(void)
{
    for (int round = 0; round < 2000; round++) {
        struct mp_blocks blocks = {0};
        struct mp_block block[BLOCKS];
        int since[BLOCKS];
        bool open[BLOCKS] = {false};
        taken = 0;
        for (int step = 0; step < 200; step++) {
            uint64_t i = next_random() % BLOCKS;
            uint64_t highest;
            if (next_random() % 2 == 0) {
                take(&blocks, next_random() % 100000 / (1 + next_random() % 100));
            } else if (!open[i]) {
                since[i] = taken;
                enter(&blocks, &block[i]);
                open[i] = true;
            } else {
                CHECK(mp_blocks_leave(&blocks, &block[i], &highest));
                CHECK(highest == highest_since(since[i]));
                CHECK(!mp_blocks_leave(&blocks, &block[i], &highest));
                open[i] = false;
            }
        }
    }
}

static void
test_a_mark_counts_for_the_blocks_that_raised_it(void)
{
    struct mp_blocks blocks = {0};
    struct mp_block oldest = {.before = 10, .mark = 100};
    struct mp_block middle = {.before = 11, .mark = 300};
    struct mp_block newest = {.before = 12, .mark = 300};
    uint64_t highest;
    mp_blocks_enter(&blocks, &oldest);
    mp_blocks_enter(&blocks, &middle);
    mp_blocks_enter(&blocks, &newest);
    mp_blocks_note_mark(&blocks, 300);
    CHECK(oldest.mark == 0 && middle.mark == 0 && newest.mark == 0);
    CHECK(mp_blocks_leave(&blocks, &middle, &highest) && highest == 12);
    CHECK(mp_blocks_leave(&blocks, &newest, &highest) && highest == 12);
    CHECK(mp_blocks_leave(&blocks, &oldest, &highest) && highest == 300);
}

static void
test_a_mark_that_no_block_raised_counts_for_none(void)
{
    struct mp_blocks blocks = {0};
    struct mp_block block = {.before = 10, .mark = 300};
    uint64_t highest;
    mp_blocks_note_mark(&blocks, 400); /* without any block */
    mp_blocks_enter(&blocks, &block);
    mp_blocks_note_mark(&blocks, 300);
    CHECK(mp_blocks_leave(&blocks, &block, &highest) && highest == 10);
}

static void
test_a_mark_that_fell_was_reset_in_the_block_and_counts(void)
{
    struct mp_blocks blocks = {0};
    struct mp_block block = {.before = 10, .mark = 300};
    uint64_t highest;
    mp_blocks_enter(&blocks, &block);
    mp_blocks_note_mark(&blocks, 200);
    CHECK(mp_blocks_leave(&blocks, &block, &highest) && highest == 200);
}

static void
test_what_is_noted_for_a_block_counts_for_older_ones(void)
{
    struct mp_blocks blocks = {0};
    struct mp_block oldest = {.before = 10};
    struct mp_block middle = {.before = 11};
    struct mp_block newest = {.before = 12};
    uint64_t highest;
    mp_blocks_enter(&blocks, &oldest);
    mp_blocks_enter(&blocks, &middle);
    mp_blocks_note(&blocks, &newest, 900); /* which isn't open */
    mp_blocks_enter(&blocks, &newest);
    mp_blocks_note(&blocks, &middle, 50);
    mp_blocks_note(&blocks, &newest, 20);
    CHECK(mp_blocks_leave(&blocks, &newest, &highest) && highest == 20);
    mp_blocks_note(&blocks, &middle, 60);
    CHECK(mp_blocks_leave(&blocks, &oldest, &highest) && highest == 60);
    CHECK(mp_blocks_leave(&blocks, &middle, &highest) && highest == 60);
}

static void
test_of_each_block_is_told_what_is_its_highest_so_far(void)
{
    _Atomic uint64_t told[2] = {0};
    struct mp_blocks blocks = {0};
    struct mp_block older = {.before = 10, .told = &told[0]};
    struct mp_block silent = {.before = 11};
    struct mp_block newer = {.before = 12, .told = &told[1]};
    uint64_t highest;
    mp_blocks_enter(&blocks, &older);
    mp_blocks_raise(&blocks.highest, 500);
    mp_blocks_enter(&blocks, &silent);
    mp_blocks_enter(&blocks, &newer);
    mp_blocks_raise(&blocks.highest, 200);
    mp_blocks_tell(&blocks);
    CHECK(told[0] == 500 && told[1] == 200);
    CHECK(mp_blocks_leave(&blocks, &newer, &highest) && highest == 200);
    mp_blocks_raise(&blocks.highest, 700);
    mp_blocks_tell(&blocks);
    CHECK(told[0] == 700 && told[1] == 200);
}

static void
test_all_blocks_of_an_owner_are_left_and_no_others(void)
{
    struct mp_blocks blocks = {0};
    struct mp_block block[BLOCKS] = {{0}};
    int owners[2];
    uint64_t highest;
    for (int i = 0; i < BLOCKS; i++) {
        block[i].owner = &owners[i % 2];
        block[i].peak = i % 3 == 0 ? MP_PEAK_WATCH : MP_PEAK_ENDS;
        block[i].before = (uint64_t)(100 - i);
        mp_blocks_enter(&blocks, &block[i]);
    }
    CHECK(mp_blocks_leave_all(&blocks, &owners[0]) == 2);
    for (int i = 0; i < BLOCKS; i++) {
        bool open = mp_blocks_leave(&blocks, &block[i], &highest);
        CHECK(open == (i % 2 == 1));
        CHECK(!open || highest == (uint64_t)(100 - i));
    }
    CHECK(blocks.newest == NULL);
}

int
main(void)
{
    test_blocks_that_are_left_in_any_order();
    test_a_mark_counts_for_the_blocks_that_raised_it();
    test_a_mark_that_no_block_raised_counts_for_none();
    test_a_mark_that_fell_was_reset_in_the_block_and_counts();
    test_what_is_noted_for_a_block_counts_for_older_ones();
    test_of_each_block_is_told_what_is_its_highest_so_far();
    test_all_blocks_of_an_owner_are_left_and_no_others();
    return 0;
}
