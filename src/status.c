#include "status.h"

#include <errno.h>
#include <string.h>

int
mp_status_parse_peak(const char *line, size_t length, uint64_t *bytes)
{
    static const char name[] = "VmHWM:";
    static const char unit[] = " kB\n";
    const char *at = line;
    const char *end = line + length;
    if (length < sizeof name - 1 || memcmp(at, name, sizeof name - 1) != 0) {
        return ENODATA;
    }
    at += sizeof name - 1;
    while (at < end && (*at == '\t' || *at == ' ')) {
        at++;
    }
    uint64_t kilobytes = 0;
    const char *digits = at;
    while (at < end && *at >= '0' && *at <= '9') {
        kilobytes = kilobytes * 10 + (uint64_t)(*at - '0');
        if (kilobytes > UINT64_MAX / 1024 / 10) {
            return EBADMSG;
        }
        at++;
    }
    if (at == digits || (size_t)(end - at) != sizeof unit - 1 ||
        memcmp(at, unit, sizeof unit - 1) != 0) {
        return EBADMSG;
    }
    *bytes = kilobytes * 1024;
    return kilobytes == 0 ? ENODATA : 0;
}
