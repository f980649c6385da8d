/* Makes system calls of memprobe fail, by ptrace: a library for injected.py. The
 * process that loads it forks one that it watches, so no privileges are needed.
 *
 * A call is memprobe's if an address of its code is near the top of the stack; Python's
 * own are let alone. It is named by
 * - the phase, which the process says by getpgid(FIRST_PHASE + phase): 0 is the test's
 *   own, in which nothing fails; SIGURG ends it, which is seen without a stop at each
 *   call,
 * - the process, by order of birth, and the thread within it (a thread's own calls are
 *   of phase 0, as they come whenever they come),
 * - its number, and how often it was made so. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FIRST_PHASE 0x70000000
#define UNKNOWN_PHASE (-1)
#define MOST_TASKS 256
#define MOST_COUNTS 1024
#define STACK_BYTES 4096 /* in which memprobe's code is looked for */

enum mode {
    LIST,   /* nothing: count */
    FAIL,   /* the call isn't made, and fails with the errno `value` */
    LIE,    /* the call is made, and seems to fail with the errno `value` */
    SHORT,  /* its third argument, a size, is at most `value` */
    FREEZE, /* it is made after `value` milliseconds; 0: never */
};

struct plan {
    int mode;
    int forever; /* from the chosen call on, whoever makes it */
    int phase, process, thread, call, occurrence;
    int value;
    double seconds;      /* that the process may take */
    uint64_t begin, end; /* memprobe's code */
};

struct count {
    int phase, process, thread, call, number;
};

struct outcome {
    int status; /* of the process, as waitpid has it */
    int hits;   /* how many calls were tampered with */
    int timed_out;
    int fatal; /* the first signal that a process gets from a fault of its own, or 0 */
    int phase; /* the last one of the process */
    int call;  /* the last one of the first thread */
    int counts;
    struct count count[MOST_COUNTS];
};

struct task {
    pid_t id;
    int process, thread;
    int call;      /* that it is in */
    int tampering; /* its mode, while it is in the call */
    uint64_t size; /* before it was made shorter */
    double until;  /* frozen to there */
    bool alive, stopped_once;
};

static struct task tasks[MOST_TASKS];
static int task_count;
static pid_t groups[MOST_TASKS]; /* of the processes */
static int phases[MOST_TASKS];
static int threads[MOST_TASKS];
static int process_count;
static const struct plan *plan;
static struct outcome *outcome;

static double
now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* What depends on the machine */

#if defined(__x86_64__)
typedef struct user_regs_struct registers;

static void
set_call(pid_t id, registers *values, int call)
{
    (void)id;
    values->orig_rax = (unsigned long long)call;
}

static void
set_result(registers *values, long result)
{
    values->rax = (unsigned long long)result;
}

static void
set_size(registers *values, uint64_t size)
{
    values->rdx = size;
}
#elif defined(__aarch64__)
typedef struct user_regs_struct registers;

static void
set_call(pid_t id, registers *values, int call)
{
    (void)values;
    struct iovec part = {&call, sizeof call};
    (void)ptrace(PTRACE_SETREGSET, id, NT_ARM_SYSTEM_CALL, &part);
}

static void
set_result(registers *values, long result)
{
    values->regs[0] = (unsigned long long)result;
}

static void
set_size(registers *values, uint64_t size)
{
    values->regs[2] = size;
}
#else
#    error "the registers of this machine are not known here"
#endif

static void
get_registers(pid_t id, registers *values)
{
    struct iovec part = {values, sizeof *values};
    (void)ptrace(PTRACE_GETREGSET, id, NT_PRSTATUS, &part);
}

static void
set_registers(pid_t id, registers *values)
{
    struct iovec part = {values, sizeof *values};
    (void)ptrace(PTRACE_SETREGSET, id, NT_PRSTATUS, &part);
}

/* Tasks, which are threads or processes */

static struct task *
find(pid_t id)
{
    for (int i = 0; i < task_count; i++) {
        if (tasks[i].alive && tasks[i].id == id) {
            return &tasks[i];
        }
    }
    return NULL;
}

static pid_t
group_of(pid_t id)
{
    char path[64], line[256];
    (void)snprintf(path, sizeof path, "/proc/%d/status", id);
    FILE *file = fopen(path, "r");
    int group = id;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Tgid: %d", &group) == 1) {
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return group;
}

/* `parent` is who made it, or NULL if that isn't known yet: a new task may stop before
 * the call that made it says so. */
static struct task *
add(pid_t id, const struct task *parent)
{
    struct task *task = find(id);
    if (task == NULL && task_count < MOST_TASKS) {
        task = &tasks[task_count++];
        *task = (struct task){.id = id, .alive = true};
        pid_t group = group_of(id);
        int process = 0;
        while (process < process_count && groups[process] != group) {
            process++;
        }
        if (process == process_count) {
            process_count++;
            groups[process] = group;
            threads[process] = 0;
            phases[process] = 0;
        }
        task->process = process;
        task->thread = threads[process]++;
    }
    if (task != NULL && parent != NULL && task->process != parent->process) {
        phases[task->process] = phases[parent->process];
    }
    return task;
}

static void
go_on(const struct task *task, int signal)
{
    bool quiet = task->thread == 0 && phases[task->process] == 0;
    (void)ptrace(quiet ? PTRACE_CONT : PTRACE_SYSCALL, task->id, 0, signal);
}

static void
set_phase(const struct task *task, int phase)
{
    phases[task->process] = phase;
    if (phase > 0 && task->process == 0) {
        outcome->phase = phase;
    }
}

/* Which call it is */

static bool
is_memprobes(const struct task *task, uint64_t stack)
{
    uint64_t words[STACK_BYTES / sizeof(uint64_t)];
    uint64_t first = 4096 - stack % 4096; /* the next page may not be there */
    if (first > sizeof words) {
        first = sizeof words;
    }
    struct iovec to[] = {{words, first}, {(char *)words + first, sizeof words - first}};
    struct iovec from[] = {{(void *)stack, first},
                           {(void *)(stack + first), sizeof words - first}};
    ssize_t got = process_vm_readv(task->id, to, 2, from, 2, 0);
    for (ssize_t i = 0; i < got / (ssize_t)sizeof *words; i++) {
        if (words[i] >= plan->begin && words[i] < plan->end) {
            return true;
        }
    }
    return false;
}

/* Counts the call; returns how often it was made. */
static int
counted(int phase, const struct task *task)
{
    struct count *count = outcome->count;
    struct count *end = count + outcome->counts;
    while (count < end &&
           (count->phase != phase || count->call != task->call ||
            count->process != task->process || count->thread != task->thread)) {
        count++;
    }
    if (count == end) {
        if (outcome->counts == MOST_COUNTS) {
            return 0;
        }
        outcome->counts++;
        *count = (struct count){phase, task->process, task->thread, task->call, 0};
    }
    return ++count->number;
}

static bool
is_chosen(struct task *task, uint64_t stack, uint64_t operation)
{
    int phase = task->thread == 0 ? phases[task->process] : 0;
    if ((task->thread == 0 && phase <= 0) || !is_memprobes(task, stack) ||
        (task->call == SYS_futex && ((int)operation & FUTEX_CMD_MASK) == FUTEX_WAKE)) {
        return false; /* whoever wakes another can't fail, and the C library knows it */
    }
    int number = counted(phase, task);
    if (plan->mode == LIST || task->call != plan->call) {
        return false;
    }
    if (outcome->hits > 0) {
        return plan->forever;
    }
    return phase == plan->phase && task->process == plan->process &&
           task->thread == plan->thread && number == plan->occurrence;
}

static void
tamper(struct task *task, uint64_t size)
{
    outcome->hits++;
    task->tampering = plan->mode;
    registers values;
    get_registers(task->id, &values);
    if (plan->mode == FAIL) {
        set_call(task->id, &values, -1);
        set_registers(task->id, &values);
    } else if (plan->mode == SHORT && size > (uint64_t)plan->value) {
        task->size = size;
        set_size(&values, (uint64_t)plan->value);
        set_registers(task->id, &values);
    } else if (plan->mode == FREEZE) {
        task->until = plan->value == 0 ? 1e18 : now() + plan->value / 1e3;
    }
}

static void
at_entry(struct task *task, const struct __ptrace_syscall_info *info)
{
    task->call = (int)info->entry.nr;
    uint64_t argument = info->entry.args[0];
    if (task->call == SYS_getpgid && argument >= FIRST_PHASE) {
        set_phase(task, (int)(argument - FIRST_PHASE));
    } else if (is_chosen(task, info->stack_pointer, info->entry.args[1])) {
        tamper(task, info->entry.args[2]);
    }
    if (task->until == 0) {
        go_on(task, 0);
    }
}

static void
at_exit(struct task *task)
{
    if (task->tampering == FAIL || task->tampering == LIE || task->size != 0) {
        registers values;
        get_registers(task->id, &values);
        if (task->tampering == SHORT) {
            set_size(&values, task->size);
        } else {
            set_result(&values, -plan->value);
        }
        set_registers(task->id, &values);
    }
    task->tampering = 0;
    task->size = 0;
    go_on(task, 0);
}

static void
at_signal(struct task *task, int signal)
{
    if (signal == SIGSTOP && !task->stopped_once) {
        task->stopped_once = true; /* as each new task does */
        signal = 0;
    } else if (signal == SIGURG) {
        set_phase(task, UNKNOWN_PHASE);
        signal = 0;
    }
    if ((signal == SIGSEGV || signal == SIGABRT || signal == SIGBUS) &&
        outcome->fatal == 0) {
        outcome->fatal = signal;
    }
    go_on(task, signal);
}

static void
at_stop(struct task *task, int status)
{
    int event = status >> 16;
    struct __ptrace_syscall_info info;
    memset(&info, 0, sizeof info);
    if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
        (void)ptrace(PTRACE_GET_SYSCALL_INFO, task->id, sizeof info, &info);
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
            at_entry(task, &info);
        } else {
            at_exit(task);
        }
    } else if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK ||
               event == PTRACE_EVENT_VFORK) {
        unsigned long id = 0;
        (void)ptrace(PTRACE_GETEVENTMSG, task->id, 0, &id);
        (void)add((pid_t)id, task);
        go_on(task, 0);
    } else if (event != 0) {
        set_phase(task, 0); /* another program, which isn't memprobe's code */
        go_on(task, 0);
    } else {
        at_signal(task, WSTOPSIG(status));
    }
}

static void
thaw(void)
{
    for (int i = 0; i < task_count; i++) {
        if (tasks[i].alive && tasks[i].until != 0 && now() > tasks[i].until) {
            tasks[i].until = 0;
            go_on(&tasks[i], 0);
        }
    }
}

static void
kill_all(void)
{
    for (int i = 0; i < task_count; i++) {
        if (tasks[i].alive) { /* else the number may be somebody else's by now */
            (void)kill(tasks[i].id, SIGKILL);
        }
    }
    while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR) {
    }
}

static void
on_alarm(int signal)
{
    (void)signal;
}

/* In the process that is to be watched: waits until it is. Returns 0 or an errno. */
int
inject_begin(void)
{
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) {
        return errno;
    }
    return raise(SIGSTOP);
}

/* In its parent, which has no other children: watches it and its descendants to their
 * end. Returns 0 or an errno. */
int
inject_watch(pid_t id, const struct plan *wanted, struct outcome *result)
{
    plan = wanted;
    outcome = result;
    memset(outcome, 0, sizeof *outcome);
    task_count = process_count = 0;
    int status;
    if (waitpid(id, &status, 0) != id || !WIFSTOPPED(status) ||
        ptrace(PTRACE_SETOPTIONS, id, 0,
               PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
                   PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) != 0) {
        return errno;
    }
    struct task *first = add(id, NULL);
    first->stopped_once = true;
    double end = now() + plan->seconds;
    struct sigaction handler = {.sa_handler = on_alarm}, handler_before;
    (void)sigaction(SIGALRM, &handler, &handler_before);
    struct itimerval often = {{0, 10000}, {0, 10000}}, never = {{0, 0}, {0, 0}};
    (void)setitimer(ITIMER_REAL, &often, NULL);
    go_on(first, 0);
    /* A frozen thread of a process that has ended is a child no more. */
    while (!outcome->timed_out) {
        pid_t stopped = waitpid(-1, &status, __WALL);
        if (stopped < 0 && errno != EINTR) {
            break;
        }
        thaw();
        outcome->timed_out = now() > end;
        struct task *task = stopped < 0 ? NULL : find(stopped);
        if (stopped > 0 && WIFSTOPPED(status)) {
            task = task == NULL ? add(stopped, NULL) : task;
            if (task != NULL) {
                at_stop(task, status);
            }
        } else if (task != NULL) {
            task->alive = false;
            if (stopped == id) {
                outcome->status = status;
            }
        }
    }
    (void)setitimer(ITIMER_REAL, &never, NULL);
    (void)sigaction(SIGALRM, &handler_before, NULL);
    outcome->call = first->call;
    if (outcome->timed_out) {
        kill_all();
    }
    return 0;
}
