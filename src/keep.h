/* Keeps the folder within a number of bytes: removes what tells of processes that have
 * surely ended. */
#ifndef MP_KEEP_H
#define MP_KEEP_H

#include "recording.h"

#include <stdint.h>

/* Removes files of this user's, the oldest first, those of processes that exited by
 * themselves before others, until the folder takes at most so many bytes, or until
 * nothing is left that may be removed. */
void mp_keep(uint64_t bytes, const struct mp_recording_settings *settings);

#endif
