#include "process.h"
#include "cgroup.h"
#include "system.h"

#include <windows.h>

#include <errno.h>
#include <psapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tlhelp32.h>

#define DAY_TICKS (INT64_C(24) * 3600 * 10000000)

static struct {
    PROCESSENTRY32W *entries; /* of the last list of all processes */
    uint32_t *pids;
    size_t count;
    size_t room;
} processes;

int64_t
mp_process_clock_ns(void)
{
    return mp_clock_ns(); /* the performance counter's, which goes on in a sleep */
}

bool
mp_processes_may_keep(int descriptor)
{
    (void)descriptor;
    return true;
}

int
mp_processes_start(int list)
{
    (void)list;
    return 0;
}

static bool
add_entry(const PROCESSENTRY32W *entry)
{
    if (processes.count == processes.room) {
        size_t room = processes.room == 0 ? 256 : processes.room * 2;
        PROCESSENTRY32W *entries = realloc(processes.entries, room * sizeof *entries);
        if (entries == NULL) {
            return false;
        }
        processes.entries = entries;
        uint32_t *pids = realloc(processes.pids, room * sizeof *pids);
        if (pids == NULL) {
            return false;
        }
        processes.pids = pids;
        processes.room = room;
    }
    processes.entries[processes.count] = *entry;
    processes.pids[processes.count++] = entry->th32ProcessID;
    return true;
}

static void
list_all(void)
{
    PROCESSENTRY32W entry = {.dwSize = sizeof entry};
    processes.count = 0;
    HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    if (all == INVALID_HANDLE_VALUE) {
        return;
    }
    if (Process32FirstW(all, &entry)) {
        do {
            if (entry.th32ProcessID != 0 && !add_entry(&entry)) {
                break;
            }
        } while (Process32NextW(all, &entry));
    }
    (void)CloseHandle(all);
}

size_t
mp_processes_new(const uint32_t **pids)
{
    list_all();
    *pids = processes.pids;
    return processes.count;
}

/* All are listed each time, with their parents: nothing is asked for a stranger. */
bool
mp_processes_ask_again(uint32_t pid)
{
    (void)pid;
    return true;
}

void
mp_processes_unwanted(uint32_t pid)
{
    (void)pid;
}

void
mp_processes_ask_all(void)
{
}

static int64_t
ticks_of(const FILETIME *time)
{
    return (int64_t)time->dwHighDateTime << 32 | time->dwLowDateTime;
}

/* When a process was created, in 100 ns since 1601; Wine says a date far from now of a
 * process that it is still making. Returns 0 or a GetLastError() code. */
static int
read_start(HANDLE handle, uint64_t *start)
{
    FILETIME created, ended, in_kernel, in_user, now;
    for (int tries = 0; tries < 100; tries++) {
        if (!GetProcessTimes(handle, &created, &ended, &in_kernel, &in_user)) {
            return (int)GetLastError();
        }
        GetSystemTimePreciseAsFileTime(&now);
        if (ticks_of(&created) < ticks_of(&now) + DAY_TICKS) {
            *start = (uint64_t)ticks_of(&created);
            return 0;
        }
        Sleep(1);
    }
    return ESRCH;
}

static const PROCESSENTRY32W *
find_entry(uint32_t pid)
{
    for (size_t i = 0; i < processes.count; i++) {
        if (processes.entries[i].th32ProcessID == pid) {
            return &processes.entries[i];
        }
    }
    return NULL;
}

int
mp_process_identify(uint32_t pid, struct mp_process_identity *identity)
{
    const PROCESSENTRY32W *entry = find_entry(pid);
    if (entry == NULL) {
        list_all();
        entry = find_entry(pid);
    }
    if (entry == NULL) {
        return ESRCH;
    }
    HANDLE handle = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
    if (handle == NULL) {
        DWORD error = GetLastError();
        return error == ERROR_INVALID_PARAMETER ? ESRCH : (int)error;
    }
    FILETIME now;
    int error = read_start(handle, &identity->start);
    (void)CloseHandle(handle);
    if (error != 0) {
        return error;
    }
    GetSystemTimePreciseAsFileTime(&now);
    identity->pid = pid;
    identity->parent = entry->th32ParentProcessID;
    identity->started_ns =
        mp_process_clock_ns() - (ticks_of(&now) - (int64_t)identity->start) * 100;
    identity->zombie = false;
    identity->observer = wcscmp(entry->szExeFile, L"_observer.exe") == 0;
    return 0;
}

/* The handle keeps the number from being given away. */
int
mp_process_open(struct mp_process *process, const struct mp_process_identity *who)
{
    uint64_t start = 0;
    *process = (struct mp_process){.pid = who->pid, .start = who->start};
    HANDLE handle =
        OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE, FALSE, who->pid);
    if (handle == NULL) {
        DWORD error = GetLastError();
        return error == ERROR_INVALID_PARAMETER ? ESRCH : (int)error;
    }
    int error = read_start(handle, &start);
    if (error == 0 && start != who->start) {
        error = ESRCH;
    }
    if (error != 0) {
        (void)CloseHandle(handle);
        return error;
    }
    process->handle = (intptr_t)handle;
    return 0;
}

void
mp_process_close(struct mp_process *process)
{
    if (process->handle != 0) {
        (void)CloseHandle((HANDLE)process->handle);
        process->handle = 0;
    }
}

static int
read_memory(const struct mp_process *process, PROCESS_MEMORY_COUNTERS_EX *counters)
{
    counters->cb = sizeof *counters;
    if (!K32GetProcessMemoryInfo((HANDLE)process->handle,
                                 (PROCESS_MEMORY_COUNTERS *)counters,
                                 sizeof *counters)) {
        return (int)GetLastError();
    }
    return 0;
}

static uint64_t
page_size(void)
{
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwPageSize;
}

int
mp_process_read(struct mp_process *process, uint64_t *pages, uint64_t *shared)
{
    PROCESS_MEMORY_COUNTERS_EX counters;
    if (WaitForSingleObject((HANDLE)process->handle, 0) == WAIT_OBJECT_0) {
        return ESRCH;
    }
    int error = read_memory(process, &counters);
    *pages = error == 0 ? counters.WorkingSetSize / page_size() : 0;
    *shared = MP_PROCESS_UNKNOWN;
    return error == 0 && *pages == 0 ? ENODATA : error;
}

void
mp_process_read_details(const struct mp_process *process,
                        struct mp_process_details *details)
{
    PROCESS_MEMORY_COUNTERS_EX counters;
    const PROCESSENTRY32W *entry = find_entry(process->pid);
    bool read = read_memory(process, &counters) == 0;
    details->peak = read ? counters.PeakWorkingSetSize : MP_PROCESS_UNKNOWN;
    details->swap = MP_PROCESS_UNKNOWN;
    details->parent = entry != NULL ? entry->th32ParentProcessID : MP_PROCESS_UNKNOWN;
    details->user = MP_PROCESS_UNKNOWN;
}

void
mp_process_read_pss(const struct mp_process *process,
                    struct mp_process_details *details)
{
    (void)process;
    details->pss = MP_PROCESS_UNKNOWN;
    details->uss = MP_PROCESS_UNKNOWN;
}

/* The path of the program: the arguments of others can't be read without access to
 * their memory. */
size_t
mp_process_command(const struct mp_process *process, char *to, size_t room)
{
    wchar_t path[MAX_PATH];
    DWORD length = MAX_PATH;
    if (!QueryFullProcessImageNameW((HANDLE)process->handle, 0, path, &length)) {
        return 0;
    }
    int bytes = WideCharToMultiByte(CP_UTF8, 0, path, (int)length + 1, to, (int)room,
                                    NULL, NULL);
    return bytes > 0 ? (size_t)bytes : 0;
}

void
mp_user_name(uint64_t user, char *name, size_t room)
{
    (void)user;
    (void)room;
    name[0] = '\0';
}

/* The handle knows it for good. */
enum mp_process_state
mp_process_end(struct mp_process *process, int64_t *status, bool *known)
{
    DWORD code;
    *known = false;
    if (WaitForSingleObject((HANDLE)process->handle, 0) != WAIT_OBJECT_0) {
        return MP_PROCESS_LIVES;
    }
    if (GetExitCodeProcess((HANDLE)process->handle, &code)) {
        *status = (int64_t)code << 8;
        *known = true;
    }
    return MP_PROCESS_GONE;
}

void
mp_machine_read(struct mp_machine *machine)
{
    MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
    wchar_t name[64];
    DWORD length = 64;
    memset(machine, 0, sizeof *machine);
    machine->pid_namespace = UINT64_MAX;
    machine->page_size = page_size();
    machine->memory = GlobalMemoryStatusEx(&memory) ? memory.ullTotalPhys : UINT64_MAX;
    if (GetComputerNameW(name, &length)) {
        (void)WideCharToMultiByte(CP_UTF8, 0, name, -1, machine->host,
                                  (int)sizeof machine->host, NULL, NULL);
    }
    /* There is no id of a boot: the second in which it was is one on this machine. */
    FILETIME now;
    GetSystemTimePreciseAsFileTime(&now);
    uint64_t boot_s =
        (uint64_t)(ticks_of(&now) - mp_process_clock_ns() / 100 + 5000000) / 10000000;
    memcpy(machine->boot + 8, &boot_s, sizeof boot_s);
}

/* There are no groups of processes with a limit of memory that others may ask for. */
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
