#include "recorder.h"
#include "system.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How long anything here waits for the observer. */
#define WAIT_NS INT64_C(100000000)

static struct {
    mp_lock lock; /* guards all */
    struct mp_contact contact;
    char folder[MP_RECORDER_PATH]; /* "": nothing is recorded */
    uint64_t session;
    bool follows_process; /* forks and exit() call us */
} recorder;

/* In a forked child: the observer sees it, but it has no contact. Only this thread is
 * there, and another may have held the lock. */
static void
forget_in_child(void)
{
    mp_contact_end_in_child(&recorder.contact);
    memset(&recorder.lock, 0, sizeof recorder.lock);
}

void
mp_recorder_look(void)
{
    char what[MP_TALK_LINE];
    mp_lock_acquire(&recorder.lock);
    if (recorder.contact.file != 0 && !recorder.contact.unanswered) {
        (void)mp_contact_ask(&recorder.contact, "look", WAIT_NS, what);
    }
    mp_lock_release(&recorder.lock);
}

/* Lets the recorder see forks and exit(). Returns 0 or an errno. */
static int
follow_process(void)
{
    if (recorder.follows_process) {
        return 0;
    }
    int error = mp_contact_at_fork(forget_in_child);
    if (error == 0 && atexit(mp_recorder_look) != 0) {
        error = ENOMEM;
    }
    recorder.follows_process = error == 0;
    return error;
}

int
mp_recorder_start(const struct mp_contact_start *start, const char *folder,
                  char what[MP_TALK_LINE])
{
    what[0] = '\0';
    if (strlen(folder) >= sizeof recorder.folder) {
        return ENAMETOOLONG;
    }
    mp_lock_acquire(&recorder.lock);
    int error = 0;
    if (recorder.folder[0] != '\0' && strcmp(recorder.folder, folder) != 0) {
        error = MP_RECORDING;
    } else if (!mp_contact_lives(&recorder.contact)) {
        error = follow_process();
        if (error == 0) {
            mp_contact_end(&recorder.contact);
            error = mp_contact_start(&recorder.contact, start, what);
        }
        error = error == MP_OBSERVED ? 0 : error;
        if (error == 0) {
            strcpy(recorder.folder, folder);
            recorder.session = mp_contact_session();
        }
    }
    mp_lock_release(&recorder.lock);
    return error;
}

void
mp_recorder_folder(char folder[MP_RECORDER_PATH])
{
    mp_lock_acquire(&recorder.lock);
    strcpy(folder, recorder.folder);
    mp_lock_release(&recorder.lock);
}

int
mp_recorder_ask(const char *request, char what[MP_TALK_LINE])
{
    what[0] = '\0';
    mp_lock_acquire(&recorder.lock);
    int error = mp_contact_ask(&recorder.contact, request, WAIT_NS, what);
    mp_lock_release(&recorder.lock);
    return error;
}

int
mp_recorder_stop(char what[MP_TALK_LINE])
{
    int error = 0;
    what[0] = '\0';
    mp_lock_acquire(&recorder.lock);
    recorder.folder[0] = '\0';
    if (recorder.contact.file != 0) {
        error = mp_contact_ask(&recorder.contact, "stop", WAIT_NS, what);
        mp_contact_end(&recorder.contact);
    }
    mp_lock_release(&recorder.lock);
    return error;
}

bool
mp_recorder_left_session(void)
{
    mp_lock_acquire(&recorder.lock);
    bool left = recorder.folder[0] != '\0' && recorder.session != mp_contact_session();
    mp_lock_release(&recorder.lock);
    return left;
}
