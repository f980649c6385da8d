#include "statm.h"

#include <errno.h>
#include <stdbool.h>

/* What a uint64_t holds whatever the digits are. */
#define MOST_DIGITS 19

static inline unsigned
digit_at(const char *at)
{
    return (unsigned)(*at - '0'); /* 10 or more if it is none */
}

/* Skips a number and the character that must follow it. Returns what comes then, NULL
 * if that isn't what is there. The '\0' after the text ends any number. */
static inline const char *
skip_number(const char *at, char after)
{
    if (digit_at(at) > 9) {
        return NULL;
    }
    do {
        at++;
    } while (digit_at(at) <= 9);
    return *at == after ? at + 1 : NULL;
}

/* Reads a number and the space that must follow it. Returns what comes then, NULL if
 * that isn't what is there. */
static inline const char *
read_number(const char *at, uint64_t *number)
{
    const char *digits = at;
    *number = 0;
    for (; digit_at(at) <= 9; at++) {
        *number = *number * 10 + digit_at(at);
    }
    if (at == digits || at - digits > MOST_DIGITS || *at != ' ') {
        return NULL;
    }
    return at + 1;
}

/* Skips numbers up to the end of the text, which must be there. */
static inline bool
skip_rest(const char *at, int numbers, const char *end)
{
    for (; numbers > 0 && at != NULL; numbers--) {
        at = skip_number(at, numbers > 1 ? ' ' : '\n');
    }
    return at == end;
}

int
mp_statm_parse(const char *text, size_t length, uint64_t *pages)
{
    uint64_t number;
    const char *at = skip_number(text, ' ');
    if (at == NULL || (at = read_number(at, &number)) == NULL ||
        !skip_rest(at, 5, text + length)) {
        return EBADMSG;
    }
    *pages = number;
    return number == 0 ? ENODATA : 0;
}

int
mp_statm_parse_shared(const char *text, size_t length, uint64_t *pages,
                      uint64_t *shared)
{
    uint64_t number, of_files;
    const char *at = skip_number(text, ' ');
    if (at == NULL || (at = read_number(at, &number)) == NULL ||
        (at = read_number(at, &of_files)) == NULL || !skip_rest(at, 4, text + length)) {
        return EBADMSG;
    }
    *pages = number;
    *shared = of_files == 0 && at[0] == '0' ? UINT64_MAX : of_files;
    return number == 0 ? ENODATA : 0;
}
