#define _GNU_SOURCE
#include "process.h"
#include "statm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* From <linux/magic.h>, which musl doesn't come with. */
#define PROC_SUPER_MAGIC 0x9fa0

/* Linux 5.3; the number is the same on all architectures. */
#ifndef SYS_pidfd_open
#    define SYS_pidfd_open 434
#endif

/* struct pidfd_info of <linux/pidfd.h>, Linux 6.13; how a process ended is told from
 * 6.15 on, which the mask that comes back says. */
struct pidfd_info {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t numbers[11];
    int32_t exit_code;
};
#define PIDFD_GET_INFO _IOWR(0xFF, 11, struct pidfd_info)
#define PIDFD_INFO_EXIT 8

/* From <linux/kcmp.h>. */
#define KCMP_VM 1

/* Numbers of descriptors at the upper end of the table that nothing may keep. */
#define FREE_DESCRIPTORS 8

/* Linux has none above (PID_MAX_LIMIT in include/linux/threads.h). */
#define MOST_NUMBERS 4194304

#define ALL_EVERY_NS INT64_C(10000000000)
/* Where the newest number isn't told. */
#define ALL_OFTEN_NS INT64_C(100000000)
/* A pass over all costs as much as asking so many numbers. */
#define MOST_NEW 300

#define MOST_ASKED_AGAIN 256
#define MOST_TRIES 10
#define AGAIN_AFTER_ALL 64

static struct {
    int list; /* /proc */
    int newest;
    int most_descriptors;
    bool own_numbers; /* /proc is that of this process's PID namespace */
    long ticks;

    uint32_t last; /* the newest number at the last call of mp_processes_new */
    bool ask_all;
    int64_t all_ns;     /* when all were listed */
    int64_t cleared_ns; /* when `unwanted` was */
    uint32_t *pids;
    size_t count;
    size_t room;
    struct {
        uint32_t pid;
        uint32_t tries;
    } asked[MOST_ASKED_AGAIN], again[MOST_ASKED_AGAIN];
    size_t asked_count;
    size_t again_count;
    uint8_t unwanted[MOST_NUMBERS / 8]; /* a bit for each number */
} processes;

/* Opens a file below /proc. Returns a descriptor, or -1 with errno set. */
static int
open_proc(const char *path, int flags)
{
    return openat(processes.list, path, O_RDONLY | O_CLOEXEC | flags);
}

/* Reads what fits; there is a NUL after it. Returns the length, or -1 with errno set.
 */
static ssize_t
read_open(int file, char *text, size_t room)
{
    ssize_t length;
    do {
        length = pread(file, text, room - 1, 0);
    } while (length < 0 && errno == EINTR);
    if (length >= 0) {
        text[length] = '\0';
    }
    return length;
}

/* Reads a small file below /proc, as read_open does. */
static ssize_t
read_proc(const char *path, char *text, size_t room)
{
    int file = open_proc(path, 0);
    if (file < 0) {
        return -1;
    }
    ssize_t length = read_open(file, text, room);
    int error = errno;
    (void)close(file);
    errno = error;
    return length;
}

/* Reads a file of the process, or of the thread that stands for it. */
static ssize_t
read_of(const struct mp_process *process, const char *name, char *text, size_t room)
{
    char path[64];
    if (process->thread != 0) {
        (void)snprintf(path, sizeof path, "%u/task/%u/%s", process->pid,
                       process->thread, name);
    } else {
        (void)snprintf(path, sizeof path, "%u/%s", process->pid, name);
    }
    return read_proc(path, text, room);
}

static int64_t
clock_ns(clockid_t clock)
{
    struct timespec now = {0};
    (void)clock_gettime(clock, &now); /* fails for no clock that Linux 2.6.39 has */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t
mp_process_clock_ns(void)
{
    return clock_ns(CLOCK_BOOTTIME);
}

bool
mp_processes_may_keep(int descriptor)
{
    return descriptor < processes.most_descriptors - FREE_DESCRIPTORS;
}

/* Raises the limit of descriptors as far as it may be raised. */
static void
raise_descriptors(void)
{
    struct rlimit limit;
    processes.most_descriptors = 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        limit.rlim_cur = before;
    }
    processes.most_descriptors =
        limit.rlim_cur < INT_MAX ? (int)limit.rlim_cur : INT_MAX;
}

/* struct __user_cap_header_struct and __user_cap_data_struct of <linux/capability.h>.
 */
struct capability_header {
    uint32_t version;
    int pid;
};
struct capability_sets {
    uint32_t effective;
    uint32_t permitted;
    uint32_t inheritable;
};
#define CAPABILITY_VERSION_3 0x20080522
#define CAP_DAC_OVERRIDE 1
#define CAP_SYS_PTRACE 19

/* Of what root may do only this is needed: to write into a folder of another user's, as
 * the program could, and to read what is hidden of others. */
static void
drop_capabilities(void)
{
    struct capability_header header = {.version = CAPABILITY_VERSION_3};
    struct capability_sets sets[2];
    if (syscall(SYS_capget, &header, sets) != 0) {
        return;
    }
    uint32_t kept = sets[0].permitted & (1U << CAP_DAC_OVERRIDE | 1U << CAP_SYS_PTRACE);
    sets[0] = (struct capability_sets){.effective = kept, .permitted = kept};
    sets[1] = (struct capability_sets){.effective = 0};
    /* Less is always allowed; where a sandbox refuses the call, all of them stay. */
    (void)syscall(SYS_capset, &header, sets);
}

static bool
is_proc(int file)
{
    struct statfs system;
    return fstatfs(file, &system) == 0 && system.f_type == PROC_SUPER_MAGIC;
}

int
mp_processes_start(int list)
{
    (void)prctl(PR_SET_NAME, "memprobe");
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    drop_capabilities();
    raise_descriptors();
    processes.list = list;
    if (!is_proc(list)) {
        processes.list = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (processes.list < 0) {
            return errno;
        }
        if (!is_proc(processes.list)) {
            return EBADMSG; /* something is mounted over it */
        }
    }
    char self[32] = "";
    ssize_t length = readlinkat(processes.list, "self", self, sizeof self - 1);
    processes.own_numbers = length > 0 && strtol(self, NULL, 10) == (long)getpid();
    processes.ticks = sysconf(_SC_CLK_TCK);
    processes.newest = open_proc("loadavg", 0);
    processes.ask_all = true;
    return processes.ticks > 0 ? 0 : ENOSYS;
}

int
mp_process_open_memory(uint32_t pid, int descriptor, intptr_t *opened, uint64_t *bytes)
{
    char path[40];
    (void)snprintf(path, sizeof path, "%" PRIu32 "/fd/%d", pid, descriptor);
    int file = open_proc(path, O_NONBLOCK);
    if (file < 0) {
        return errno;
    }
    struct stat found;
    int error = fstat(file, &found) != 0 ? errno : S_ISREG(found.st_mode) ? 0 : EINVAL;
    if (error != 0) {
        (void)close(file);
        return error;
    }
    *opened = file + 1;
    *bytes = (uint64_t)found.st_size;
    return 0;
}

/* Reads the number that a process has got last. Returns 0 if that can't be known: only
 * the namespace of whoever reads is told (fs/proc/loadavg.c). */
static uint32_t
read_newest(void)
{
    char text[128];
    if (!processes.own_numbers || processes.newest < 0 ||
        read_open(processes.newest, text, sizeof text) <= 0) {
        return 0;
    }
    const char *last = strrchr(text, ' ');
    return last == NULL ? 0 : (uint32_t)strtoul(last + 1, NULL, 10);
}

static bool
is_unwanted(uint32_t pid)
{
    return pid >= MOST_NUMBERS || (processes.unwanted[pid / 8] >> pid % 8 & 1) != 0;
}

void
mp_processes_unwanted(uint32_t pid)
{
    if (pid < MOST_NUMBERS) {
        processes.unwanted[pid / 8] |= (uint8_t)(1 << pid % 8);
    }
}

static void
list(uint32_t pid)
{
    if (pid == 0 || is_unwanted(pid)) {
        return;
    }
    if (processes.count == processes.room) {
        size_t room = processes.room == 0 ? 256 : processes.room * 2;
        uint32_t *pids = realloc(processes.pids, room * sizeof *pids);
        if (pids == NULL) {
            processes.ask_all = true;
            return;
        }
        processes.pids = pids;
        processes.room = room;
    }
    processes.pids[processes.count++] = pid;
}

/* The kernel's struct linux_dirent64. readdir() would take 32 KiB for each folder. */
struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* Calls each(number, context) for the names in an open folder that are numbers, until
 * that returns true. Returns whether one did. */
static bool
find_number(int folder, bool (*each)(uint32_t number, void *context), void *context)
{
    _Alignas(struct entry) static char entries[8192];
    long length;
    while ((length = syscall(SYS_getdents64, folder, entries, sizeof entries)) > 0) {
        for (long at = 0; at < length;) {
            const struct entry *entry = (const void *)(entries + at);
            at += entry->length;
            char *end;
            unsigned long number = strtoul(entry->name, &end, 10);
            if (entry->name[0] >= '0' && entry->name[0] <= '9' && *end == '\0' &&
                each((uint32_t)number, context)) {
                return true;
            }
        }
    }
    return false;
}

static bool
list_found(uint32_t pid, void *context)
{
    (void)context;
    list(pid);
    return false;
}

size_t
mp_processes_new(const uint32_t **pids)
{
    uint32_t newest = read_newest();
    int64_t since_all_ns = mp_process_clock_ns() - processes.all_ns;
    bool wrapped = newest < processes.last;
    bool untold = newest == 0 &&
                  since_all_ns + processes.all_ns > processes.cleared_ns + ALL_EVERY_NS;
    bool all = processes.ask_all || wrapped || newest - processes.last > MOST_NEW ||
               since_all_ns > (newest == 0 ? ALL_OFTEN_NS : ALL_EVERY_NS);
    if (wrapped || untold) {
        /* A number that was a stranger's may be given away again from now on. */
        processes.cleared_ns = processes.all_ns + since_all_ns;
        memset(processes.unwanted, 0, sizeof processes.unwanted);
    }
    processes.count = 0;
    if (all && lseek(processes.list, 0, SEEK_SET) == 0) {
        processes.ask_all = false;
        processes.all_ns += since_all_ns;
        (void)find_number(processes.list, list_found, NULL);
    } else {
        for (uint32_t pid = processes.last + 1; pid <= newest; pid++) {
            list(pid);
        }
        for (size_t i = 0; i < processes.again_count; i++) {
            list(processes.again[i].pid);
        }
    }
    /* The youngest may have a number before they can be found. */
    processes.last =
        all && newest > AGAIN_AFTER_ALL ? newest - AGAIN_AFTER_ALL : newest;
    memcpy(processes.asked, processes.again, sizeof processes.asked);
    processes.asked_count = processes.again_count;
    processes.again_count = 0;
    *pids = processes.pids;
    return processes.count;
}

/* A number is given away before its process can be found (kernel/fork.c), and others
 * can't be read until they have changed their user: those are found by a pass over all,
 * too. */
bool
mp_processes_ask_again(uint32_t pid)
{
    uint32_t tries = 1;
    for (size_t i = 0; i < processes.asked_count; i++) {
        if (processes.asked[i].pid == pid) {
            tries = processes.asked[i].tries + 1;
        }
    }
    if (tries > MOST_TRIES) {
        return false;
    }
    if (processes.again_count == MOST_ASKED_AGAIN) {
        processes.ask_all = true;
        return true;
    }
    processes.again[processes.again_count].pid = pid;
    processes.again[processes.again_count].tries = tries;
    processes.again_count++;
    return true;
}

void
mp_processes_ask_all(void)
{
    processes.ask_all = true;
}

/* Is a process that is called memprobe an observer? */
static bool
is_observer(uint32_t pid)
{
    static const char name[] = "_observer";
    char path[32];
    char command[64];
    (void)snprintf(path, sizeof path, "%u/cmdline", pid);
    return read_proc(path, command, sizeof command) >= (ssize_t)sizeof name &&
           memcmp(command, name, sizeof name) == 0;
}

/* What /proc/PID/stat says besides an identity. */
struct stat_text {
    struct mp_process_identity identity;
    int32_t exit_code; /* 0 also where we may not know it */
};

/* Returns as mp_process_identify does. */
static int
read_stat(uint32_t pid, struct stat_text *stat)
{
    char path[32];
    char text[1024];
    (void)snprintf(path, sizeof path, "%u/stat", pid);
    ssize_t length = read_proc(path, text, sizeof text);
    if (length < 0) {
        return errno == ENOENT ? ESRCH : errno;
    }
    /* The name, in parentheses, may hold any character. */
    const char *at = strrchr(text, ')');
    const char *last = strrchr(text, ' ');
    if (at == NULL || last < at || length < at + 4 - text) {
        return EBADMSG;
    }
    stat->identity.pid = pid;
    /* It has another name at first. */
    bool named =
        strstr(text, " (memprobe) ") != NULL || strstr(text, " (_observer) ") != NULL;
    stat->identity.observer = named && is_observer(pid);
    stat->identity.zombie = at[2] == 'Z' || at[2] == 'X';
    at += 3; /* the space before the fourth field */
    stat->identity.parent = (uint32_t)strtoul(at, NULL, 10);
    for (int field = 4; field < 22; field++) {
        at = strchr(at + 1, ' ');
        if (at == NULL) {
            return EBADMSG;
        }
    }
    stat->identity.start = strtoull(at, NULL, 10);
    uint64_t tick_ns = 1000000000 / (uint64_t)processes.ticks;
    stat->identity.started_ns = (int64_t)(stat->identity.start * tick_ns);
    stat->exit_code = (int32_t)strtol(last, NULL, 10);
    return 0;
}

int
mp_process_identify(uint32_t pid, struct mp_process_identity *identity)
{
    struct stat_text stat;
    int error = read_stat(pid, &stat);
    if (error == 0) {
        *identity = stat.identity;
    }
    return error;
}

/* Is the number still that of the process that was identified so? */
static bool
is_still(uint32_t pid, uint64_t start)
{
    struct stat_text stat;
    return read_stat(pid, &stat) == 0 && stat.identity.start == start;
}

/* Returns the descriptor + 1 if it may stay open, else closes it. */
static int
kept(int file)
{
    if (file >= 0 && !mp_processes_may_keep(file)) {
        (void)close(file);
        return 0;
    }
    return file + 1;
}

int
mp_process_open(struct mp_process *process, const struct mp_process_identity *who)
{
    char path[32];
    char text[4096];
    int handle = -1;
    *process = (struct mp_process){
        .pid = who->pid, .start = who->start, .lender = who->parent};
    if (processes.own_numbers) {
        handle = (int)syscall(SYS_pidfd_open, who->pid, 0U);
        if (handle < 0 && errno == ESRCH) {
            return ESRCH;
        }
        if (handle < 0 && (errno == EINVAL || errno == ENOENT)) {
            return EINVAL;
        }
    }
    if (handle < 0) {
        const char *group = read_of(process, "status", text, sizeof text) > 0
                                ? strstr(text, "\nTgid:")
                                : NULL;
        if (group == NULL) {
            return ESRCH;
        }
        if (strtoul(group + sizeof "\nTgid:", NULL, 10) != who->pid) {
            return EINVAL;
        }
    }
    process->handle = kept(handle);
    (void)snprintf(path, sizeof path, "%u/statm", who->pid);
    int statm = open_proc(path, 0);
    int error = statm < 0 && errno != EMFILE && errno != ENFILE ? errno : 0;
    process->statm = kept(statm);
    if (error == 0 && !is_still(who->pid, who->start)) {
        error = ESRCH;
    }
    if (error != 0) {
        mp_process_close(process);
    }
    return error == ENOENT ? ESRCH : error;
}

void
mp_process_close(struct mp_process *process)
{
    if (process->handle != 0) {
        (void)close((int)process->handle - 1);
    }
    if (process->statm != 0) {
        (void)close(process->statm - 1);
    }
    process->handle = 0;
    process->statm = 0;
}

/* Reads RSS and its shared part from an open statm. Returns 0 or an errno. */
static int
read_statm(int file, uint64_t *pages, uint64_t *shared)
{
    char text[256];
    ssize_t length = read_open(file, text, sizeof text);
    if (length < 0) {
        return errno;
    }
    int error = mp_statm_parse(text, (size_t)length, pages);
    if (error == 0) {
        const char *second = strchr(text, ' ');
        *shared = strtoull(strchr(second + 1, ' '), NULL, 10);
    }
    return error;
}

struct thread_search {
    struct mp_process *process;
    uint64_t *pages;
    uint64_t *shared;
};

static bool
ask_thread(uint32_t thread, void *context)
{
    const struct thread_search *search = context;
    struct mp_process *process = search->process;
    char path[64];
    (void)snprintf(path, sizeof path, "%u/task/%u/statm", process->pid, thread);
    int file = open_proc(path, 0);
    if (file < 0) {
        return false;
    }
    if (read_statm(file, search->pages, search->shared) != 0) {
        (void)close(file);
        return false;
    }
    if (process->statm != 0) {
        (void)close(process->statm - 1);
    }
    process->thread = thread;
    process->statm = kept(file);
    return true;
}

/* Asks the threads of a process whose first one says that there is no memory: it has
 * ended, the others may live on. Returns as mp_process_read does. */
static int
read_of_other_threads(struct mp_process *process, uint64_t *pages, uint64_t *shared)
{
    if (!is_still(process->pid, process->start)) {
        return ESRCH;
    }
    struct thread_search search = {process, pages, shared};
    char path[32];
    (void)snprintf(path, sizeof path, "%u/task", process->pid);
    int folder = open_proc(path, O_DIRECTORY);
    if (folder < 0) {
        return errno == ENOENT ? ESRCH : errno;
    }
    bool found = find_number(folder, ask_thread, &search);
    (void)close(folder);
    return found ? 0 : ENODATA;
}

/* Does it run in its parent's memory? Then its RSS isn't its own. Where the kernel may
 * not tell us, both say the same: after a plain fork a child lacks the pages of files.
 */
static bool
borrows(const struct mp_process *process, uint64_t pages, uint64_t shared)
{
#if defined(SYS_kcmp)
    long compared = syscall(SYS_kcmp, process->pid, process->lender, KCMP_VM, 0L, 0L);
    if (compared >= 0) {
        return compared == 0;
    }
    if (errno == ESRCH) {
        return false; /* the parent has ended, and so would have waited for an exec */
    }
#endif
    uint64_t parents_pages, parents_shared;
    char path[32];
    (void)snprintf(path, sizeof path, "%u/statm", process->lender);
    int file = open_proc(path, 0);
    bool same = file >= 0 && read_statm(file, &parents_pages, &parents_shared) == 0 &&
                parents_pages == pages && parents_shared == shared;
    if (file >= 0) {
        (void)close(file);
    }
    return same;
}

int
mp_process_read(struct mp_process *process, uint64_t *pages, uint64_t *shared)
{
    int error = 0;
    int file = process->statm - 1;
    if (process->statm == 0) {
        /* Its number may have been given away since the last look. */
        char path[32];
        (void)snprintf(path, sizeof path, "%u/statm", process->pid);
        file = open_proc(path, 0);
        if (file < 0 || !is_still(process->pid, process->start)) {
            error = file < 0 && errno != ENOENT ? errno : ESRCH;
        }
    }
    if (error == 0) {
        error = read_statm(file, pages, shared);
    }
    if (file >= 0 && process->statm == 0) {
        (void)close(file);
    }
    if (error == ENODATA || (error == ESRCH && process->thread != 0)) {
        error = read_of_other_threads(process, pages, shared);
    }
    if (error == 0 && process->lender != 0) {
        if (borrows(process, *pages, *shared)) {
            return EAGAIN;
        }
        process->lender = 0; /* once it has memory of its own it keeps that */
    }
    return error;
}

/* Sets *to to the number in a line "name:\tnumber", if that is its name. */
static void
take_number(const char *line, const char *name, uint64_t unit, uint64_t *to)
{
    size_t length = strlen(name);
    if (strncmp(line, name, length) == 0) {
        *to = strtoull(line + length, NULL, 10) * unit;
    }
}

void
mp_process_read_details(const struct mp_process *process,
                        struct mp_process_details *details)
{
    static char text[65536]; /* it lists all groups of the user */
    details->peak = MP_PROCESS_UNKNOWN;
    details->swap = MP_PROCESS_UNKNOWN;
    details->parent = MP_PROCESS_UNKNOWN;
    details->user = MP_PROCESS_UNKNOWN;
    if (read_of(process, "status", text, sizeof text) <= 0) {
        return;
    }
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (*line == 'V') {
            take_number(line, "VmHWM:", 1024, &details->peak);
            take_number(line, "VmSwap:", 1024, &details->swap);
        } else if (*line == 'P') {
            take_number(line, "PPid:", 1, &details->parent);
        } else if (strncmp(line, "Uid:\t", 5) == 0) {
            /* The real one comes first, then the one as which it acts. */
            take_number(line + 5 + strcspn(line + 5, "\t\n"), "\t", 1, &details->user);
        }
    }
}

void
mp_process_read_pss(const struct mp_process *process,
                    struct mp_process_details *details)
{
    char text[4096];
    uint64_t clean = MP_PROCESS_UNKNOWN;
    uint64_t dirty = MP_PROCESS_UNKNOWN;
    details->pss = MP_PROCESS_UNKNOWN;
    details->uss = MP_PROCESS_UNKNOWN;
    if (read_of(process, "smaps_rollup", text, sizeof text) <= 0) {
        return;
    }
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        take_number(line, "Pss:", 1024, &details->pss);
        take_number(line, "Private_Clean:", 1024, &clean);
        take_number(line, "Private_Dirty:", 1024, &dirty);
    }
    if (clean != MP_PROCESS_UNKNOWN && dirty != MP_PROCESS_UNKNOWN) {
        details->uss = clean + dirty;
    }
}

size_t
mp_process_command(const struct mp_process *process, char *to, size_t room)
{
    ssize_t length = read_of(process, "cmdline", to, room);
    if (length == 0) {
        length = read_of(process, "comm", to, room);
        if (length > 0) {
            to[length - 1] = '\0'; /* for the newline */
        }
    }
    return length > 0 ? (size_t)length : 0;
}

/* From /etc/passwd alone: whoever asks the name service waits for it, and takes its
 * libraries into memory. */
void
mp_user_name(uint64_t user, char *name, size_t room)
{
    char line[1024];
    name[0] = '\0';
    FILE *file = fopen("/etc/passwd", "re");
    if (file == NULL) {
        return;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        /* name:password:number:… */
        size_t length = strcspn(line, ":");
        const char *number = line + length;
        number += *number == ':' ? 1 + strcspn(number + 1, ":") : 0;
        if (*number == ':' && strtoull(number + 1, NULL, 10) == user && length < room) {
            memcpy(name, line, length);
            name[length] = '\0';
            break;
        }
    }
    (void)fclose(file);
}

/* May we know the exit code of a zombie? If not, the kernel prints 0 for it
 * (do_task_stat in fs/proc/array.c), by the rule by which it shows a namespace. */
static bool
may_know_exit_code(uint32_t pid)
{
    char path[32];
    char link[64];
    (void)snprintf(path, sizeof path, "%u/ns/user", pid);
    return readlinkat(processes.list, path, link, sizeof link) > 0;
}

enum mp_process_state
mp_process_end(struct mp_process *process, int64_t *status, bool *known)
{
    struct pidfd_info info = {.mask = PIDFD_INFO_EXIT};
    struct stat_text stat;
    int error = read_stat(process->pid, &stat);
    bool gone = error == ESRCH || (error == 0 && stat.identity.start != process->start);
    *known = false;
    if (error == 0 && !gone && !stat.identity.zombie) {
        return MP_PROCESS_LIVES;
    }
    if (process->handle != 0 &&
        syscall(SYS_ioctl, process->handle - 1, PIDFD_GET_INFO, &info) == 0 &&
        (info.mask & PIDFD_INFO_EXIT) != 0) {
        *status = info.exit_code;
        *known = true;
    } else if (error == 0 && !gone &&
               (stat.exit_code != 0 || may_know_exit_code(process->pid))) {
        *status = stat.exit_code;
        *known = true;
    }
    return gone ? MP_PROCESS_GONE : MP_PROCESS_ENDED;
}

/* Reads the boot id, 32 hexadecimal digits with hyphens between them. */
static void
read_boot(uint8_t boot[16])
{
    char text[64];
    size_t digits = 0;
    memset(boot, 0, 16);
    if (read_proc("sys/kernel/random/boot_id", text, sizeof text) <= 0) {
        return;
    }
    for (const char *at = text; *at != '\0' && digits < 32; at++) {
        const char *hex = "0123456789abcdef";
        const char *digit = strchr(hex, *at);
        if (digit != NULL) {
            boot[digits / 2] = (uint8_t)(boot[digits / 2] * 16 + (digit - hex));
            digits++;
        }
    }
}

void
mp_machine_read(struct mp_machine *machine)
{
    struct utsname name;
    struct sysinfo info;
    struct stat space;
    memset(machine, 0, sizeof *machine);
    machine->pid_namespace = UINT64_MAX;
    read_boot(machine->boot);
    machine->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    if (uname(&name) == 0) {
        (void)snprintf(machine->host, sizeof machine->host, "%s", name.nodename);
    }
    if (sysinfo(&info) == 0) {
        machine->memory = (uint64_t)info.totalram * info.mem_unit;
    }
    const char *first = processes.own_numbers ? "self/ns/pid" : "1/ns/pid";
    if (fstatat(processes.list, first, &space, 0) == 0) {
        machine->pid_namespace = space.st_ino;
    }
}
