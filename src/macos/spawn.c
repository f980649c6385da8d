#include "posix/spawn.h"
#include "talk.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

/* It makes an orphan of itself (macos/process.c): the process that is started here ends
 * at once, and is waited for. */
int
mp_spawn(const struct mp_spawn *what)
{
    static char *const no_environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t child;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) {
        return error;
    }
    error = posix_spawnattr_init(&attributes);
    if (error != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    error = posix_spawnattr_setflags(&attributes,
                                     POSIX_SPAWN_SETSID | POSIX_SPAWN_CLOEXEC_DEFAULT);
    for (int number = 0; error == 0 && number < MP_TALK_FOLDER; number++) {
        error =
            posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0);
    }
    /* What lies at one of these numbers must not be overwritten before it is copied. */
    int folder = fcntl(what->folder, F_DUPFD_CLOEXEC, MP_TALK_LIST + 1);
    int socket = fcntl(what->socket, F_DUPFD_CLOEXEC, MP_TALK_LIST + 1);
    if (error == 0 && (folder < 0 || socket < 0)) {
        error = errno;
    }
    if (error == 0) {
        error = posix_spawn_file_actions_adddup2(&actions, folder, MP_TALK_FOLDER);
    }
    if (error == 0) {
        error = posix_spawn_file_actions_adddup2(&actions, socket, MP_TALK_SOCKET);
    }
    if (error == 0) {
        error = posix_spawn(&child, what->program, &actions, &attributes,
                            what->arguments, no_environment);
    }
    if (folder >= 0) {
        (void)close(folder);
    }
    if (socket >= 0) {
        (void)close(socket);
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    while (error == 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    return error;
}
