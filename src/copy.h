/* Memory that the recorder's process shares, copied into files of the folder, so that
 * it outlives the process, and no disk ever holds that one up. */
#ifndef MP_COPY_H
#define MP_COPY_H

#include <stdint.h>

/* Copies the memory that a process has this descriptor of into a file of that name, now
 * and whenever it is renewed. Returns 0 or an errno: ENOTSUP where that can't be had.
 */
int mp_copy_start(uint32_t pid, int descriptor, const char *name);

/* Writes what has changed since. What can't be written is tried again the next time. */
void mp_copies_renew(void);

/* The same for the last time; the files are free then. */
void mp_copies_end(void);

#endif
