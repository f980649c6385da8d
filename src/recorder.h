/* The recorder: the observer that record() has started for this process. One per
 * process, whatever number of interpreters use it; a forked child is observed by its
 * parent's. */
#ifndef MP_RECORDER_H
#define MP_RECORDER_H

#include "contact.h"

#include <stdbool.h>
#include <stdint.h>

#define MP_RECORDER_PATH 4096
#define MP_RECORDING (-7) /* into another folder already */

/* Starts recording into that folder, which start->folder has open. Nothing happens if
 * it is recorded into already, or if an observer of that folder sees this process
 * anyway. Returns 0, MP_RECORDING, or an error of mp_contact_start. */
int mp_recorder_start(const struct mp_contact_start *start, const char *folder,
                      char what[MP_TALK_LINE]);

/* The folder that is recorded into, "" if there is none. */
void mp_recorder_folder(char folder[MP_RECORDER_PATH]);

/* Stops recording; does nothing if nothing is recorded, or if an observer of somebody
 * else's does it. Returns 0, or an error of mp_contact_ask. */
int mp_recorder_stop(char what[MP_TALK_LINE]);

/* Asks the recorder for something. Returns 0, or an error of mp_contact_ask. */
int mp_recorder_ask(const char *request, char what[MP_TALK_LINE]);

/* Asks for a last look before the process ends. */
void mp_recorder_look(void);

/* Has this process left the session of the one that is recorded, as a daemon does? Its
 * family is another one from then on. */
bool mp_recorder_left_session(void);

#endif
