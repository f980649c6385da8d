/* An extension in C that samples without the GIL, from a thread that Python doesn't
 * know. */
#include "memprobe.h"

#include <pthread.h>

#define SAMPLES 1000

static void *
take_samples(void *result)
{
    for (int i = 0; i < SAMPLES; i++) {
        uint64_t bytes = 0;
        int error = memprobe_sample(i % 2 == 0 ? &bytes : NULL);
        if (error == 0 && i % 2 == 0 && bytes == 0) {
            error = -1;
        }
        if (error != 0) {
            *(int *)result = error;
            break;
        }
    }
    return NULL;
}

/* sample_in_threads(threads): each takes 1000 samples. Returns the last error. */
static PyObject *
sample_in_threads(PyObject *module, PyObject *argument)
{
    (void)module;
    pthread_t threads[16];
    int results[16] = {0};
    long count = PyLong_AsLong(argument);
    if (count < 1 || count > 16) {
        return PyErr_Format(PyExc_ValueError, "from 1 to 16 threads");
    }
    Py_BEGIN_ALLOW_THREADS
    for (long i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, take_samples, &results[i]) != 0) {
            results[i] = -2;
        }
    }
    for (long i = 0; i < count; i++) {
        if (results[i] != -2) {
            (void)pthread_join(threads[i], NULL);
        }
    }
    Py_END_ALLOW_THREADS
    long result = 0;
    for (long i = 0; i < count; i++) {
        result = results[i] != 0 ? results[i] : result;
    }
    return PyLong_FromLong(result);
}

static PyObject *
read_rss(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    uint64_t bytes = 0;
    int error;
    Py_BEGIN_ALLOW_THREADS
    error = memprobe_rss(&bytes);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("iK", error, (unsigned long long)bytes);
}

static PyObject *
import_it(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    return memprobe_import() < 0 ? NULL : PyLong_FromLong(0);
}

static PyMethodDef methods[] = {
    {"sample_in_threads", sample_in_threads, METH_O, NULL},
    {"read_rss", read_rss, METH_NOARGS, NULL},
    {"import_it", import_it, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "plain",
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit_plain(void)
{
    PyObject *module = PyModule_Create(&definition);
#ifdef Py_GIL_DISABLED
    if (module != NULL) {
        (void)PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED);
    }
#endif
    return module;
}
