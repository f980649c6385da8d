#include "statm.h"

#include <errno.h>

/* Reads digits from `at`. Returns where they end, NULL if there is none or if the
 * number doesn't fit in 64 bits. */
static const char *
parse_number(const char *at, const char *end, uint64_t *number)
{
    const char *start = at;
    uint64_t value = 0;
    while (at < end && *at >= '0' && *at <= '9') {
        unsigned digit = (unsigned)(*at - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return NULL;
        }
        value = value * 10 + digit;
        at++;
    }
    *number = value;
    return at == start ? NULL : at;
}

int
mp_statm_parse(const char *text, size_t length, uint64_t *pages)
{
    static const char separators[] = "      \n";
    const char *at = text;
    const char *end = text + length;
    uint64_t numbers[sizeof separators - 1];
    for (size_t i = 0; i < sizeof separators - 1; i++) {
        at = parse_number(at, end, &numbers[i]);
        if (at == NULL || at == end || *at != separators[i]) {
            return EBADMSG;
        }
        at++;
    }
    if (at != end) {
        return EBADMSG;
    }
    *pages = numbers[1];
    return numbers[1] == 0 ? ENODATA : 0;
}
