#ifndef _GNU_SOURCE
#    define _GNU_SOURCE
#endif
#include "contact.h"
#include "line.h"
#include "spawn.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_WORD_NS INT64_C(1000000000)

#if !defined(MSG_NOSIGNAL)
#    define MSG_NOSIGNAL 0 /* macOS: SO_NOSIGPIPE */
#endif

/* Messages stay apart in it where the system has that. */
#if defined(__APPLE__)
#    define SOCKET_TYPE SOCK_STREAM
#else
#    define SOCKET_TYPE (SOCK_SEQPACKET | SOCK_CLOEXEC)
#endif

/* Sets what no system forgets to set at once. Returns 0 or an errno. */
static int
prepare_socket(int file)
{
    int flags = fcntl(file, F_GETFD);
    if (flags < 0 || fcntl(file, F_SETFD, flags | FD_CLOEXEC) < 0) {
        return errno;
    }
#if defined(SO_NOSIGPIPE)
    int on = 1;
    if (setsockopt(file, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on) != 0) {
        return errno;
    }
#endif
    return 0;
}

/* A program that has closed 0 to 2 is about to open its own there. Returns 0 or an
 * errno. */
static int
move_above_standard(int *file)
{
    if (*file > STDERR_FILENO) {
        return 0;
    }
    int higher = fcntl(*file, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int error = higher < 0 ? errno : 0;
    if (error == 0) {
        (void)close(*file);
        *file = higher;
    }
    return error;
}

static int
socket_of(const struct mp_contact *contact)
{
    return (int)contact->file - 1;
}

/* Is the number still that of our end? It may have been closed and be somebody else's.
 */
static bool
is_same_file(const struct mp_contact *contact)
{
    struct stat now;
    return contact->file != 0 && fstat(socket_of(contact), &now) == 0 &&
           (uint64_t)now.st_dev == contact->device &&
           (uint64_t)now.st_ino == contact->inode;
}

static bool
is_own_contact(const struct mp_contact *contact)
{
    return contact->process == mp_process_id() && is_same_file(contact);
}

/* Waits for a line until that time. Returns its length, 0 if there was none until then,
 * or -1 if there will be none. */
static int
hear(const struct mp_contact *contact, int64_t until_ns, char line[MP_TALK_LINE])
{
    int length;
    int64_t rest_ns;
    while ((length = mp_line_receive(socket_of(contact), line)) == 0 &&
           (rest_ns = until_ns - mp_clock_ns()) > 0) {
        struct pollfd end = {.fd = socket_of(contact), .events = POLLIN};
        (void)poll(&end, 1, (int)((rest_ns + 999999) / 1000000));
    }
    return length;
}

int
mp_contact_start(struct mp_contact *contact, const struct mp_contact_start *start,
                 char what[MP_TALK_LINE])
{
    int ends[2];
    struct stat found;
    what[0] = '\0';
    if (socketpair(AF_UNIX, SOCKET_TYPE, 0, ends) != 0) {
        return errno;
    }
    int error = prepare_socket(ends[0]);
    if (error == 0) {
        error = prepare_socket(ends[1]);
    }
    if (error == 0) {
        error = move_above_standard(&ends[0]);
    }
    if (error == 0 && fstat(ends[0], &found) != 0) {
        error = errno;
    }
    if (error == 0) {
        struct mp_spawn spawn = {start->program, start->arguments, start->folder,
                                 ends[1], start->list};
        error = mp_spawn(&spawn);
    }
    (void)close(ends[1]);
    if (error != 0) {
        (void)close(ends[0]);
        return error;
    }
    *contact = (struct mp_contact){
        .file = ends[0] + 1,
        .device = (uint64_t)found.st_dev,
        .inode = (uint64_t)found.st_ino,
        .process = mp_process_id(),
    };
    error =
        mp_contact_first_word(hear(contact, mp_clock_ns() + FIRST_WORD_NS, what), what);
    if (error != 0) {
        mp_contact_end(contact); /* it ends when it notices that */
    }
    return error;
}

int
mp_contact_ask(struct mp_contact *contact, const char *request, int64_t wait_ns,
               char what[MP_TALK_LINE])
{
    char line[MP_TALK_LINE];
    what[0] = '\0';
    if (!is_own_contact(contact)) {
        return EPIPE;
    }
    int64_t until_ns = mp_clock_ns() + wait_ns;
    uint32_t number = ++contact->number;
    int length = snprintf(line, sizeof line, "%s %u\n", request, number);
    if (length < 0 || (size_t)length >= sizeof line) {
        return EMSGSIZE;
    }
    ssize_t sent =
        send(socket_of(contact), line, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        /* Full: it hasn't read for a long time. */
        return errno == EAGAIN || errno == EWOULDBLOCK ? ETIMEDOUT : EPIPE;
    }
    contact->unanswered = true;
    int error = 0;
    while ((length = hear(contact, until_ns, line)) > 0) {
        if (mp_contact_is_answer(line, number, &error, what)) {
            contact->unanswered = false;
            return error;
        }
    }
    return length == 0 ? ETIMEDOUT : EPIPE;
}

void
mp_contact_end(struct mp_contact *contact)
{
    if (is_own_contact(contact)) {
        (void)close(socket_of(contact));
    }
    *contact = (struct mp_contact){0};
}

void
mp_contact_end_in_child(struct mp_contact *contact)
{
    if (is_same_file(contact)) {
        (void)close(socket_of(contact));
    }
    *contact = (struct mp_contact){0};
}

bool
mp_contact_lives(const struct mp_contact *contact)
{
    char byte;
    return is_own_contact(contact) &&
           recv(socket_of(contact), &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
}

int
mp_contact_at_fork(void (*in_child)(void))
{
    return pthread_atfork(NULL, NULL, in_child);
}

uint64_t
mp_contact_session(void)
{
    return (uint64_t)getsid(0);
}
