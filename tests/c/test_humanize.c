#include "check.h"
#include "humanize.h"

#include <math.h>
#include <string.h>

static void
humanize(uint64_t bytes, char text[MP_HUMANIZE_SIZE + 1])
{
    char *exact = malloc(MP_HUMANIZE_SIZE);
    CHECK(exact != NULL);
    size_t length = mp_humanize(bytes, exact);
    CHECK(length > 0 && length <= MP_HUMANIZE_SIZE);
    memcpy(text, exact, length);
    text[length] = '\0';
    free(exact);
}

/* The same by floating point, which is exact here below 2**53: what format(f, ".5")
 * does in Python, built from C's own "%.*f". */
static void
oracle(uint64_t bytes, char *text)
{
    static const char *const units[] = {"b", "KB", "MB", "GB", "TB"};
    int unit = 0;
    while (unit < 4 && bytes >= (UINT64_C(1) << (10 * (unit + 1)))) {
        unit++;
    }
    double value = ldexp((double)bytes, -10 * unit);
    if (value == floor(value)) {
        sprintf(text, "%.0f%s", value, units[unit]);
        return;
    }
    int digits = value >= 1000 ? 4 : value >= 100 ? 3 : value >= 10 ? 2 : 1;
    sprintf(text, "%.*f", 5 - digits, value);
    size_t length = strlen(text);
    while (text[length - 1] == '0' && text[length - 2] != '.') {
        text[--length] = '\0';
    }
    strcpy(text + length, units[unit]);
}

/* More than 2**53 bytes are not promised: there a double is not exact. */
static void
check_against_oracle(uint64_t bytes)
{
    if (bytes > UINT64_C(1) << 53) {
        return;
    }
    char text[MP_HUMANIZE_SIZE + 1];
    char expected[64];
    humanize(bytes, text);
    oracle(bytes, expected);
    if (strcmp(text, expected) != 0) {
        fprintf(stderr, "%llu: %s, not %s\n", (unsigned long long)bytes, text,
                expected);
        exit(1);
    }
}

static void
test_examples(void)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0b"},
        {1, "1b"},
        {1023, "1023b"},
        {1024, "1KB"},
        {1536, "1.5KB"},
        {1048575, "1024.0KB"},
        {1048576, "1MB"},
        {30515200, "29.102MB"},
        {UINT64_C(1) << 53, "8192TB"},
        {UINT64_MAX - ((UINT64_C(1) << 40) - 1), "16777215TB"},
        {UINT64_MAX, "16777216TB"},
        {(UINT64_C(10000) << 40) - 1, "10000TB"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[MP_HUMANIZE_SIZE + 1];
        humanize(cases[i].bytes, text);
        CHECK(strcmp(text, cases[i].text) == 0);
    }
}

static void
test_is_pythons_text_near_every_power_and_at_every_tie(void)
{
    for (unsigned power = 0; power <= 52; power++) {
        uint64_t base = UINT64_C(1) << power;
        for (uint64_t step = 0; step < 3000; step++) {
            check_against_oracle(base + step);
            check_against_oracle(base > step ? base - step : 0);
            /* n/32 of a unit has ties at the fifth digit. */
            check_against_oracle(base + step * (base >> 5 | 1));
        }
    }
}

static void
test_is_pythons_text_for_scattered_numbers(void)
{
    uint64_t random = 88172645463325252; /* xorshift64 */
    for (int i = 0; i < 2000000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        check_against_oracle((random >> 11) >> (random & 63) % 53);
    }
}

int
main(void)
{
    test_examples();
    test_is_pythons_text_near_every_power_and_at_every_tie();
    test_is_pythons_text_for_scattered_numbers();
    return 0;
}
