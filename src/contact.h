/* A process's contact with the observer that it has started. A folder per family of
 * systems implements it. */
#ifndef MP_CONTACT_H
#define MP_CONTACT_H

#include "talk.h"

#include <stdbool.h>
#include <stdint.h>

#define MP_OBSERVED (-6) /* another observer does already what it was started for */

/* All zeros: none. */
struct mp_contact {
    intptr_t file;  /* descriptor + 1; on Windows the handle that is read from */
    intptr_t other; /* on Windows that which is written to */
    uint64_t device;
    uint64_t inode;
    uint64_t process; /* whose contact it is: not that of a forked child */
    uint32_t number;  /* of the last request */
    bool unanswered;  /* it was */
};

/* What an observer is started with. */
struct mp_contact_start {
    const char *program;
    char *const *arguments;
    const char *path; /* of the folder */
    int folder;       /* an open descriptor of it; on Windows there is none */
    int list;         /* -1: none */
};

/* Starts an observer and waits for its first word, a second at most. Returns 0,
 * MP_OBSERVED, or an errno; then nothing is left of it, and `what` says whose error it
 * is, if not the program's. */
int mp_contact_start(struct mp_contact *contact, const struct mp_contact_start *start,
                     char what[MP_TALK_LINE]);

/* Sends a request and waits for the answer, at most so long. Returns 0, EPIPE if there
 * is no contact any more, ETIMEDOUT, or the errno of the answer, `what` whose it is. */
int mp_contact_ask(struct mp_contact *contact, const char *request, int64_t wait_ns,
                   char what[MP_TALK_LINE]);

/* Is the observer there yet? */
bool mp_contact_lives(const struct mp_contact *contact);

/* Ends the contact, which is no reason for the observer to end. */
void mp_contact_end(struct mp_contact *contact);

/* What the first word of an observer comes to, whose length was returned by whoever
 * waited for it. Returns as mp_contact_start does; `line` becomes what it is to say. */
int mp_contact_first_word(int length, char line[MP_TALK_LINE]);

/* Is that line the answer to the request of this number? Those to earlier ones come
 * before it. *error and `what` are then as mp_contact_ask returns them. */
bool mp_contact_is_answer(const char *line, uint32_t number, int *error,
                          char what[MP_TALK_LINE]);

/* The same in a forked child, where it is its parent's. */
void mp_contact_end_in_child(struct mp_contact *contact);

/* Has a function called in each child of fork(). Returns 0 or an errno. */
int mp_contact_at_fork(void (*in_child)(void));

/* The session that this process is in; 0 where there are none. */
uint64_t mp_contact_session(void);

#endif
