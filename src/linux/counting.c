#ifndef _GNU_SOURCE
#    define _GNU_SOURCE 1 /* dladdr */
#endif
#include "breakdown.h"
#include "system.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* What Python's raw domain has in malloc: all that is above 512 bytes, which pymalloc
 * hands on to it, and some of Python's own. The functions that are in place are wrapped
 * in ones that count: 7 to 12 ns a pair. */

/* Python's PyMemAllocatorEx, and its PYMEM_DOMAIN_RAW */
struct allocator {
    void *context;
    void *(*malloc)(void *context, size_t size);
    void *(*calloc)(void *context, size_t count, size_t size);
    void *(*realloc)(void *context, void *block, size_t size);
    void (*free)(void *context, void *block);
};
#define RAW_DOMAIN 0

/* Of Python, looked up by name: the limited API doesn't have the first two. */
struct python {
    void (*get_allocator)(int domain, struct allocator *allocator);
    void (*set_allocator)(int domain, struct allocator *allocator);
    void *(*malloc)(size_t size);
    void (*free)(void *block);
};

/* Process-wide, as Python's table is, and a forked child's, as the memory is. Changed
 * with the GIL. */
static struct allocator wrapped;
static uint64_t counted_since;
static _Atomic int64_t counted_bytes;

/* glibc's chunks are larger than what can be used of them by this. */
static const int64_t chunk_header = 8;

static int64_t
size_of(void *block)
{
    return block == NULL ? 0 : (int64_t)malloc_usable_size(block) + chunk_header;
}

static void
add_counted(int64_t bytes)
{
    (void)atomic_fetch_add_explicit(&counted_bytes, bytes, memory_order_relaxed);
}

static void *
counting_malloc(void *context, size_t size)
{
    void *block = wrapped.malloc(context, size);
    add_counted(size_of(block));
    return block;
}

static void *
counting_calloc(void *context, size_t number, size_t size)
{
    void *block = wrapped.calloc(context, number, size);
    add_counted(size_of(block));
    return block;
}

static void *
counting_realloc(void *context, void *block, size_t size)
{
    int64_t before = size_of(block);
    void *moved = wrapped.realloc(context, block, size);
    if (moved != NULL) {
        add_counted(size_of(moved) - before);
    }
    return moved;
}

static void
counting_free(void *context, void *block)
{
    add_counted(-size_of(block));
    wrapped.free(context, block);
}

static const struct allocator counting = {
    NULL, counting_malloc, counting_calloc, counting_realloc, counting_free,
};

static bool
are_counting(const struct allocator *allocator)
{
    return memcmp(allocator, &counting, sizeof counting) == 0;
}

/* Where a function is, and the beginning of its library; NULL if there is none. */
static const void *
library_of(const void *function)
{
    Dl_info info;
    return function != NULL && dladdr(function, &info) != 0 ? info.dli_fbase : NULL;
}

static bool
find_python(struct python *python)
{
    *(void **)&python->get_allocator = dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    *(void **)&python->set_allocator = dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    *(void **)&python->malloc = dlsym(RTLD_DEFAULT, "PyObject_Malloc");
    *(void **)&python->free = dlsym(RTLD_DEFAULT, "PyObject_Free");
    return python->get_allocator != NULL && python->set_allocator != NULL &&
           python->malloc != NULL && python->free != NULL;
}

/* Are these functions Python's own, which need no context, so that while the table is
 * being changed a thread without the GIL may find some of the old and some of the new?
 * With a context they belong to tracemalloc or to PYTHONMALLOC=debug, in another
 * library to another tool, which will put back what it found when it goes. */
static bool
are_pythons(const struct allocator *allocator, const struct python *python)
{
    const void *library = library_of(*(void *const *)&python->set_allocator);
    return library != NULL && allocator->context == NULL &&
           library_of(*(void *const *)&allocator->malloc) == library &&
           library_of(*(void *const *)&allocator->calloc) == library &&
           library_of(*(void *const *)&allocator->realloc) == library &&
           library_of(*(void *const *)&allocator->free) == library;
}

/* Does whoever has malloc() answer malloc_usable_size(), too? */
static bool
sizes_can_be_asked(void)
{
    const void *library = mp_malloc_library();
    return library != NULL &&
           library_of(dlsym(RTLD_DEFAULT, "malloc_usable_size")) == library;
}

/* Is a block counted when it is allocated, and when it is freed? Not with
 * PYTHONMALLOC=malloc or mimalloc, whose objects come another way: its size isn't asked
 * for. Tried more than once: another thread may allocate meanwhile without the GIL. */
static bool
prove(const struct python *python)
{
    const int64_t size = 1001;
    for (int i = 0; i < 8; i++) {
        int64_t before = atomic_load(&counted_bytes);
        void *block = python->malloc((size_t)size);
        int64_t more = atomic_load(&counted_bytes) - before;
        python->free(block);
        if (more >= size && more <= 2 * size && atomic_load(&counted_bytes) == before) {
            return true;
        }
    }
    return false;
}

/* Returns whether the counting functions are in place. */
static bool
put_in_place(const struct python *python)
{
    struct allocator now;
    python->get_allocator(RAW_DOMAIN, &now);
    if (are_counting(&now)) {
        return true;
    }
    if (!are_pythons(&now, python) || !sizes_can_be_asked()) {
        return false;
    }
    /* A new count: what was there before, if anything, missed something. */
    wrapped = now;
    counted_since = (uint64_t)mp_clock_ns() << 16 ^ (uint64_t)getpid();
    atomic_store(&counted_bytes, 0);
    now = counting;
    python->set_allocator(RAW_DOMAIN, &now);
    return true;
}

bool
mp_counting_read(struct mp_counted *counted)
{
    struct python python;
    if (!find_python(&python) || !put_in_place(&python)) {
        return false;
    }
    if (!prove(&python)) {
        python.set_allocator(RAW_DOMAIN, &wrapped);
        return false;
    }
    counted->since = counted_since;
    counted->bytes = atomic_load(&counted_bytes);
    return true;
}
