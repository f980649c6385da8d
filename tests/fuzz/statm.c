/* Any bytes as the text of /proc/self/statm, against a second reading of the grammar:
 * by its separators first, then number by number. */
#include "statm.h"
#include "check.h"
#include "fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Reads one field, which is all digits. Returns whether it fits in 64 bits. */
static bool
read_field(const char *digits, size_t length, uint64_t *number)
{
    unsigned __int128 value = 0;
    for (size_t i = 0; i < length; i++) {
        value = value * 10 + (unsigned)(digits[i] - '0');
        if (value >> 64 != 0) {
            return false;
        }
    }
    *number = (uint64_t)value;
    return length > 0;
}

static int
expected(const char *text, size_t length, uint64_t *pages)
{
    size_t fields = 0;
    size_t start = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] >= '0' && text[i] <= '9') {
            continue;
        }
        bool last = i + 1 == length;
        uint64_t number;
        if (text[i] != (last ? '\n' : ' ') ||
            !read_field(text + start, i - start, &number)) {
            return EBADMSG;
        }
        if (fields == 1) {
            *pages = number;
        }
        fields++;
        start = i + 1;
    }
    if (fields != 7 || start != length) {
        return EBADMSG;
    }
    return *pages == 0 ? ENODATA : 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t pages = 0;
    uint64_t expected_pages = 0;
    int error = mp_statm_parse((const char *)data, size, &pages);
    CHECK(error == expected((const char *)data, size, &expected_pages));
    CHECK(error != 0 || (pages == expected_pages && pages > 0));
    return 0;
}
