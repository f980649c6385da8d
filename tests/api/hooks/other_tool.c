/* A tool that hooks Python's raw allocator, as profilers do. */
#include <Python.h>

static PyMemAllocatorEx original, replaced;

static void *
pass_malloc(void *context, size_t size)
{
    return replaced.malloc(context, size);
}

static void *
pass_calloc(void *context, size_t count, size_t size)
{
    return replaced.calloc(context, count, size);
}

static void *
pass_realloc(void *context, void *block, size_t size)
{
    return replaced.realloc(context, block, size);
}

static void
pass_free(void *context, void *block)
{
    replaced.free(context, block);
}

/* Remembers what is in place. */
void
tool_load(void)
{
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &original);
}

void
tool_start(void)
{
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &replaced);
    PyMemAllocatorEx ours = {replaced.ctx, pass_malloc, pass_calloc, pass_realloc,
                             pass_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &ours);
}

void
tool_stop(void)
{
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &replaced);
}

/* Puts back what was there when it was loaded, whatever came since. */
void
tool_restore(void)
{
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &original);
}
