/* The text of /proc/self/status to a number. Pure. */
#ifndef MP_STATUS_H
#define MP_STATUS_H

#include <stddef.h>
#include <stdint.h>

/* Reads the line "VmHWM:\t   12345 kB\n" from one line of text.
 * Returns 0, ENODATA if `line` is another one or the number is 0, or EBADMSG if it
 * isn't of this form. */
int mp_status_parse_peak(const char *line, size_t length, uint64_t *bytes);

#endif
