#ifndef _GNU_SOURCE
#    define _GNU_SOURCE
#endif
#include "posix/spawn.h"
#include "system.h"
#include "talk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of the first child, beside its caller's frames. */
#define CHILD_STACK_BYTES 16384

struct spawn_job {
    const struct mp_spawn *what;
    int error; /* written by the children, who share our memory */
};

/* Copies a descriptor out of the way of those that are to come. */
static int
move_up(int file)
{
    return file < 0 ? -1 : fcntl(file, F_DUPFD, MP_TALK_LIST + 1);
}

/* Puts a descriptor at that number; without one nothing is there. Returns 0 or an
 * errno. */
static int
put(int file, int number)
{
    if (file < 0) {
        (void)close(number);
        return 0;
    }
    return dup2(file, number) < 0 ? errno : 0;
}

/* Closes all descriptors but these, from Linux 5.9 on; before, the observer does. */
static void
close_others(const int kept[3])
{
    unsigned from = 0;
    unsigned next;
    do {
        next = UINT_MAX;
        for (int i = 0; i < 3; i++) {
            unsigned number = (unsigned)kept[i]; /* -1 is the highest */
            next = number >= from && number < next ? number : next;
        }
        if (next > from) {
            (void)syscall(SYS_close_range, from, next == UINT_MAX ? next : next - 1,
                          0U);
        }
        from = next + 1;
    } while (next != UINT_MAX);
}

/* In the second child: becomes the observer. Its table of descriptors is a copy. */
static void
execute(struct spawn_job *job)
{
    static char *const no_environment[] = {NULL};
    const struct mp_spawn *what = job->what;
    close_others((int[]){what->folder, what->socket, what->list});
    int folder = move_up(what->folder);
    int socket = move_up(what->socket);
    int list = move_up(what->list);
    int null = move_up(open("/dev/null", O_RDWR));
    int error = folder < 0 || socket < 0 ? errno : 0;
    for (int number = 0; error == 0 && number < MP_TALK_FOLDER; number++) {
        error = put(null, number);
    }
    error = error == 0 ? put(folder, MP_TALK_FOLDER) : error;
    error = error == 0 ? put(socket, MP_TALK_SOCKET) : error;
    error = error == 0 ? put(list, MP_TALK_LIST) : error;
    if (error == 0) {
        (void)setsid(); /* it leads no group: it has just been made */
        (void)execve(what->program, what->arguments, no_environment);
        error = errno;
    }
    job->error = error;
}

/* The first child, which ends at once: the second one is an orphan then. */
static int
fork_again(void *argument)
{
    struct spawn_job *job = argument;
    pid_t child = vfork();
    if (child == 0) {
        execute(job);
        _exit(127);
    }
    if (child < 0) {
        job->error = errno;
    }
    _exit(0);
}

/* The first child shares our memory and stands still for us, as after vfork(), and
 * gives no signal at its end: only who asks for such children by name, as here, hears
 * of it. A handler for a signal would run in our memory, so all are blocked; the
 * observer sets its mask itself. */
int
mp_spawn(const struct mp_spawn *what)
{
    _Alignas(16) char stack[CHILD_STACK_BYTES];
    struct spawn_job job = {what, 0};
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    int error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error != 0) {
        return error;
    }
    pid_t child = clone(fork_again, stack + sizeof stack, CLONE_VM | CLONE_VFORK, &job);
    error = child < 0 ? errno : 0;
    bool waited = child < 0;
    for (int i = 0; !waited && i < MP_MOST_INTERRUPTIONS; i++) {
        waited = waitpid(child, NULL, __WALL) >= 0 || errno != EINTR;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error != 0 ? error : job.error;
}
