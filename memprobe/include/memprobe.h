/* memprobe's C API: readings and samples of RSS for hot paths in C and Cython.
 *
 * Call memprobe_import() once, with the GIL, in each file that uses the other two, for
 * example where the module is initialised. These need no GIL and no Python: they may be
 * called from any thread. They are not for signal handlers. docs/c-api.md has examples,
 * also for ctypes and cffi.
 *
 * C99 and C++11. The folder of this file is memprobe.get_include(). */
#ifndef MEMPROBE_H
#define MEMPROBE_H

#include <Python.h>

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows when a member of the struct changes. Members are only ever added at its end,
 * which `size` shows. */
#define MEMPROBE_ABI_VERSION 1

#define MEMPROBE_CAPSULE "memprobe._memprobe._C_API"

typedef struct {
    uint32_t abi_version;
    uint32_t size; /* of this struct, as the module has it */
    int (*rss)(uint64_t *bytes);
    int (*sample)(uint64_t *bytes);
} memprobe_api;

#ifndef MEMPROBE_MODULE /* which memprobe's own module defines */

static const memprobe_api *memprobe_imported = NULL;

/* Imports memprobe, with the GIL. Returns 0, or -1 with the exception that the import
 * raised, or with an ImportError if the module is older than this header. */
static inline int
memprobe_import(void)
{
    /* Not PyCapsule_Import(), which puts an ImportError of its own in place of the one
     * that says what is missing. */
    const memprobe_api *api = NULL;
    PyObject *module = PyImport_ImportModule("memprobe._memprobe");
    if (module != NULL) {
        PyObject *capsule = PyObject_GetAttrString(module, "_C_API");
        Py_DECREF(module);
        if (capsule != NULL) {
            api = (const memprobe_api *)PyCapsule_GetPointer(capsule, MEMPROBE_CAPSULE);
            Py_DECREF(capsule);
        }
    }
    if (api == NULL) {
        return -1;
    }
    if (api->abi_version != MEMPROBE_ABI_VERSION || api->size < sizeof *api) {
        PyErr_Format(
            PyExc_ImportError,
            "this extension was built with another memprobe.h (ABI version %d, "
            "%d bytes) than the installed memprobe has (version %d, %d bytes): "
            "upgrade memprobe, or build the extension again",
            (int)MEMPROBE_ABI_VERSION, (int)sizeof *api, (int)api->abi_version,
            (int)api->size);
        return -1;
    }
    memprobe_imported = api;
    return 0;
}

/* Reads RSS in bytes. Returns 0, or an errno (on Windows a GetLastError() code):
 * ENOMEM without memory for the ring, ENOSYS without memprobe_import(). */
static inline int
memprobe_rss(uint64_t *bytes)
{
    return memprobe_imported == NULL ? ENOSYS : memprobe_imported->rss(bytes);
}

/* Reads RSS in bytes and stores the sample, whatever min_interval is. `bytes` may be
 * NULL. Returns as memprobe_rss does; on failure nothing is stored. */
static inline int
memprobe_sample(uint64_t *bytes)
{
    return memprobe_imported == NULL ? ENOSYS : memprobe_imported->sample(bytes);
}

#endif

#ifdef __cplusplus
}
#endif

#endif
