#include "folder.h"
#include "record_file.h"

#include <windows.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The folder is the current one: it can't be removed as long as it is that. */

/* What a nearly full disk keeps for others: a twentieth of it, at most so much. */
#define MOST_RESERVED (UINT64_C(16) << 20)
/* From 1601 on, in 100 ns: in ns it doesn't fit 64 bits. */
#define TICKS_TO_1970 INT64_C(116444736000000000)

static HANDLE
handle_of(const struct mp_folder_file *file)
{
    return (HANDLE)(file->descriptor - 1);
}

int
mp_folder_start(int folder)
{
    (void)folder;
    return 0;
}

int
mp_folder_open(struct mp_folder_file *file, const char *name, bool make)
{
    LARGE_INTEGER size;
    /* Others may not write to it: so they see that it is held. Who reads it by C's or
     * Python's open() doesn't let anybody have it open for its removal meanwhile, so
     * that is no access that is asked for here. */
    HANDLE handle = CreateFileA(
        name, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL,
        make ? OPEN_ALWAYS : OPEN_EXISTING,
        FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        DWORD error = GetLastError();
        return error == ERROR_SHARING_VIOLATION ? EBUSY : (int)error;
    }
    if (!GetFileSizeEx(handle, &size)) {
        int error = (int)GetLastError();
        (void)CloseHandle(handle);
        return error;
    }
    file->descriptor = (intptr_t)handle + 1;
    file->slots = (uint32_t)(size.QuadPart / MP_RECORD_BLOCK_BYTES);
    file->locked = true;
    return 0;
}

void
mp_folder_close(struct mp_folder_file *file)
{
    if (file->descriptor != 0) {
        (void)CloseHandle(handle_of(file));
    }
    *file = (struct mp_folder_file){0};
}

int
mp_folder_clear(struct mp_folder_file *file)
{
    LARGE_INTEGER start = {.QuadPart = 0};
    if (!SetFilePointerEx(handle_of(file), start, NULL, FILE_BEGIN) ||
        !SetEndOfFile(handle_of(file))) {
        return (int)GetLastError();
    }
    file->slots = 0;
    return 0;
}

void
mp_folder_remove(const struct mp_folder_file *file, const char *name)
{
    if (file == NULL) {
        (void)DeleteFileA(name);
    } else {
        FILE_DISPOSITION_INFO removed = {.DeleteFile = TRUE};
        HANDLE same =
            ReOpenFile(handle_of(file), DELETE,
                       FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, 0);
        if (same != INVALID_HANDLE_VALUE) {
            (void)SetFileInformationByHandle(same, FileDispositionInfo, &removed,
                                             sizeof removed);
            (void)CloseHandle(same);
        }
    }
}

/* Nobody can cut a file that is open here. */
bool
mp_folder_is_whole(const struct mp_folder_file *file)
{
    FILE_STANDARD_INFO info;
    return file->descriptor != 0 &&
           GetFileInformationByHandleEx(handle_of(file), FileStandardInfo, &info,
                                        sizeof info) &&
           !info.DeletePending;
}

bool
mp_folder_is_held(const char *name)
{
    HANDLE handle = CreateFileA(name, GENERIC_WRITE,
                                FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        return GetLastError() == ERROR_SHARING_VIOLATION;
    }
    (void)CloseHandle(handle);
    return false;
}

static OVERLAPPED
at_slot(uint32_t slot)
{
    return (OVERLAPPED){.Offset = slot * MP_RECORD_BLOCK_BYTES};
}

int
mp_folder_read(void *context, uint32_t slot, void *block)
{
    const struct mp_folder_file *file = context;
    OVERLAPPED at = at_slot(slot);
    DWORD bytes;
    if (!ReadFile(handle_of(file), block, MP_RECORD_BLOCK_BYTES, &bytes, &at)) {
        DWORD error = GetLastError();
        return error == ERROR_HANDLE_EOF ? EBADMSG : (int)error;
    }
    return bytes == MP_RECORD_BLOCK_BYTES ? 0 : EBADMSG;
}

/* Is there room on the disk for another block? */
static bool
has_room(void)
{
    ULARGE_INTEGER free, total;
    if (!GetDiskFreeSpaceExW(NULL, &free, &total, NULL)) {
        return true;
    }
    uint64_t reserve = total.QuadPart / 20;
    reserve = reserve < MOST_RESERVED ? reserve : MOST_RESERVED;
    return free.QuadPart >= reserve + MP_RECORD_BLOCK_BYTES;
}

int
mp_folder_write(void *context, uint32_t slot, const void *block)
{
    struct mp_folder_file *file = context;
    OVERLAPPED at = at_slot(slot);
    DWORD bytes;
    if (slot >= file->slots && !has_room()) {
        return ERROR_DISK_FULL;
    }
    if (!WriteFile(handle_of(file), block, MP_RECORD_BLOCK_BYTES, &bytes, &at)) {
        return (int)GetLastError();
    }
    if (bytes != MP_RECORD_BLOCK_BYTES) {
        return ERROR_DISK_FULL;
    }
    if (slot >= file->slots) {
        file->slots = slot + 1;
    }
    return 0;
}

int
mp_folder_list(const char *end, struct mp_folder_entry **entries, size_t *count)
{
    WIN32_FIND_DATAA found;
    size_t room = 0;
    size_t tail = strlen(end);
    *entries = NULL;
    *count = 0;
    HANDLE names = FindFirstFileA("*", &found);
    if (names == INVALID_HANDLE_VALUE) {
        return (int)GetLastError();
    }
    int error = 0;
    do {
        size_t length = strlen(found.cFileName);
        if (length < tail || length >= sizeof(*entries)->name ||
            strcmp(found.cFileName + length - tail, end) != 0 ||
            (found.dwFileAttributes &
             (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT)) != 0) {
            continue;
        }
        if (*count == room) {
            room = room == 0 ? 64 : room * 2;
            struct mp_folder_entry *more = realloc(*entries, room * sizeof *more);
            if (more == NULL) {
                error = ERROR_NOT_ENOUGH_MEMORY;
                break;
            }
            *entries = more;
        }
        struct mp_folder_entry *entry = &(*entries)[(*count)++];
        memcpy(entry->name, found.cFileName, length + 1);
        entry->bytes = (uint64_t)found.nFileSizeHigh << 32 | found.nFileSizeLow;
        entry->written_ns = (((int64_t)found.ftLastWriteTime.dwHighDateTime << 32 |
                              found.ftLastWriteTime.dwLowDateTime) -
                             TICKS_TO_1970) *
                            100;
    } while (FindNextFileA(names, &found));
    (void)FindClose(names);
    return error;
}

void
mp_folder_remove_itself(void)
{
    wchar_t path[MAX_PATH];
    DWORD length = GetCurrentDirectoryW(MAX_PATH, path);
    if (length > 0 && length < MAX_PATH && SetCurrentDirectoryW(L"\\")) {
        (void)RemoveDirectoryW(path);
    }
}
