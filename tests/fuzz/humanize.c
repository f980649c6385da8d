/* Any number of bytes as text: in the right unit, the nearest to the number that has
 * five significant digits, and without a byte too many. */
#include "humanize.h"
#include "check.h"
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

static void
check_text(uint64_t bytes, const char *text, size_t length)
{
    static const char units[] = "bKMGT";
    CHECK(length >= 2 && length <= MP_HUMANIZE_SIZE);
    size_t digits = length - (text[length - 1] == 'B' ? 2 : 1);
    const char *found = memchr(units, text[digits], sizeof units - 1);
    CHECK(found != NULL);
    unsigned shift = 10 * (unsigned)(found - units);
    CHECK(shift == 0 || text[length - 1] == 'B');
    CHECK(shift == 40 || bytes >> shift < 1024);
    CHECK(shift == 0 || bytes >> shift != 0);

    /* shown / scale is the number in the text. */
    unsigned __int128 shown = 0;
    unsigned __int128 scale = 1;
    size_t significant = 0;
    bool point = false;
    for (size_t i = 0; i < digits; i++) {
        if (text[i] == '.') {
            CHECK(!point && i > 0 && i + 1 < digits);
            point = true;
            continue;
        }
        CHECK(text[i] >= '0' && text[i] <= '9');
        shown = shown * 10 + (unsigned)(text[i] - '0');
        scale *= point ? 10 : 1;
        significant++;
    }
    CHECK(text[0] != '0' || digits == 1);
    unsigned __int128 exact = (unsigned __int128)bytes * scale;
    if ((bytes & ((UINT64_C(1) << shift) - 1)) == 0) {
        CHECK(!point && shown << shift == exact);
        return;
    }
    /* Zeros at the end are left out but for one: so where there are fewer than five
     * digits, what was left out is zeros, and the number is as near. */
    CHECK(significant <= 5 || !point);
    while (significant < 5) {
        shown *= 10;
        exact *= 10;
        significant++;
    }
    unsigned __int128 scaled = shown << shift;
    unsigned __int128 off = scaled > exact ? scaled - exact : exact - scaled;
    CHECK(off * 2 <= (unsigned __int128)1 << shift);
    CHECK(off * 2 < (unsigned __int128)1 << shift || shown % 2 == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    while (size >= 8) {
        uint64_t bytes;
        memcpy(&bytes, data, sizeof bytes);
        char *text = malloc(MP_HUMANIZE_SIZE);
        CHECK(text != NULL);
        size_t length = mp_humanize(bytes, text);
        check_text(bytes, text, length);
        free(text);
        data += 8;
        size -= 8;
    }
    return 0;
}
