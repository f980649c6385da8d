/* The text of /proc/self/statm to a number. Pure. */
#ifndef MP_STATM_H
#define MP_STATM_H

#include <stddef.h>
#include <stdint.h>

/* Reads the second of the seven numbers, the resident pages, from `text`, where
 * text[length] is '\0'.
 *
 * The grammar is as strict as the kernel's own (proc_pid_statm in fs/proc/array.c):
 * seven decimal numbers, one space between two, a newline at the end, nothing else.
 * Whatever took over the number of our closed descriptor fails here, for 0.02 of a
 * reading.
 *
 * Returns 0, EBADMSG if `text` is anything else, or ENODATA if the number is 0: no
 * running process has no memory, but a process whose main thread has ended says so. */
int mp_statm_parse(const char *text, size_t length, uint64_t *pages);

/* The same, and the third number: how many of these pages are of files or shared
 * memory. UINT64_MAX if that isn't known: gVisor prints 0 for the last five, and no
 * program that the fourth is of has no code. */
int mp_statm_parse_shared(const char *text, size_t length, uint64_t *pages,
                          uint64_t *shared);

#endif
