/* Bytes to text for people: 1536 is "1.5KB". Pure. */
#ifndef MP_HUMANIZE_H
#define MP_HUMANIZE_H

#include <stddef.h>
#include <stdint.h>

/* Room for the longest text, "16777216TB". */
#define MP_HUMANIZE_SIZE 16

/* Writes `bytes` as text in b, KB, MB, GB or TB of 1024, with at most five significant
 * digits; a whole number of the unit has no point. No NUL is written. Returns the
 * length.
 *
 * Up to 2**53 the text is that of Python's format(bytes / unit, ".5"): rounded half to
 * even on the exact value, zeros at the end dropped but for one after the point. */
size_t mp_humanize(uint64_t bytes, char text[MP_HUMANIZE_SIZE]);

#endif
