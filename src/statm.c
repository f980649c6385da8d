#include "statm.h"

#include <errno.h>

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

int
mp_statm_parse(const char *text, size_t length, uint64_t *pages)
{
    const char *resident = skip_number(text, ' ');
    if (resident == NULL) {
        return EBADMSG;
    }
    uint64_t number = 0;
    const char *at = resident;
    for (; digit_at(at) <= 9; at++) {
        number = number * 10 + digit_at(at);
    }
    if (at == resident || at - resident > MOST_DIGITS || *at != ' ') {
        return EBADMSG;
    }
    at++;
    for (int i = 2; i < 7 && at != NULL; i++) {
        at = skip_number(at, i < 6 ? ' ' : '\n');
    }
    if (at != text + length) {
        return EBADMSG;
    }
    *pages = number;
    return number == 0 ? ENODATA : 0;
}
