/* Kills for want of memory: each rise of the count explains one, and no other. */
#include "check.h"
#include "kills.h"

#define SECOND INT64_C(1000000000)

static void
test_what_was_counted_before_explains_nothing(void)
{
    struct mp_kills kills = {.read = false};
    mp_kills_note(&kills, 7, 100 * SECOND);
    CHECK(!mp_kills_may_explain(&kills, 100 * SECOND));
}

static void
test_each_rise_explains_one(void)
{
    struct mp_kills kills = {.read = false};
    mp_kills_note(&kills, 0, 0);
    mp_kills_note(&kills, 2, 100 * SECOND);
    CHECK(mp_kills_may_explain(&kills, 99 * SECOND));
    CHECK(mp_kills_explain(&kills, 1, 0));
    CHECK(mp_kills_may_explain(&kills, 101 * SECOND));
    CHECK(mp_kills_explain(&kills, 1, 0));
    CHECK(!mp_kills_may_explain(&kills, 101 * SECOND));
}

static void
test_of_more_kills_than_rises_none_is_explained(void)
{
    struct mp_kills kills = {.read = false};
    mp_kills_note(&kills, 0, 0);
    mp_kills_note(&kills, 1, 100 * SECOND);
    CHECK(!mp_kills_explain(&kills, 2, 0));
    CHECK(!mp_kills_may_explain(&kills, 100 * SECOND));
    mp_kills_note(&kills, 2, 200 * SECOND);
    CHECK(!mp_kills_explain(&kills, 1, 1));
}

static void
test_a_rise_explains_what_ended_then(void)
{
    struct mp_kills kills = {.read = false};
    mp_kills_note(&kills, 0, 0);
    mp_kills_note(&kills, 1, 100 * SECOND);
    CHECK(!mp_kills_may_explain(&kills, 90 * SECOND));
    CHECK(!mp_kills_may_explain(&kills, 106 * SECOND));
    /* Somebody else's, so that it doesn't explain one more of ours later. */
    mp_kills_note(&kills, 2, 200 * SECOND);
    CHECK(!mp_kills_explain(&kills, 2, 0));
}

int
main(void)
{
    test_what_was_counted_before_explains_nothing();
    test_each_rise_explains_one();
    test_of_more_kills_than_rises_none_is_explained();
    test_a_rise_explains_what_ended_then();
    return 0;
}
