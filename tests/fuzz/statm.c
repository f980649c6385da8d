/* Any bytes as the text of /proc/self/statm, against a second reading of the grammar:
 * by its separators first, then number by number. */
#include "statm.h"
#include "check.h"
#include "fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Is a field, which is all digits, one of the kernel's? The one that is used has 19 of
 * them at most: whatever they are, that fits in 64 bits. */
static bool
is_field(size_t number, size_t length)
{
    return length > 0 && (number != 1 || length <= 19);
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
        if (text[i] != (last ? '\n' : ' ') || !is_field(fields, i - start)) {
            return EBADMSG;
        }
        if (fields == 1) {
            *pages = strtoull(text + start, NULL, 10);
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
    char *text = malloc(size + 1); /* of exactly that size, so that ASan sees more */
    CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    int error = mp_statm_parse(text, size, &pages);
    CHECK(error == expected(text, size, &expected_pages));
    free(text);
    CHECK(error != 0 || (pages == expected_pages && pages > 0));
    return 0;
}
