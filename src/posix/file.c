#ifndef _GNU_SOURCE
#    define _GNU_SOURCE 1
#endif

#include "file.h"
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Writes zeros, so that a full disk is an error here and not a SIGBUS at the first
 * store into a page that has no place on it. Returns 0 or an errno. */
static int
reserve(int fd, size_t bytes)
{
    static const char zeros[65536];
    for (size_t done = 0; done < bytes;) {
        size_t rest = bytes - done;
        ssize_t written =
            pwrite(fd, zeros, rest < sizeof zeros ? rest : sizeof zeros, (off_t)done);
        if (written < 0 && errno != EINTR) {
            return errno;
        }
        done += written > 0 ? (size_t)written : 0;
    }
    return 0;
}

/* Maps the file and makes its pages resident and writable. Returns 0 or an errno. */
static int
map_file(struct mp_file *file, int fd, size_t bytes)
{
    volatile char *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (pages == MAP_FAILED) {
        return errno;
    }
    mp_pages_leave_out_of_fork((void *)pages, bytes);
    for (size_t at = 0; at < bytes; at += 4096) {
        pages[at] = 0;
    }
    file->pages = (void *)pages;
    file->bytes = bytes;
    return 0;
}

/* Has somebody locked the file? */
static bool
is_held(const char *path)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return held;
}

/* The lock belongs to the open file, which on Linux the mapping keeps open: so the file
 * is held from its first moment on, also while the sampler pauses. On overlayfs and
 * macOS it isn't: close() ends the lock, and the sampler's thread takes it anew. */
int
mp_file_create(struct mp_file *file, const char *path, size_t bytes)
{
    int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = open(path, flags, S_IRUSR | S_IWUSR);
    if (fd < 0) {
        return errno;
    }
    bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    int error = reserve(fd, bytes);
    if (error == 0) {
        error = map_file(file, fd, bytes);
    }
    if (error != 0) {
        (void)unlink(path);
    }
    (void)close(fd);
    file->held = error == 0 && locked && is_held(path);
    return error;
}

void
mp_file_close(struct mp_file *file)
{
    if (file->pages != NULL) {
        (void)munmap(file->pages, file->bytes);
    }
    *file = (struct mp_file){0};
}

void
mp_file_hold(struct mp_file_hold *hold, const char *path)
{
    if (hold->file != 0) {
        return;
    }
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    struct stat held;
    if (fd < 0) {
        return;
    }
    if (fstat(fd, &held) != 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return;
    }
    hold->file = fd + 1;
    hold->device = (uint64_t)held.st_dev;
    hold->inode = (uint64_t)held.st_ino;
}

/* Where the thread shares the program's table of descriptors, the number may be
 * somebody else's by now. */
void
mp_file_release(struct mp_file_hold *hold)
{
    int fd = hold->file - 1;
    struct stat now;
    if (fd >= 0 && fstat(fd, &now) == 0 && (uint64_t)now.st_dev == hold->device &&
        (uint64_t)now.st_ino == hold->inode) {
        (void)close(fd);
    }
    *hold = (struct mp_file_hold){0};
}
