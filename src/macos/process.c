#include "process.h"
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <libproc.h>
#include <limits.h>
#include <mach/mach_time.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/proc.h>
#include <sys/resource.h>
#include <sys/sysctl.h>
#include <time.h>
#include <unistd.h>

/* The highest is PID_MAX in bsd/sys/proc_internal.h; they come round again. */
#define MOST_NUMBERS 100000
#define ASK_ALL_NS INT64_C(10000000000)

#define FREE_DESCRIPTORS 8

static struct {
    int most_descriptors;
    pid_t *all;
    size_t room;
    uint32_t *pids;
    int64_t cleared_ns;
    uint8_t unwanted[MOST_NUMBERS / 8 + 1];
} processes;

int64_t
mp_process_clock_ns(void)
{
    return (int64_t)clock_gettime_nsec_np(CLOCK_MONOTONIC_RAW); /* goes on in a sleep */
}

bool
mp_processes_may_keep(int descriptor)
{
    return descriptor < processes.most_descriptors - FREE_DESCRIPTORS;
}

/* Whoever has started this process waits for its end. The child, which goes on, is
 * nobody's but launchd's. */
static int
become_orphan(void)
{
    pid_t child = fork();
    if (child < 0) {
        return errno;
    }
    if (child > 0) {
        _exit(0);
    }
    return 0;
}

int
mp_processes_start(int list)
{
    (void)list;
    struct rlimit limit;
    processes.most_descriptors = 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        /* setrlimit refuses more than OPEN_MAX. */
        limit.rlim_cur = limit.rlim_max < OPEN_MAX ? limit.rlim_max : OPEN_MAX;
        if (setrlimit(RLIMIT_NOFILE, &limit) == 0) {
            processes.most_descriptors = (int)limit.rlim_cur;
        }
    }
    return become_orphan();
}

size_t
mp_processes_new(const uint32_t **pids)
{
    size_t count = 0;
    int64_t now_ns = mp_process_clock_ns();
    if (now_ns - processes.cleared_ns > ASK_ALL_NS) {
        processes.cleared_ns = now_ns;
        memset(processes.unwanted, 0, sizeof processes.unwanted);
    }
    int there = proc_listallpids(NULL, 0);
    size_t room = there > 0 ? (size_t)there + 64 : 0;
    if (room > processes.room) {
        free(processes.all);
        free(processes.pids);
        processes.all = malloc(room * sizeof *processes.all);
        processes.pids = malloc(room * sizeof *processes.pids);
        processes.room = processes.all != NULL && processes.pids != NULL ? room : 0;
    }
    if (processes.room > 0) {
        there = proc_listallpids(processes.all,
                                 (int)(processes.room * sizeof *processes.all));
        for (int i = 0; i < there; i++) {
            uint32_t pid = (uint32_t)processes.all[i];
            if (pid > 0 && pid < MOST_NUMBERS &&
                (processes.unwanted[pid / 8] >> pid % 8 & 1) == 0) {
                processes.pids[count++] = pid;
            }
        }
    }
    *pids = processes.pids;
    return count;
}

/* All are listed each time. */
bool
mp_processes_ask_again(uint32_t pid)
{
    (void)pid;
    return true;
}

void
mp_processes_unwanted(uint32_t pid)
{
    if (pid < MOST_NUMBERS) {
        processes.unwanted[pid / 8] |= (uint8_t)(1 << pid % 8);
    }
}

void
mp_processes_ask_all(void)
{
    processes.cleared_ns = 0;
}

int
mp_process_identify(uint32_t pid, struct mp_process_identity *identity)
{
    struct proc_bsdinfo info;
    int bytes = proc_pidinfo((int)pid, PROC_PIDTBSDINFO, 0, &info, sizeof info);
    if (bytes != (int)sizeof info) {
        return bytes < 0 || errno == 0 ? EIO : errno;
    }
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) {
        return errno;
    }
    uint64_t now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    uint64_t start_us = info.pbi_start_tvsec * 1000000 + info.pbi_start_tvusec;
    identity->pid = pid;
    identity->parent = info.pbi_ppid;
    identity->start = start_us;
    identity->started_ns = mp_process_clock_ns() - (int64_t)(now_us - start_us) * 1000;
    identity->zombie = info.pbi_status == SZOMB;
    identity->observer = strcmp(info.pbi_comm, "_observer") == 0;
    return 0;
}

int
mp_process_open(struct mp_process *process, const struct mp_process_identity *who)
{
    *process = (struct mp_process){.pid = who->pid, .start = who->start};
    return 0;
}

void
mp_process_close(struct mp_process *process)
{
    (void)process;
}

/* Its number may have been given away since the last look. */
static int
check(const struct mp_process *process)
{
    struct mp_process_identity who;
    int error = mp_process_identify(process->pid, &who);
    if (error != 0) {
        return error;
    }
    if (who.start != process->start) {
        return ESRCH;
    }
    return who.zombie ? ENODATA : 0;
}

int
mp_process_read(struct mp_process *process, uint64_t *pages, uint64_t *shared)
{
    struct rusage_info_v2 usage;
    int error = check(process);
    if (error != 0) {
        return error;
    }
    if (proc_pid_rusage((int)process->pid, RUSAGE_INFO_V2, (rusage_info_t *)&usage) !=
        0) {
        return errno;
    }
    *pages = usage.ri_resident_size / (uint64_t)getpagesize();
    *shared = MP_PROCESS_UNKNOWN;
    return *pages == 0 ? ENODATA : 0;
}

void
mp_process_read_details(const struct mp_process *process,
                        struct mp_process_details *details)
{
    struct proc_bsdinfo info;
    details->peak = MP_PROCESS_UNKNOWN;
    details->swap = MP_PROCESS_UNKNOWN;
    details->parent = MP_PROCESS_UNKNOWN;
    details->user = MP_PROCESS_UNKNOWN;
    if (proc_pidinfo((int)process->pid, PROC_PIDTBSDINFO, 0, &info, sizeof info) ==
        (int)sizeof info) {
        details->parent = info.pbi_ppid;
        details->user = info.pbi_uid;
    }
}

void
mp_process_read_pss(const struct mp_process *process,
                    struct mp_process_details *details)
{
    (void)process;
    details->pss = MP_PROCESS_UNKNOWN;
    details->uss = MP_PROCESS_UNKNOWN;
}

/* KERN_PROCARGS2: the number of arguments, the path, NULs up to an alignment, then the
 * arguments, each with a NUL behind it. */
size_t
mp_process_command(const struct mp_process *process, char *to, size_t room)
{
    static char text[65536];
    int name[] = {CTL_KERN, KERN_PROCARGS2, (int)process->pid};
    size_t length = sizeof text;
    int count;
    if (sysctl(name, 3, text, &length, NULL, 0) != 0 || length <= sizeof count) {
        return 0;
    }
    memcpy(&count, text, sizeof count);
    size_t at = sizeof count;
    at += strnlen(text + at, length - at);
    while (at < length && text[at] == '\0') {
        at++;
    }
    size_t end = at;
    for (; count > 0 && end < length; count--) {
        end += strnlen(text + end, length - end);
        end += end < length;
    }
    size_t bytes = end - at < room ? end - at : room;
    memcpy(to, text + at, bytes);
    return bytes;
}

void
mp_user_name(uint64_t user, char *name, size_t room)
{
    const struct passwd *entry = getpwuid((uid_t)user);
    (void)snprintf(name, room, "%s", entry == NULL ? "" : entry->pw_name);
}

/* Only its parent is told how a process has ended. */
enum mp_process_state
mp_process_end(struct mp_process *process, int64_t *status, bool *known)
{
    int error = check(process);
    *status = 0;
    *known = false;
    return error == ESRCH     ? MP_PROCESS_GONE
           : error == ENODATA ? MP_PROCESS_ENDED
                              : MP_PROCESS_LIVES;
}

void
mp_machine_read(struct mp_machine *machine)
{
    char boot[64] = "";
    size_t length = sizeof boot - 1;
    memset(machine, 0, sizeof *machine);
    machine->pid_namespace = UINT64_MAX;
    machine->page_size = (uint64_t)getpagesize();
    if (sysctlbyname("kern.bootsessionuuid", boot, &length, NULL, 0) == 0) {
        size_t digits = 0;
        for (const char *at = boot; *at != '\0' && digits < 32; at++) {
            static const char hex[] = "0123456789ABCDEF";
            const char *digit = strchr(hex, *at);
            if (digit != NULL) {
                uint8_t *byte = &machine->boot[digits / 2];
                *byte = (uint8_t)(*byte * 16 + (digit - hex));
                digits++;
            }
        }
    }
    length = sizeof machine->memory;
    if (sysctlbyname("hw.memsize", &machine->memory, &length, NULL, 0) != 0) {
        machine->memory = UINT64_MAX;
    }
    if (gethostname(machine->host, sizeof machine->host - 1) != 0) {
        machine->host[0] = '\0';
    }
}

/* There are no groups of processes with a limit of memory. */
int
mp_cgroup_of(uint32_t pid)
{
    (void)pid;
    return MP_CGROUP_NONE;
}

int
mp_cgroup_count(void)
{
    return 0;
}

void
mp_cgroup_read(int group, int64_t now_ns, int64_t old_ns,
               struct mp_cgroup_memory *memory)
{
    (void)group;
    (void)now_ns;
    (void)old_ns;
    memory->usage = UINT64_MAX;
    memory->limit = UINT64_MAX;
}

uint64_t
mp_cgroup_oom_kills(int group)
{
    (void)group;
    return UINT64_MAX;
}

int
mp_process_open_memory(uint32_t pid, int descriptor, intptr_t *opened, uint64_t *bytes)
{
    (void)pid;
    (void)descriptor;
    (void)opened;
    (void)bytes;
    return ENOTSUP;
}
