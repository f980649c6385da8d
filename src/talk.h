/* How the observer's program talks with the one that has started it, and settles. A
 * folder per family of systems implements it. */
#ifndef MP_TALK_H
#define MP_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The descriptors that it is started with, besides nothing at 0 to 2. */
#define MP_TALK_FOLDER 3
#define MP_TALK_SOCKET 4
#define MP_TALK_LIST 5 /* /proc, if the starter has it open */
#define MP_TALK_LINE 256

/* Lets go of all that the starter has handed down besides: descriptors, signals, the
 * current folder. */
void mp_talk_start(void);

/* Waits for a message, or so long. Returns whether there is one, or an end. */
bool mp_talk_wait(int64_t ns);

/* Receives a message, a line without its end. Returns its length, 0 if there is none,
 * or -1 if there will be no more. */
int mp_talk_receive(char line[MP_TALK_LINE]);

/* Sends a line. Returns 0 or an errno. */
int mp_talk_send(const char *line);

#endif
