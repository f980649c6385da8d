#include "file.h"

#include <string.h>
#include <windows.h>

#define LONGEST_PATH 32768

/* Returns 0 or a GetLastError() code. */
static int
map_file(struct mp_file *file, size_t bytes)
{
    LARGE_INTEGER size = {.QuadPart = (LONGLONG)bytes};
    /* This extends the file, and Windows gives it its space on the disk. */
    HANDLE mapping = CreateFileMappingW(file->handle, NULL, PAGE_READWRITE,
                                        (DWORD)size.HighPart, size.LowPart, NULL);
    if (mapping == NULL) {
        return (int)GetLastError();
    }
    file->pages = MapViewOfFile(mapping, FILE_MAP_ALL_ACCESS, 0, 0, bytes);
    int error = file->pages == NULL ? (int)GetLastError() : 0;
    (void)CloseHandle(mapping);
    if (error == 0) {
        file->bytes = bytes;
        file->held = true;
        memset(file->pages, 0, bytes);
    }
    return error;
}

/* Shared for reading only: whoever wants to write sees that the process lives. */
int
mp_file_create(struct mp_file *file, const char *path, size_t bytes)
{
    WCHAR *wide = HeapAlloc(GetProcessHeap(), 0, LONGEST_PATH * sizeof *wide);
    if (wide == NULL) {
        return ERROR_NOT_ENOUGH_MEMORY;
    }
    int error = 0;
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide,
                            LONGEST_PATH) == 0) {
        error = (int)GetLastError();
        goto done;
    }
    file->handle = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ,
                               NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file->handle == INVALID_HANDLE_VALUE) {
        file->handle = NULL;
        error = (int)GetLastError();
        goto done;
    }
    error = map_file(file, bytes);
    if (error != 0) {
        mp_file_close(file);
        (void)DeleteFileW(wide);
    }
done:
    (void)HeapFree(GetProcessHeap(), 0, wide);
    return error;
}

void
mp_file_close(struct mp_file *file)
{
    if (file->pages != NULL) {
        (void)UnmapViewOfFile(file->pages);
    }
    if (file->handle != NULL) {
        (void)CloseHandle(file->handle);
    }
    *file = (struct mp_file){0};
}

/* The file is open anyway. */
void
mp_file_hold(struct mp_file_hold *hold, const char *path)
{
    (void)hold;
    (void)path;
}

void
mp_file_release(struct mp_file_hold *hold)
{
    (void)hold;
}
