/* A host of Python's that forks by itself, as uWSGI does: it runs a file, calls
 * Python's hooks around a C fork() outside of any code, and runs no bytecode again.
 * Prints how many samples memprobe has stored before the fork, and half a second after
 * it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static long
stored(PyObject *snapshot)
{
    PyObject *view = PyObject_CallNoArgs(snapshot);
    long count = view == NULL ? -1 : (long)PyObject_Size(view);
    Py_XDECREF(view);
    return count;
}

int
main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (file == NULL) {
        return 2;
    }
    Py_Initialize();
    if (PyRun_SimpleFile(file, argv[1]) != 0) {
        return 3;
    }
    PyObject *module = PyImport_ImportModule("memprobe._memprobe");
    PyObject *snapshot =
        module == NULL ? NULL : PyObject_GetAttrString(module, "snapshot");
    if (snapshot == NULL) {
        return 4;
    }
    PyOS_BeforeFork();
    long before = stored(snapshot);
    pid_t pid = fork();
    if (pid == 0) {
        PyOS_AfterFork_Child();
        _exit(0);
    }
    PyOS_AfterFork_Parent();
    usleep(500000);
    printf("%ld %ld\n", before, stored(snapshot));
    return waitpid(pid, NULL, 0) == pid ? 0 : 5;
}
