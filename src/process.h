/* Other processes, read from outside: what a system must provide to the observer. A
 * folder per system implements it. For a program with one thread. Numbers of processes
 * are those that the system's list of them (/proc) has. */
#ifndef MP_PROCESS_H
#define MP_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_PROCESS_UNKNOWN UINT64_MAX

/* Prepares the readings; `list` is an open descriptor of /proc, if it is one. Returns 0
 * or an errno. It comes before all others. */
int mp_processes_start(int list);

/* May this descriptor stay open? Some numbers stay free for what is opened for a
 * moment.
 */
bool mp_processes_may_keep(int descriptor);

/* Nanoseconds since the system started, which go on during a suspend if the system
 * has such a clock. */
int64_t mp_process_clock_ns(void);

/* What tells a process from others, and whose child it is. */
struct mp_process_identity {
    uint32_t pid;
    uint32_t parent;
    uint64_t start;     /* a number that doesn't change as long as it lives */
    int64_t started_ns; /* of mp_process_clock_ns() */
    bool observer;      /* it is one, or was; two would wait for each other's end */
    bool zombie;        /* it has ended, and its parent hasn't asked for its status */
};

/* Looks at a process by its number, which may be a thread's, too. Returns 0, ESRCH if
 * there is none, or an errno. */
int mp_process_identify(uint32_t pid, struct mp_process_identity *identity);

/* A list of numbers that may be new processes': those that came since the last call, or
 * that couldn't be asked then; now and then all. It is valid until the next call. */
size_t mp_processes_new(const uint32_t **pids);

/* Says of a number of that list that it is to be asked again at the next call. Returns
 * false if that was tried often enough. */
bool mp_processes_ask_again(uint32_t pid);

/* Says that a process isn't wanted, so that it isn't listed any more. */
void mp_processes_unwanted(uint32_t pid);

/* Makes the next list one of all processes that are there. */
void mp_processes_ask_all(void);

/* Opens memory that a process shares by a descriptor of its own. *opened is a
 * descriptor + 1. Returns 0 or an errno: ENOTSUP where that can't be had. */
int mp_process_open_memory(uint32_t pid, int descriptor, intptr_t *opened,
                           uint64_t *bytes);

/* A process that is being observed. */
struct mp_process {
    uint32_t pid;
    uint64_t start;
    uint32_t thread; /* the one that is asked for RSS, if not 0: the first has ended */
    uint32_t lender; /* the parent, as long as it may run in that one's memory */
    intptr_t handle; /* descriptor + 1 */
    int statm;       /* descriptor + 1 */
};

/* Begins with the process that was identified so. Keeps two descriptors open, or what
 * mp_processes_may_keep() allows. Returns 0, ESRCH if it has gone, EINVAL if it is a
 * thread, or an errno. */
int mp_process_open(struct mp_process *process, const struct mp_process_identity *who);

void mp_process_close(struct mp_process *process);

/* Reads RSS and the part of it that is shared, in pages. Returns 0, ESRCH once there is
 * no such process any more, ENODATA if it has no memory, as one that has ended, EAGAIN
 * if it runs in its parent's, as between vfork and exec, or an errno. */
int mp_process_read(struct mp_process *process, uint64_t *pages, uint64_t *shared);

/* What is read less often; what isn't known is MP_PROCESS_UNKNOWN. */
struct mp_process_details {
    uint64_t peak; /* the kernel's high-water mark of RSS, in bytes */
    uint64_t swap; /* bytes */
    uint64_t parent;
    uint64_t user; /* as which it acts */
    uint64_t pss;  /* bytes */
    uint64_t uss;  /* bytes */
};

/* Reads all but the last two. */
void mp_process_read_details(const struct mp_process *process,
                             struct mp_process_details *details);

/* Reads these, which takes milliseconds for a large process. */
void mp_process_read_pss(const struct mp_process *process,
                         struct mp_process_details *details);

/* Reads the command line, each argument with a NUL at its end; of one that has none the
 * program's name. Returns its length, 0 if nothing can be read. */
size_t mp_process_command(const struct mp_process *process, char *to, size_t room);

/* Finds the name of a user; "" if that isn't known. */
void mp_user_name(uint64_t user, char *name, size_t room);

enum mp_process_state {
    MP_PROCESS_LIVES,
    MP_PROCESS_ENDED, /* its number isn't free yet: what isn't known may be later */
    MP_PROCESS_GONE,
};

/* What the low 7 bits of a status are after SIGKILL. */
#define MP_PROCESS_KILLED 9

/* Has it ended? If it has, and the system tells how, *status is as from waitpid, with
 * as many bits as the exit status has, and *known is set. */
enum mp_process_state mp_process_end(struct mp_process *process, int64_t *status,
                                     bool *known);

/* What is the same for all processes here. */
struct mp_machine {
    uint8_t boot[16]; /* an id of this start of the system; zeros if there is none */
    uint64_t pid_namespace; /* UINT64_MAX: not known */
    uint64_t page_size;
    uint64_t memory; /* bytes */
    char host[256];
};

void mp_machine_read(struct mp_machine *machine);

#endif
