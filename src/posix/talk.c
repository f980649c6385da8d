#define _GNU_SOURCE
#include "talk.h"
#include "line.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static bool ended;

static void
close_from(int first)
{
    /* Not all numbers up to the limit: that may be a thousand million. */
    DIR *open_files = opendir("/dev/fd");
    const struct dirent *name;
    while (open_files != NULL && (name = readdir(open_files)) != NULL) {
        int file = atoi(name->d_name);
        if (file >= first && file != dirfd(open_files)) {
            (void)close(file);
        }
    }
    if (open_files != NULL) {
        (void)closedir(open_files);
    }
}

void
mp_talk_start(void)
{
    /* It ends by itself, with the last of the family or when it is told to: these are
     * meant for the program, and a limit of its own must not end it. */
    static const int ignored[] = {SIGTERM, SIGINT,  SIGHUP,  SIGQUIT,
                                  SIGPIPE, SIGXFSZ, SIGXCPU, SIGTSTP};
    sigset_t none;
    struct rlimit no_core = {0, 0};
    for (int number = 1; number < NSIG; number++) {
        (void)signal(number, SIG_DFL); /* fails for those that can't be handled */
    }
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        (void)signal(ignored[i], SIG_IGN);
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    close_from(MP_TALK_LIST + 1);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)umask(S_IRWXG | S_IRWXO);
    if (chdir("/") != 0) {
        /* It is somewhere, then, and uses no path that depends on it. */
    }
}

bool
mp_talk_wait(int64_t ns)
{
    struct pollfd socket = {.fd = ended ? -1 : MP_TALK_SOCKET, .events = POLLIN};
    int milliseconds = (int)((ns + 999999) / 1000000);
    return poll(&socket, 1, milliseconds) > 0; /* early or late: the clock is asked */
}

int
mp_talk_receive(char line[MP_TALK_LINE])
{
    int length = ended ? -1 : mp_line_receive(MP_TALK_SOCKET, line);
    if (length < 0 && !ended) {
        ended = true;
        (void)close(MP_TALK_SOCKET);
    }
    return length;
}

int
mp_talk_send(const char *line)
{
    char text[MP_TALK_LINE];
    int length = snprintf(text, sizeof text, "%s\n", line);
    if (length < 0 || (size_t)length >= sizeof text) {
        length = (int)sizeof text - 1;
    }
    ssize_t sent;
    do {
        sent = send(MP_TALK_SOCKET, text, (size_t)length, MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent == length ? 0 : sent < 0 ? errno : EIO;
}
