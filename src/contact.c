#include "contact.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Takes "ERRNO WHAT" apart. Returns the errno. */
static int
take_error(const char *text, char what[MP_TALK_LINE])
{
    int error = EIO;
    int length = 0;
    char copy[MP_TALK_LINE];
    if (sscanf(text, "%d %n", &error, &length) == 1) {
        (void)snprintf(copy, sizeof copy, "%s", text + length);
        memcpy(what, copy, sizeof copy);
    }
    return error;
}

int
mp_contact_first_word(int length, char line[MP_TALK_LINE])
{
    int error = EPIPE; /* it has ended without a word */
    if (length > 0 && strncmp(line, "error ", 6) == 0) {
        return take_error(line + 6, line);
    }
    if (length == 0) {
        error = ETIMEDOUT;
    } else if (length > 0 && strcmp(line, "ready") == 0) {
        error = 0;
    } else if (length > 0 && strcmp(line, "observed") == 0) {
        error = MP_OBSERVED;
    }
    line[0] = '\0';
    return error;
}

bool
mp_contact_is_answer(const char *line, uint32_t number, int *error,
                     char what[MP_TALK_LINE])
{
    unsigned answered = 0;
    int at = 0;
    if (sscanf(line, "done %u", &answered) == 1 && answered == number) {
        *error = 0;
        return true;
    }
    if (sscanf(line, "error %u %n", &answered, &at) == 1 && answered == number) {
        *error = take_error(line + at, what);
        return true;
    }
    return false;
}
