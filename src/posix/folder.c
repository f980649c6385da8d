#define _GNU_SOURCE
#include "folder.h"
#include "record_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* What a nearly full disk keeps for others: a twentieth of it, at most so much. */
#define MOST_RESERVED (UINT64_C(16) << 20)

#define MOST_TRIES 10

static int folder = -1;

static int
descriptor_of(const struct mp_folder_file *file)
{
    return (int)file->descriptor - 1;
}

int
mp_folder_start(int descriptor)
{
    struct stat found;
    if (fstat(descriptor, &found) != 0) {
        return errno;
    }
    folder = descriptor;
    return S_ISDIR(found.st_mode) ? 0 : ENOTDIR;
}

/* What another user has put there may be anything: a link, a pipe, a file that he
 * reads. */
static int
open_own(const char *name, int flags, struct stat *found)
{
    int file = openat(folder, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
                      S_IRUSR | S_IWUSR);
    if (file < 0) {
        return -1;
    }
    int error = 0;
    if (fstat(file, found) != 0) {
        error = errno;
    } else if (!S_ISREG(found->st_mode) || found->st_uid != geteuid()) {
        error = EEXIST;
    }
    if (error != 0) {
        (void)close(file);
        errno = error;
        return -1;
    }
    return file;
}

/* Locks a file. Returns 0, EBUSY if another process holds it, or the errno where there
 * are no locks. Readers, who only look whether it is held, share it for a moment. */
static int
lock(int file)
{
    for (int tries = 0; flock(file, LOCK_EX | LOCK_NB) != 0; tries++) {
        if (errno != EWOULDBLOCK) {
            return errno;
        }
        if (tries == MOST_TRIES || flock(file, LOCK_SH | LOCK_NB) != 0) {
            return EBUSY;
        }
        (void)poll(NULL, 0, 1);
    }
    return 0;
}

int
mp_folder_open(struct mp_folder_file *file, const char *name, bool make)
{
    struct stat found;
    int descriptor = open_own(name, make ? O_RDWR | O_CREAT : O_RDWR, &found);
    if (descriptor < 0) {
        return errno;
    }
    int error = lock(descriptor);
    file->locked = error == 0;
    error = error == EBUSY ? EBUSY : 0;
    /* Whoever held it may have written more to it, or removed it, before. */
    if (error == 0 && fstat(descriptor, &found) != 0) {
        error = errno;
    } else if (error == 0 && found.st_nlink == 0) {
        error = EBUSY;
    }
    if (error != 0) {
        (void)close(descriptor);
        return error;
    }
    file->descriptor = descriptor + 1;
    file->slots = (uint32_t)(found.st_size / MP_RECORD_BLOCK_BYTES);
    return 0;
}

void
mp_folder_close(struct mp_folder_file *file)
{
    if (file->descriptor != 0) {
        (void)close(descriptor_of(file));
    }
    *file = (struct mp_folder_file){0};
}

int
mp_folder_clear(struct mp_folder_file *file)
{
    if (ftruncate(descriptor_of(file), 0) != 0) {
        return errno;
    }
    file->slots = 0;
    return 0;
}

void
mp_folder_remove(const struct mp_folder_file *file, const char *name)
{
    struct stat opened;
    struct stat named;
    if (file != NULL &&
        (fstat(descriptor_of(file), &opened) != 0 ||
         fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) != 0 ||
         opened.st_dev != named.st_dev || opened.st_ino != named.st_ino)) {
        return;
    }
    (void)unlinkat(folder, name, 0);
}

/* If somebody has cut it, it is as long as before after the next write, with zeros. */
bool
mp_folder_is_whole(const struct mp_folder_file *file)
{
    struct stat found;
    char magic[sizeof MP_RECORD_MAGIC - 1];
    return fstat(descriptor_of(file), &found) == 0 && found.st_nlink > 0 &&
           found.st_size >= (off_t)file->slots * MP_RECORD_BLOCK_BYTES &&
           pread(descriptor_of(file), magic, sizeof magic, 0) == sizeof magic &&
           memcmp(magic, MP_RECORD_MAGIC, sizeof magic) == 0;
}

bool
mp_folder_is_held(const char *name)
{
    struct stat found;
    int descriptor = open_own(name, O_RDONLY, &found);
    if (descriptor < 0) {
        return false;
    }
    bool held = flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    (void)close(descriptor);
    return held;
}

int
mp_folder_read(void *context, uint32_t slot, void *block)
{
    const struct mp_folder_file *file = context;
    for (size_t done = 0; done < MP_RECORD_BLOCK_BYTES;) {
        ssize_t more = pread(descriptor_of(file), (char *)block + done,
                             MP_RECORD_BLOCK_BYTES - done,
                             (off_t)slot * MP_RECORD_BLOCK_BYTES + (off_t)done);
        if (more == 0) {
            return EBADMSG;
        }
        if (more < 0 && errno != EINTR) {
            return errno;
        }
        done += more > 0 ? (size_t)more : 0;
    }
    return 0;
}

/* Is there room on the disk for another block? */
static bool
has_room(int file)
{
    struct statvfs disk;
    if (fstatvfs(file, &disk) != 0 || disk.f_blocks == 0) {
        return true; /* a file system that doesn't tell */
    }
    uint64_t reserve = (uint64_t)disk.f_blocks * disk.f_frsize / 20;
    if (reserve > MOST_RESERVED) {
        reserve = MOST_RESERVED;
    }
    return (uint64_t)disk.f_bavail * disk.f_frsize >= reserve + MP_RECORD_BLOCK_BYTES;
}

int
mp_folder_write(void *context, uint32_t slot, const void *block)
{
    struct mp_folder_file *file = context;
    if (slot >= file->slots && !has_room(descriptor_of(file))) {
        return ENOSPC;
    }
    for (size_t done = 0; done < MP_RECORD_BLOCK_BYTES;) {
        ssize_t more = pwrite(descriptor_of(file), (const char *)block + done,
                              MP_RECORD_BLOCK_BYTES - done,
                              (off_t)slot * MP_RECORD_BLOCK_BYTES + (off_t)done);
        if (more == 0) {
            return EIO;
        }
        if (more < 0 && errno != EINTR) {
            return errno;
        }
        done += more > 0 ? (size_t)more : 0;
    }
    if (slot >= file->slots) {
        file->slots = slot + 1;
    }
    return 0;
}

int
mp_folder_list(const char *end, struct mp_folder_entry **entries, size_t *count)
{
    *entries = NULL;
    *count = 0;
    /* Another open file of the same folder: it has a position of its own. */
    int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *names = again < 0 ? NULL : fdopendir(again);
    if (names == NULL) {
        int error = errno;
        if (again >= 0) {
            (void)close(again);
        }
        return error;
    }
    int error = 0;
    size_t room = 0;
    const struct dirent *name;
    while (error == 0 && (name = readdir(names)) != NULL) {
        struct mp_folder_entry entry = {.bytes = 0};
        struct stat found;
        size_t length = strlen(name->d_name);
        size_t tail = strlen(end);
        if (length < tail || length >= sizeof entry.name ||
            strcmp(name->d_name + length - tail, end) != 0 ||
            fstatat(folder, name->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(found.st_mode) || found.st_uid != geteuid()) {
            continue;
        }
        if (*count == room) {
            room = room == 0 ? 64 : room * 2;
            struct mp_folder_entry *more = realloc(*entries, room * sizeof *more);
            if (more == NULL) {
                error = ENOMEM;
                continue;
            }
            *entries = more;
        }
        memcpy(entry.name, name->d_name, length + 1);
        entry.bytes = (uint64_t)found.st_blocks * 512;
#if defined(__APPLE__)
        struct timespec written = found.st_mtimespec;
#else
        struct timespec written = found.st_mtim;
#endif
        entry.written_ns = (int64_t)written.tv_sec * 1000000000 + written.tv_nsec;
        (*entries)[(*count)++] = entry;
    }
    (void)closedir(names);
    return error;
}

void
mp_folder_remove_itself(void)
{
    char path[PATH_MAX];
#if defined(__APPLE__)
    if (fcntl(folder, F_GETPATH, path) == 0) {
        (void)rmdir(path);
    }
#else
    char link[32];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = '\0';
        (void)rmdir(path);
    }
#endif
}
