/* A line at a time out of a socket, whether or not messages stay apart in it. */
#ifndef MP_LINE_H
#define MP_LINE_H

#include "talk.h"

/* Receives a line without its end, and doesn't wait for one. Returns its length, 0 if
 * there is none yet, or -1 if there will be none. */
int mp_line_receive(int socket, char line[MP_TALK_LINE]);

#endif
