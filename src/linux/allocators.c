#ifndef _GNU_SOURCE
#    define _GNU_SOURCE 1 /* dladdr, fopencookie */
#endif
#include "breakdown.h"
#include "lines.h"
#include "malloc_text.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* Where a function is that the process has, NULL if it has none of that name. By name,
 * because each of them is missing somewhere. */
static void *
symbol(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

/* Where the library or program begins that this is in, NULL if it is in none. */
static const void *
file_of(const void *address)
{
    Dl_info info;
    return address != NULL && dladdr(address, &info) != 0 ? info.dli_fbase : NULL;
}

/* A program that is linked for a fixed address, as Debian's python3 is, stands in with
 * entries of its own for the functions of libc whose address it takes. dlsym() answers
 * with those, too. No Python takes the address of aligned_alloc(). */
const void *
mp_malloc_library(void)
{
    const void *program = file_of((const void *)getauxval(AT_ENTRY));
    const void *found = file_of(symbol("malloc"));
    return found == program ? file_of(symbol("aligned_alloc")) : found;
}

/* By what else its library has: the file may have any name, or be the program's. It
 * stays the same, and a look through the libraries' symbols takes 0.1 ms. */
static const char *
malloc_owner(void)
{
    static _Atomic(const char *) known;
    static const struct {
        const char *symbol;
        const char *owner;
    } owners[] = {
        {"mallctl", "jemalloc"},   {"tc_malloc", "tcmalloc"},
        {"mi_malloc", "mimalloc"}, {"gnu_get_libc_version", "glibc"},
        {"getpid", "musl"}, /* a libc that isn't glibc */
    };
    const char *owner = atomic_load(&known);
    const void *library = owner == NULL ? mp_malloc_library() : NULL;
    for (size_t i = 0; owner == NULL && i < sizeof owners / sizeof *owners; i++) {
        if (library != NULL && library == file_of(symbol(owners[i].symbol))) {
            owner = owners[i].owner;
        }
    }
    owner = owner == NULL ? "unknown" : owner;
    atomic_store(&known, owner);
    return owner;
}

static ssize_t
write_lines(void *lines, const char *text, size_t length)
{
    mp_lines_add(lines, text, length);
    return (ssize_t)length;
}

/* A stream whose lines `lines` takes. Only the stream itself is allocated, less than
 * 1024 bytes: a larger request would make malloc sort its free chunks first, and change
 * what is looked at. Returns NULL if there is no memory. */
static FILE *
open_stream(struct mp_lines *lines, char *buffer, size_t size)
{
    cookie_io_functions_t functions = {.write = write_lines};
    FILE *stream = fopencookie(lines, "w", functions);
    if (stream != NULL) {
        (void)setvbuf(stream, buffer, _IOFBF, size);
    }
    return stream;
}

static void
add_malloc_line(void *text, const char *line, size_t length)
{
    (void)length;
    mp_malloc_text_add(text, line);
}

/* Before 2.31 malloc_info() forgot the chunk at the top (glibc's bug 24026). */
static bool
knows_the_top(void)
{
    const char *(*version)(void);
    *(void **)&version = symbol("gnu_get_libc_version");
    unsigned major, minor;
    return sscanf(version(), "%u.%u", &major, &minor) == 2 &&
           (major > 2 || minor >= 31);
}

const char *
mp_malloc_read(struct mp_malloc *malloc)
{
    struct mp_malloc_text text = {.page_size = (uint64_t)sysconf(_SC_PAGESIZE)};
    struct mp_lines lines = {.take = add_malloc_line, .context = &text};
    char buffer[BUFSIZ];
    const char *owner = malloc_owner();
    int (*info)(int, FILE *);
    *(void **)&info = symbol("malloc_info");
    memset(malloc, 0xff, sizeof *malloc); /* MP_UNKNOWN */
    if (strcmp(owner, "glibc") != 0 || info == NULL || !knows_the_top()) {
        return owner;
    }
    FILE *stream = open_stream(&lines, buffer, sizeof buffer);
    if (stream == NULL) {
        return owner;
    }
    int failed = info(0, stream);
    failed |= fclose(stream);
    uint64_t unused = text.fast + text.rest;
    if (failed == 0 && text.complete && unused <= text.system) {
        *malloc = (struct mp_malloc){
            .system = text.system,
            .used = text.system - unused,
            .mapped = text.mapped,
            .whole_pages = text.whole_pages,
        };
    }
    return owner;
}

/* What each of them has for it; 4096 stands for all arenas (jemalloc's
 * MALLCTL_ARENAS_ALL). musl gives back what it can by itself. */
void
mp_malloc_trim(void)
{
    const char *owner = malloc_owner();
    int (*trim)(size_t);
    int (*control)(const char *, void *, size_t *, void *, size_t);
    void (*release)(void);
    void (*collect)(bool);
    if (strcmp(owner, "glibc") == 0) {
        *(void **)&trim = symbol("malloc_trim");
        (void)trim(0);
    } else if (strcmp(owner, "jemalloc") == 0) {
        *(void **)&control = symbol("mallctl");
        (void)control("arena.4096.purge", NULL, NULL, NULL, 0);
    } else if (strcmp(owner, "tcmalloc") == 0) {
        *(void **)&release = symbol("MallocExtension_ReleaseFreeMemory");
        if (release != NULL) {
            release();
        }
    } else if (strcmp(owner, "mimalloc") == 0) {
        *(void **)&collect = symbol("mi_collect");
        if (collect != NULL) {
            collect(true);
        }
    }
}

static void
add_pymalloc_line(void *text, const char *line, size_t length)
{
    (void)length;
    mp_pymalloc_text_add(text, line);
}

/* A private function, but one that each CPython from 3.10 to 3.15 has:
 * sys._debugmallocstats() prints by it. */
void
mp_pymalloc_read(struct mp_pymalloc *pymalloc)
{
    struct mp_pymalloc_text text = {0};
    struct mp_lines lines = {.take = add_pymalloc_line, .context = &text};
    char buffer[BUFSIZ];
    int (*print)(FILE *);
    *(void **)&print = symbol("_PyObject_DebugMallocStats");
    *pymalloc = (struct mp_pymalloc){MP_UNKNOWN, MP_UNKNOWN};
    if (print == NULL) {
        return;
    }
    FILE *stream = open_stream(&lines, buffer, sizeof buffer);
    if (stream == NULL) {
        return;
    }
    (void)print(stream);
    if (fclose(stream) == 0 && text.lines == MP_PYMALLOC_LINES) {
        *pymalloc = (struct mp_pymalloc){text.used, text.free};
    }
}
