#include "breakdown.h"
#include "check.h"

#include <string.h>

static const struct mp_malloc no_malloc = {MP_UNKNOWN, MP_UNKNOWN, MP_UNKNOWN,
                                           MP_UNKNOWN};
static const struct mp_pymalloc no_pymalloc = {MP_UNKNOWN, MP_UNKNOWN};

static uint64_t
known(uint64_t bytes)
{
    return bytes == MP_UNKNOWN ? 0 : bytes;
}

static uint64_t
sum_of(const struct mp_breakdown *found)
{
    return known(found->python_small) + known(found->python_free) +
           known(found->malloc_used) + known(found->malloc_free) +
           known(found->lazy_free) + known(found->stacks) + known(found->files) +
           known(found->shared) + found->other;
}

static uint64_t
random_bytes(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005 + 1442695040888963407;
    return (state >> 33) % 1000;
}

static void
test_figures_add_up_whatever_the_allocators_say(void)
{
    for (int i = 0; i < 100000; i++) {
        struct mp_mappings mappings = {
            .heaps = random_bytes(),
            .stacks = random_bytes(),
            .files = random_bytes(),
            .shared = random_bytes(),
            .lazy_free = random_bytes(),
            .anonymous = random_bytes(),
            .rest = random_bytes(),
            .heaps_size = random_bytes(),
        };
        mappings.rss = mappings.heaps + mappings.stacks + mappings.files +
                       mappings.shared + mappings.lazy_free + mappings.anonymous +
                       mappings.rest;
        struct mp_malloc malloc = {random_bytes(), random_bytes(), random_bytes(),
                                   random_bytes()};
        struct mp_pymalloc pymalloc = {random_bytes(), random_bytes()};
        struct mp_breakdown found;
        mp_breakdown_make(&mappings, &malloc, i % 3 == 0 ? &no_pymalloc : &pymalloc,
                          &found);
        CHECK(sum_of(&found) == mappings.rss);
        CHECK(found.other >= mappings.rest && found.other <= mappings.rss);
        CHECK(found.trimmable_least <= found.trimmable_most);
        CHECK(found.trimmable_most == found.malloc_free);
        /* No heaps are told apart for an allocator that nobody knows. */
        mappings.anonymous += mappings.heaps;
        mappings.heaps = mappings.heaps_size = 0;
        mp_breakdown_make(&mappings, &no_malloc, &pymalloc, &found);
        CHECK(sum_of(&found) == mappings.rss && found.malloc_used == MP_UNKNOWN);
    }
}

static void
test_each_finds_its_own(void)
{
    struct mp_mappings mappings = {
        .rss = 1000, .heaps = 300, .anonymous = 650, .rest = 50, .heaps_size = 400};
    struct mp_malloc malloc = {400, 220, 100, 150};
    struct mp_pymalloc pymalloc = {200, 80};
    struct mp_breakdown found;
    mp_breakdown_make(&mappings, &malloc, &pymalloc, &found);
    CHECK(found.python_small == 200 && found.python_free == 80);
    CHECK(found.malloc_used == 220 + 100 && found.malloc_free == 80);
    CHECK(found.trimmable_least == 150 - (400 - 300) && found.trimmable_most == 80);
    CHECK(found.other == 650 - 200 - 80 - 100 + 50);
    /* A main arena that goes on where brk() can't: 500 of its bytes are elsewhere. */
    malloc.system = 900;
    malloc.used = 620;
    mp_breakdown_make(&mappings, &malloc, &no_pymalloc, &found);
    CHECK(found.malloc_used == 620 + 100 && found.malloc_free == 300 + 500 - 620);
    CHECK(found.other == 650 - 500 - 100 + 50 && found.python_small == MP_UNKNOWN);
}

static void
test_a_system_that_tells_rss_alone(void)
{
    struct mp_mappings mappings;
    memset(&mappings, 0xff, sizeof mappings);
    mappings.rss = mappings.anonymous = 1000;
    mappings.rest = 0;
    struct mp_breakdown found;
    mp_breakdown_make(&mappings, &no_malloc, &no_pymalloc, &found);
    CHECK(found.rss == 1000 && found.other == 1000 && sum_of(&found) == 1000);
    CHECK(found.files == MP_UNKNOWN && found.uss == MP_UNKNOWN);
}

static void
test_this_process_is_read(void)
{
    struct mp_pymalloc pymalloc;
    struct mp_breakdown found;
    const char *allocator;
    mp_pymalloc_read(&pymalloc);
    CHECK(pymalloc.used == MP_UNKNOWN);
    CHECK(mp_breakdown_read(&pymalloc, &found, &allocator) == 0);
    CHECK(found.rss > 0 && sum_of(&found) == found.rss && allocator[0] != '\0');
    mp_malloc_trim();
    struct mp_counted counted;
    CHECK(!mp_counting_read(&counted)); /* there is no Python */
}

int
main(void)
{
    test_figures_add_up_whatever_the_allocators_say();
    test_each_finds_its_own();
    test_a_system_that_tells_rss_alone();
    test_this_process_is_read();
    return 0;
}
