/* Any bytes as a line of /proc/self/status. */
#include "status.h"
#include "check.h"
#include "fuzz.h"

#include <errno.h>
#include <string.h>

static int
expected(const char *line, size_t length, uint64_t *bytes)
{
    /* A line is a C string; what has a NUL inside isn't of the kernel's form. */
    char text[256] = {0};
    if (length < 6 || strncmp(line, "VmHWM:", 6) != 0) {
        return ENODATA;
    }
    if (length >= sizeof text || memchr(line, '\0', length) != NULL) {
        return EBADMSG;
    }
    memcpy(text, line, length);
    const char *digits = text + 6 + strspn(text + 6, "\t ");
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || strcmp(digits + count, " kB\n") != 0) {
        return EBADMSG;
    }
    errno = 0;
    unsigned long long kilobytes = strtoull(digits, NULL, 10);
    if (errno != 0 || kilobytes > UINT64_MAX / 1024 / 10) {
        return EBADMSG;
    }
    *bytes = kilobytes * 1024;
    return kilobytes == 0 ? ENODATA : 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 256) {
        return 0; /* the reader hands over no more than fgets got */
    }
    uint64_t bytes = 0;
    uint64_t expected_bytes = 0;
    int error = mp_status_parse_peak((const char *)data, size, &bytes);
    CHECK(error == expected((const char *)data, size, &expected_bytes));
    CHECK(error != 0 || bytes == expected_bytes);
    return 0;
}
