/* The binding: the probe as Python functions. The only file that knows Python, and it
 * knows no operating system. */
#ifndef PY_SSIZE_T_CLEAN
#    define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>

#define MEMPROBE_MODULE
#include "memprobe.h"

#include "attributes.h"
#include "breakdown.h"
#include "contact.h"
#include "humanize.h"
#include "probe.h"
#include "recorder.h"
#include "system.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Of the Python files that this belongs to; setup.py defines it. */
#ifndef MEMPROBE_VERSION
#    define MEMPROBE_VERSION "unknown"
#endif

/* The object made last of a number of bytes. From one reading to the next RSS mostly
 * stays the same, and then the object can be handed out again: a text costs 0.05 of a
 * reading, an int 0.015. */
struct made {
    PyObject *object;
    uint64_t bytes;
};

/* Per interpreter. Everything about the process belongs to the probe. */
struct module_state {
    PyTypeObject *samples_type;
    struct made text;
    struct made number;
    struct made anon;
};

/* Turns an error of the probe into an exception; `source` is where the number should
 * have come from. Always returns NULL. */
static MP_COLD PyObject *
raise_error(int error, const char *source)
{
    if (error == MP_NO_MEMORY) {
        return PyErr_Format(PyExc_MemoryError, "no memory for the ring of samples");
    }
    if (error == MP_NOT_TOLD) {
        return PyErr_Format(PyExc_NotImplementedError, "%s doesn't tell that", source);
    }
    if (error == MP_RSS_NO_RESET) {
        return PyErr_Format(PyExc_NotImplementedError, "%s can't be reset here",
                            source);
    }
    /* Not left to the functions that take a char *: these go on without memory for it
     * and lose the MemoryError. */
    PyObject *filename = PyUnicode_DecodeFSDefault(source);
    if (filename == NULL) {
        return NULL;
    }
#ifdef MS_WINDOWS
    if (error != MP_NO_ANSWER) {
        PyErr_SetExcFromWindowsErrWithFilenameObject(PyExc_OSError, error, filename);
        Py_DECREF(filename);
        return NULL;
    }
#endif
    errno = error == MP_NO_ANSWER ? ETIMEDOUT : error;
    PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, filename);
    Py_DECREF(filename);
    return NULL;
}

/* Arguments */

/* Returns the argument as an int, or NULL with a TypeError that names it. */
static PyObject *
parse_int(PyObject *argument, const char *name)
{
    PyObject *number = PyNumber_Index(argument);
    if (number == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "%s must be an int, not %R", name, argument);
    }
    return number;
}

/* Reads an int of at least `least`. More than 64 bits hold becomes UINT64_MAX.
 * Returns 0, or -1 with an exception. */
static int
parse_count(PyObject *argument, const char *name, unsigned least, uint64_t *count)
{
    PyObject *number = parse_int(argument, name);
    if (number == NULL) {
        return -1;
    }
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow < 0 || (overflow == 0 && value < (long long)least)) {
        PyErr_Format(PyExc_ValueError, "%s must be %u or more, not %R", name, least,
                     argument);
        Py_DECREF(number);
        return -1;
    }
    *count = (uint64_t)value;
    if (overflow > 0) {
        *count = PyLong_AsUnsignedLongLong(number);
        PyErr_Clear(); /* of the OverflowError, whose value is UINT64_MAX */
    }
    Py_DECREF(number);
    return 0;
}

/* isfinite() as -ffast-math doesn't fold it to true, which a builder may have set. */
static bool
is_finite(double number)
{
    const uint64_t exponent = UINT64_C(0x7ff) << 52;
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return (bits & exponent) != exponent;
}

enum seconds { SECONDS_FROM_0, SECONDS_ABOVE_0 };

/* Reads a finite number of seconds as nanoseconds, at least 1 of them if 0 isn't
 * allowed. What 64 bits can't hold, 292 years, becomes the most that they can. Returns
 * 0, or -1 with an exception. */
static int
parse_seconds(PyObject *argument, const char *name, enum seconds allowed, int64_t *ns)
{
    double seconds = PyFloat_AsDouble(argument);
    bool finite = is_finite(seconds);
    if (seconds == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Clear();
            PyErr_Format(PyExc_TypeError, "%s must be a number of seconds, not %R",
                         name, argument);
            return -1;
        }
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return -1;
        }
        PyErr_Clear();
        finite = false;
    }
    if (!finite || seconds < 0 || (seconds == 0 && allowed != SECONDS_FROM_0)) {
        PyErr_Format(PyExc_ValueError,
                     "%s must be a finite number of seconds, %s, not %R", name,
                     allowed == SECONDS_FROM_0 ? "0 or more" : "above 0", argument);
        return -1;
    }
    double exact = seconds * 1e9;
    *ns = exact >= 9.2e18 ? INT64_MAX : (int64_t)llround(exact);
    if (*ns == 0 && seconds > 0) {
        *ns = 1;
    }
    return 0;
}

/* Readings */

static PyObject *
new_text(uint64_t bytes)
{
    char text[MP_HUMANIZE_SIZE];
    size_t length = mp_humanize(bytes, text);
    return PyUnicode_FromStringAndSize(text, (Py_ssize_t)length);
}

static PyObject *
new_number(uint64_t bytes)
{
    return PyLong_FromUnsignedLongLong(bytes);
}

#ifndef Py_GIL_DISABLED
static MP_COLD PyObject *
make_anew(struct made *last, uint64_t bytes, PyObject *(*make)(uint64_t))
{
    PyObject *object = make(bytes);
    if (object != NULL) {
        PyObject *old = last->object;
        last->object = Py_NewRef(object);
        last->bytes = bytes;
        Py_XDECREF(old);
    }
    return object;
}

#endif

/* The object for these bytes: the one made last, or a new one. */
static inline PyObject *
made_of(struct made *last, uint64_t bytes, PyObject *(*make)(uint64_t))
{
#ifdef Py_GIL_DISABLED
    /* Threads would need a lock here, and would count references of one object: that
     * costs more than making it. */
    (void)last;
    return make(bytes);
#else
    if (last->object != NULL && last->bytes == bytes) {
        return Py_NewRef(last->object);
    }
    return make_anew(last, bytes, make);
#endif
}

/* For the functions that make a reading: METH_FASTCALL, because the interpreter's CALL
 * has calls of these specialised since 3.11. METH_NOARGS costs 0.03 of a reading more.
 */
static MP_COLD PyObject *
refuse_arguments(const char *name, Py_ssize_t count)
{
    return PyErr_Format(PyExc_TypeError, "%s() takes no arguments (%zd given)", name,
                        count);
}

PyDoc_STRVAR(
    rss_doc,
    "rss($module, /)\n--\n\n"
    "RSS of this process now, in bytes.\n\n"
    "Linux: resident pages of /proc/self/statm; macOS: resident_size of\n"
    "task_info(); Windows: WorkingSetSize. Raises OSError, with the errno and\n"
    "the file, if the system doesn't tell.");

static MP_FLAT PyObject *
rss(PyObject *module, PyObject *const *Py_UNUSED(args), Py_ssize_t count)
{
    if (count != 0) {
        return refuse_arguments("rss", count);
    }
    uint64_t bytes;
    int error = mp_probe_rss(&bytes);
    if (error != 0) {
        return raise_error(error, mp_rss_source);
    }
    struct module_state *state = PyModule_GetState(module);
    return made_of(&state->number, bytes, new_number);
}

PyDoc_STRVAR(
    rss_anon_doc,
    "rss_anon($module, /)\n--\n\n"
    "RSS of this process now less its shared part, in bytes.\n\n"
    "The shared part is what it maps of files and shared memory, so this is what a\n"
    "leak is made of. Linux: the second number of /proc/self/statm less the third.\n"
    "Raises NotImplementedError where the system doesn't tell: macOS, Windows,\n"
    "gVisor; OSError as rss() does.");

static MP_FLAT PyObject *
rss_anon(PyObject *module, PyObject *const *Py_UNUSED(args), Py_ssize_t count)
{
    if (count != 0) {
        return refuse_arguments("rss_anon", count);
    }
    uint64_t bytes;
    int error = mp_probe_rss_anon(&bytes);
    if (error != 0) {
        return raise_error(error, mp_rss_source);
    }
    struct module_state *state = PyModule_GetState(module);
    return made_of(&state->anon, bytes, new_number);
}

PyDoc_STRVAR(mem_rss_doc, "mem_rss($module, /)\n--\n\n"
                          "RSS of this process now, as text for people: '29.105MB'.\n\n"
                          "humanbytes(rss()). Raises OSError as rss() does.");

static MP_FLAT PyObject *
mem_rss(PyObject *module, PyObject *const *Py_UNUSED(args), Py_ssize_t count)
{
    if (count != 0) {
        return refuse_arguments("mem_rss", count);
    }
    uint64_t bytes;
    int error = mp_probe_rss(&bytes);
    if (error != 0) {
        return raise_error(error, mp_rss_source);
    }
    struct module_state *state = PyModule_GetState(module);
    return made_of(&state->text, bytes, new_text);
}

PyDoc_STRVAR(
    sample_mem_doc,
    "sample_mem($module, /)\n--\n\n"
    "Sample RSS: read it, store it with its time, return it as text.\n\n"
    "memdump(), stats() and snapshot() show what was stored. Within min_interval\n"
    "seconds of the last sample (see configure()) nothing is read and stored, and\n"
    "the text is that of the last sample. Raises OSError as rss() does, and\n"
    "MemoryError if there is no memory for the samples; then none is stored.");

static MP_FLAT PyObject *
sample_mem(PyObject *module, PyObject *const *Py_UNUSED(args), Py_ssize_t count)
{
    if (count != 0) {
        return refuse_arguments("sample_mem", count);
    }
    uint64_t bytes;
    int error = mp_probe_sample_throttled(&bytes);
    if (error != 0) {
        return raise_error(error, mp_rss_source);
    }
    struct module_state *state = PyModule_GetState(module);
    return made_of(&state->text, bytes, new_text);
}

PyDoc_STRVAR(
    peak_rss_doc,
    "peak_rss($module, /)\n--\n\n"
    "The highest RSS that this process ever had, in bytes.\n\n"
    "The kernel's own high-water mark, never less than a reading by memprobe or\n"
    "than what this returned before. Linux: VmHWM of /proc/self/status, or where\n"
    "that can't be opened ru_maxrss of getrusage(); from Linux 6.2 on either may lag\n"
    "behind by CPUs * max(32, 2 * CPUs) pages. macOS: resident_size_max of\n"
    "task_info(); Windows: PeakWorkingSetSize. Raises OSError, with the errno and\n"
    "the file, if the system doesn't tell.");

static PyObject *
peak_rss(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    uint64_t bytes;
    int error = mp_probe_peak(&bytes);
    if (error != 0) {
        return raise_error(error, mp_rss_peak_source);
    }
    return PyLong_FromUnsignedLongLong(bytes);
}

PyDoc_STRVAR(
    above_doc,
    "above($module, /, limit, seconds=0)\n--\n\n"
    "Is RSS above limit bytes now, and was it in each sample of the last seconds?\n\n"
    "With seconds=0 only now. Samples that clear() or memdump() has forgotten tell\n"
    "as well, until they are overwritten. False if they don't reach back so many\n"
    "seconds; if there is none within these, the last one before tells. Raises\n"
    "TypeError or ValueError for arguments that aren't an int and a finite number of\n"
    "seconds, 0 or more; OSError as rss() does.");

static PyObject *
above(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"limit", "seconds", NULL};
    PyObject *limit;
    PyObject *seconds = NULL;
    uint64_t bytes;
    int64_t within_ns = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:above", names, &limit,
                                     &seconds) ||
        parse_count(limit, "limit", 0, &bytes) < 0) {
        return NULL;
    }
    if (seconds != NULL &&
        parse_seconds(seconds, "seconds", SECONDS_FROM_0, &within_ns) < 0) {
        return NULL;
    }
    bool is_above;
    int error = mp_probe_above(bytes, within_ns, &is_above);
    if (error != 0) {
        return raise_error(error, mp_rss_source);
    }
    return PyBool_FromLong(is_above);
}

PyDoc_STRVAR(
    humanbytes_doc,
    "humanbytes($module, s, /)\n--\n\n"
    "The number of bytes s as text for people: 1536 is '1.5KB'.\n\n"
    "In b, KB, MB, GB or TB of 1024, with at most five significant digits. Raises\n"
    "TypeError if s isn't an int, ValueError if it is negative or has over 64 bits.");

static PyObject *
humanbytes(PyObject *Py_UNUSED(module), PyObject *s)
{
    PyObject *number = parse_int(s, "s");
    if (number == NULL) {
        return NULL;
    }
    uint64_t bytes = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return PyErr_Format(PyExc_ValueError, "s must be from 0 to 2**64 - 1, not %R",
                            s);
    }
    return new_text(bytes);
}

/* The stored samples */

/* A copy of samples that exports them as the buffer of a memoryview. memoryview.cast
 * can't make the shape (0, 2). */
struct samples {
    PyObject_HEAD struct mp_sample *samples;
    Py_ssize_t shape[2];
    Py_ssize_t strides[2];
};

static void
samples_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyMem_Free(((struct samples *)self)->samples);
    freefunc free_self = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_self(self);
    Py_DECREF(type);
}

static int
samples_getbuffer(PyObject *exporter, Py_buffer *view, int flags)
{
    static char format[] = "q";
    struct samples *self = (struct samples *)exporter;
    *view = (Py_buffer){
        .buf = self->samples,
        .obj = Py_NewRef(exporter),
        .len = self->shape[0] * (Py_ssize_t)sizeof *self->samples,
        .itemsize = sizeof(int64_t),
        .ndim = 2,
        .format = (flags & PyBUF_FORMAT) == PyBUF_FORMAT ? format : NULL,
        .shape = (flags & PyBUF_ND) == PyBUF_ND ? self->shape : NULL,
        .strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? self->strides : NULL,
    };
    return 0;
}

static PyType_Slot samples_slots[] = {
    {Py_tp_dealloc, samples_dealloc},
    {Py_bf_getbuffer, samples_getbuffer},
    {0, NULL},
};

static PyType_Spec samples_spec = {
    .name = "memprobe._memprobe.Samples",
    .basicsize = sizeof(struct samples),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = samples_slots,
};

/* Memory for the samples stored now, at most `wanted`; *room is for how many.
 * Returns NULL with a MemoryError. */
static struct mp_sample *
room_for_samples(uint64_t wanted, uint64_t *room)
{
    uint64_t stored, overwritten;
    struct mp_totals totals;
    mp_probe_stats(&stored, &overwritten, &totals);
    *room = wanted < stored ? wanted : stored;
    struct mp_sample *samples = PyMem_Malloc((size_t)*room * sizeof *samples);
    if (samples == NULL) {
        PyErr_NoMemory();
    }
    return samples;
}

PyDoc_STRVAR(
    snapshot_doc,
    "snapshot($module, /)\n--\n\n"
    "A copy of the stored samples, oldest first, as a memoryview.\n\n"
    "Format 'q', shape (n, 2); the columns are time.monotonic_ns() and bytes.\n"
    "numpy.asarray() and tolist() take it as it is. Raises MemoryError if there\n"
    "is no memory for the copy.");

static PyObject *
snapshot(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct module_state *state = PyModule_GetState(module);
    uint64_t room;
    struct mp_sample *samples = room_for_samples(UINT64_MAX, &room);
    if (samples == NULL) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(state->samples_type, Py_tp_alloc);
    struct samples *copy = (struct samples *)allocate(state->samples_type, 0);
    if (copy == NULL) {
        PyMem_Free(samples);
        return NULL;
    }
    copy->samples = samples;
    copy->shape[0] = (Py_ssize_t)mp_probe_copy(samples, room);
    copy->shape[1] = sizeof *samples / sizeof(int64_t);
    copy->strides[0] = sizeof *samples;
    copy->strides[1] = sizeof(int64_t);
    PyObject *view = PyMemoryView_FromObject((PyObject *)copy);
    Py_DECREF(copy);
    return view;
}

PyDoc_STRVAR(
    select_samples_doc,
    "_select_samples($module, samples, /)\n--\n\n"
    "What memdump() prints: (list of bytes, overwritten, end).\n\n"
    "At most that many of the stored samples, spread evenly, the oldest and the\n"
    "newest among them; how many older ones were overwritten; and the number to\n"
    "give to _forget() for these samples, and the older ones, to be forgotten.");

static PyObject *
select_samples(PyObject *Py_UNUSED(module), PyObject *argument)
{
    uint64_t wanted;
    if (parse_count(argument, "samples", 0, &wanted) < 0) {
        return NULL;
    }
    uint64_t room;
    struct mp_sample *samples = room_for_samples(wanted, &room);
    if (samples == NULL) {
        return NULL;
    }
    struct mp_selection found = mp_probe_select(samples, room, wanted);
    PyObject *list = PyList_New((Py_ssize_t)found.count);
    for (uint64_t i = 0; list != NULL && i < found.count; i++) {
        PyObject *bytes = PyLong_FromUnsignedLongLong(samples[i].bytes);
        if (bytes == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SetItem(list, (Py_ssize_t)i, bytes);
    }
    PyMem_Free(samples);
    if (list == NULL) {
        return NULL;
    }
    return Py_BuildValue("NKK", list, (unsigned long long)found.overwritten,
                         (unsigned long long)found.end);
}

PyDoc_STRVAR(forget_doc,
             "_forget($module, end, /)\n--\n\n"
             "Forget the samples that _select_samples() counted up to this number.");

static PyObject *
forget(PyObject *Py_UNUSED(module), PyObject *argument)
{
    uint64_t end;
    if (parse_count(argument, "end", 0, &end) < 0) {
        return NULL;
    }
    mp_probe_forget(end);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(clear_doc, "clear($module, /)\n--\n\n"
                        "Forget all samples, and how many were overwritten.");

static PyObject *
clear(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    mp_probe_forget(UINT64_MAX);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    totals_doc,
    "_totals($module, /)\n--\n\n"
    "What stats() is made of: (stored, overwritten, summed, first, last, min,\n"
    "max, high 64 bits of the sum, low 64 bits, first time, last time).\n\n"
    "All but the first three mean nothing if summed is 0.");

static PyObject *
totals(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    uint64_t stored, overwritten;
    struct mp_totals all;
    mp_probe_stats(&stored, &overwritten, &all);
    typedef unsigned long long K;
    return Py_BuildValue("KKKKKKKKKLL", (K)stored, (K)overwritten, (K)all.count,
                         (K)all.first.bytes, (K)all.last.bytes, (K)all.min, (K)all.max,
                         (K)all.sum_high, (K)all.sum_low, (long long)all.first.ns,
                         (long long)all.last.ns);
}

PyDoc_STRVAR(
    configure_doc,
    "configure($module, /, *, capacity=None, min_interval=None)\n--\n\n"
    "Change what is given and not None.\n\n"
    "capacity: how many samples are kept, at 16 bytes each; 65536 at first. The\n"
    "newest that fit stay, the others count as overwritten. min_interval: a\n"
    "sample_mem() sooner than so many seconds after the last stored sample reads\n"
    "and stores nothing; 0 at first. A forked child inherits both. Raises\n"
    "TypeError, ValueError, or MemoryError if so many samples find no memory; then\n"
    "nothing has changed.");

static PyObject *
configure(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"capacity", "min_interval", NULL};
    PyObject *capacity = Py_None;
    PyObject *min_interval = Py_None;
    uint64_t samples = 0;
    int64_t min_interval_ns = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OO:configure", names, &capacity,
                                     &min_interval)) {
        return NULL;
    }
    if (capacity != Py_None && parse_count(capacity, "capacity", 1, &samples) < 0) {
        return NULL;
    }
    if (min_interval != Py_None &&
        parse_seconds(min_interval, "min_interval", SECONDS_FROM_0, &min_interval_ns) <
            0) {
        return NULL;
    }
    int error = capacity == Py_None ? 0 : mp_probe_set_capacity(samples);
    if (error != 0) {
        return PyErr_Format(PyExc_MemoryError, "no memory for capacity=%R samples",
                            capacity);
    }
    if (min_interval != Py_None) {
        mp_probe_set_min_interval(min_interval_ns);
    }
    Py_RETURN_NONE;
}

/* The sampler */

PyDoc_STRVAR(start_doc, "_start_sampling($module, interval, /)\n--\n\n"
                        "Start the sampler.");

/* Always returns NULL. */
static PyObject *
refuse_interval(PyObject *interval, int64_t running_ns)
{
    PyObject *running = PyFloat_FromDouble((double)running_ns / 1e9);
    if (running != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "the sampler runs already, every %R seconds and not every %R",
                     running, interval);
        Py_DECREF(running);
    }
    return NULL;
}

static PyObject *
start_sampling(PyObject *Py_UNUSED(module), PyObject *interval)
{
    int64_t interval_ns, running_ns;
    if (parse_seconds(interval, "interval", SECONDS_ABOVE_0, &interval_ns) < 0) {
        return NULL;
    }
    int error = mp_probe_start_sampling(interval_ns, &running_ns);
    if (error == MP_SAMPLING) {
        return refuse_interval(interval, running_ns);
    }
    if (error != 0) {
        return raise_error(error, mp_probe_thread_source);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc, "_stop_sampling($module, /)\n--\n\n"
                       "Stop the sampler, at once. Does nothing if none runs.");

static PyObject *
stop_sampling(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    const char *source;
    int error = mp_probe_stop_sampling(&source);
    if (error != 0) {
        return raise_error(error, source);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(before_fork_doc, "_before_fork($module, /)\n--\n\n"
                              "End the thread for now: os.fork() warns of threads.");

static PyObject *
before_fork(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    mp_probe_pause_thread();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(after_fork_doc, "_after_fork($module, /)\n--\n\n"
                             "Start the thread again, in the parent.");

static PyObject *
after_fork(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    mp_probe_resume_thread();
    Py_RETURN_NONE;
}

static int
resume_thread(void *Py_UNUSED(argument))
{
    mp_probe_resume_thread();
    return 0;
}

PyDoc_STRVAR(after_fork_later_doc,
             "_after_fork_later($module, /)\n--\n\n"
             "The same where os.fork() counts the threads after this: a moment later.");

/* Pending calls are made when os.fork() has returned to the code that called it. A
 * program that forks by itself and calls the hooks, as uWSGI does, has no such code: in
 * its master no bytecode ever runs again. */
static PyObject *
after_fork_later(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    mp_probe_allow_thread();
    if (PyEval_GetGlobals() == NULL || Py_AddPendingCall(resume_thread, NULL) != 0) {
        mp_probe_resume_thread();
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(end_doc, "_end($module, /)\n--\n\n"
                      "At the end of an interpreter: leave its blocks, and at the end\n"
                      "of the main one stop the sampler. Nothing is raised.");

static PyObject *
end(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    mp_probe_abandon_all(PyModule_GetState(module));
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) == 0) {
        const char *unwanted;
        (void)mp_probe_stop_sampling(&unwanted);
    }
    Py_RETURN_NONE;
}

/* The observer */

#define CONTACT_CAPSULE "memprobe observer"

/* What an observer is started with, as the functions below take it from Python. */
struct start {
    struct mp_contact_start what;
    const char *program;
    PyObject *processes; /* a tuple of ints */
    PyObject *interval;
    long long keep;
    int flags;
};

/* Makes the program's arguments and calls start_by(). Sets *error to what that returns.
 * Returns 0, or -1 with an exception. */
static int
start_observer_by(struct start *start,
                  int (*start_by)(void *, const struct mp_contact_start *, char *),
                  void *argument, int *error, char what[MP_TALK_LINE])
{
    int64_t interval_ns;
    if (parse_seconds(start->interval, "interval", SECONDS_ABOVE_0, &interval_ns) < 0) {
        return -1;
    }
    PyObject *tuple = start->processes;
    Py_ssize_t count = PyTuple_Size(tuple);
    if (count < 0) {
        return -1;
    }
    enum { FIRST = 4, BYTES = 24 };
    char (*numbers)[BYTES] = PyMem_Calloc((size_t)count + FIRST, BYTES);
    char **arguments = PyMem_Calloc((size_t)count + FIRST + 1, sizeof *arguments);
    int result = -1;
    if (numbers == NULL || arguments == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    strcpy(numbers[0], "_observer");
    snprintf(numbers[1], BYTES, "%lld", (long long)interval_ns);
    snprintf(numbers[2], BYTES, "%lld", start->keep);
    snprintf(numbers[3], BYTES, "%d", start->flags);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GetItem(tuple, i);
        unsigned long pid = item == NULL ? 0 : PyLong_AsUnsignedLong(item);
        if (PyErr_Occurred()) {
            goto done;
        }
        snprintf(numbers[FIRST + i], BYTES, "%lu", pid);
    }
    for (Py_ssize_t i = 0; i < count + FIRST; i++) {
        arguments[i] = numbers[i];
    }
    start->what.program = start->program;
    start->what.arguments = arguments;
    start->what.list = -1;
    Py_BEGIN_ALLOW_THREADS
    *error = start_by(argument, &start->what, what);
    Py_END_ALLOW_THREADS
    result = 0;
done:
    PyMem_Free(numbers);
    PyMem_Free(arguments);
    return result;
}

/* Turns an error of the observer's into an exception. Always returns NULL. */
static PyObject *
raise_observer_error(int error, const char *what, const char *program)
{
    if (error == EPIPE && what[0] == '\0') {
        PyObject *name = PyUnicode_DecodeFSDefault(program);
        PyObject *arguments =
            name == NULL ? NULL
                         : Py_BuildValue("isN", error,
                                         "the observer has ended without a word", name);
        /* By its own class: for Python 3.10 an OSError of arguments is no
         * BrokenPipeError until it has been caught. */
        PyObject *exception =
            arguments == NULL ? NULL : PyObject_CallObject(PyExc_OSError, arguments);
        Py_XDECREF(arguments);
        if (exception != NULL) {
            PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
            Py_DECREF(exception);
        }
        return NULL;
    }
    /* Of C's, while the others on Windows are the system's. */
    error = error == ETIMEDOUT ? MP_NO_ANSWER : error;
    return raise_error(error, what[0] != '\0' ? what : program);
}

static int
start_contact(void *contact, const struct mp_contact_start *start, char *what)
{
    return mp_contact_start(contact, start, what);
}

static void
contact_destructor(PyObject *capsule)
{
    struct mp_contact *contact = PyCapsule_GetPointer(capsule, CONTACT_CAPSULE);
    mp_contact_end(contact);
    PyMem_Free(contact);
}

PyDoc_STRVAR(
    start_observer_doc,
    "_start_observer($module, program, folder, path, processes, interval, keep,\n"
    "                flags, /)\n--\n\n"
    "Start an observer of these processes; return what _ask_observer() takes.");

static PyObject *
start_observer(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct start start = {.flags = 0};
    char what[MP_TALK_LINE];
    int error = 0;
    if (!PyArg_ParseTuple(args, "yiyO!OLi:_start_observer", &start.program,
                          &start.what.folder, &start.what.path, &PyTuple_Type,
                          &start.processes, &start.interval, &start.keep,
                          &start.flags)) {
        return NULL;
    }
    struct mp_contact *contact = PyMem_Calloc(1, sizeof *contact);
    if (contact == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *capsule = PyCapsule_New(contact, CONTACT_CAPSULE, contact_destructor);
    if (capsule == NULL) {
        PyMem_Free(contact);
        return NULL;
    }
    if (start_observer_by(&start, start_contact, contact, &error, what) < 0) {
        Py_DECREF(capsule);
        return NULL;
    }
    if (error != 0) {
        Py_DECREF(capsule);
        return raise_observer_error(error, what, start.program);
    }
    return capsule;
}

PyDoc_STRVAR(ask_observer_doc,
             "_ask_observer($module, observer, request, seconds, /)\n--\n\n"
             "Send a request, and wait so long for the answer.");

static PyObject *
ask_observer(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *capsule, *seconds;
    const char *request;
    int64_t wait_ns;
    char what[MP_TALK_LINE];
    int error;
    if (!PyArg_ParseTuple(args, "OyO:_ask_observer", &capsule, &request, &seconds) ||
        parse_seconds(seconds, "seconds", SECONDS_FROM_0, &wait_ns) < 0) {
        return NULL;
    }
    struct mp_contact *contact = PyCapsule_GetPointer(capsule, CONTACT_CAPSULE);
    if (contact == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    error = mp_contact_ask(contact, request, wait_ns, what);
    Py_END_ALLOW_THREADS
    if (error != 0) {
        return raise_observer_error(error, what, "the observer");
    }
    Py_RETURN_NONE;
}

/* The recorder */

static int
start_recorder(void *folder, const struct mp_contact_start *start, char *what)
{
    return mp_recorder_start(start, folder, what);
}

PyDoc_STRVAR(
    record_doc,
    "_record($module, program, folder, path, process, interval, keep, flags,\n"
    "        /)\n--\n\n"
    "Start recording into the folder, if this process isn't recorded there.\n\n"
    "Returns the path of the folder that is recorded into.");

static PyObject *
record(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct start start = {.flags = 0};
    char what[MP_TALK_LINE] = "";
    char folder[MP_RECORDER_PATH];
    const char *path;
    PyObject *process;
    int error = 0;
    if (!PyArg_ParseTuple(args, "yiyOOLi:_record", &start.program, &start.what.folder,
                          &path, &process, &start.interval, &start.keep,
                          &start.flags)) {
        return NULL;
    }
    start.processes = PyTuple_Pack(1, process);
    if (start.processes == NULL) {
        return NULL;
    }
    start.what.path = path;
    int result = start_observer_by(&start, start_recorder, (void *)path, &error, what);
    Py_DECREF(start.processes);
    if (result < 0) {
        return NULL;
    }
    if (error != 0 && error != MP_RECORDING) {
        return raise_observer_error(error, what, start.program);
    }
    mp_recorder_folder(folder);
    return PyBytes_FromString(folder);
}

PyDoc_STRVAR(recorded_doc,
             "_recorded($module, /)\n--\n\n"
             "The path of the folder that is recorded into; b'' if there is none.");

static PyObject *
recorded(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    char folder[MP_RECORDER_PATH];
    mp_recorder_folder(folder);
    return PyBytes_FromString(folder);
}

PyDoc_STRVAR(stop_recording_doc, "_stop_recording($module, /)\n--\n\n"
                                 "Stop the recorder; raise what it couldn't do.");

static PyObject *
stop_recording(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    char what[MP_TALK_LINE];
    int error;
    Py_BEGIN_ALLOW_THREADS
    error = mp_recorder_stop(what);
    Py_END_ALLOW_THREADS
    if (error != 0) {
        return raise_observer_error(error, what, "the observer");
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(ask_recorder_doc, "_ask_recorder($module, request, /)\n--\n\n"
                               "Send a request, and wait 0.1 s for the answer.");

static PyObject *
ask_recorder(PyObject *Py_UNUSED(module), PyObject *argument)
{
    char what[MP_TALK_LINE];
    int error;
    const char *request = PyBytes_AsString(argument);
    if (request == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    error = mp_recorder_ask(request, what);
    Py_END_ALLOW_THREADS
    if (error != 0) {
        return raise_observer_error(error, what, "the observer");
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(last_look_doc, "_last_look($module, /)\n--\n\n"
                            "Let the recorder look before the process ends.");

static PyObject *
last_look(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    Py_BEGIN_ALLOW_THREADS
    mp_recorder_look();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

PyDoc_STRVAR(left_session_doc,
             "_left_session($module, /)\n--\n\n"
             "Whether this process has left the session of the one that is recorded.");

static PyObject *
left_session(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(mp_recorder_left_session());
}

/* Measured blocks */

#define BLOCK_CAPSULE "memprobe block"

/* Of C's heap: what an interpreter's own allocator has is gone when that ends. */
struct measured_block {
    struct mp_block block;
    Py_buffer told; /* held while a thread may write there; .obj is NULL: it isn't */
};

static void
block_destructor(PyObject *capsule)
{
    struct measured_block *block = PyCapsule_GetPointer(capsule, BLOCK_CAPSULE);
    mp_probe_abandon(&block->block);
    PyBuffer_Release(&block->told);
    free(block);
}

/* Enters a block. Returns a capsule, or NULL with an exception. */
static PyObject *
new_block(PyObject *module, enum mp_peak peak, PyObject *told)
{
    struct measured_block *block = calloc(1, sizeof *block);
    if (block == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *capsule = PyCapsule_New(block, BLOCK_CAPSULE, block_destructor);
    if (capsule == NULL) {
        free(block);
        return NULL;
    }
    if (told != NULL && PyObject_GetBuffer(told, &block->told, PyBUF_WRITABLE) < 0) {
        Py_DECREF(capsule);
        return NULL;
    }
    _Atomic uint64_t *word = block->told.buf;
    if (told != NULL && (block->told.len != sizeof *word ||
                         (uintptr_t)block->told.buf % sizeof *word != 0)) {
        Py_DECREF(capsule);
        PyErr_SetString(PyExc_ValueError, "told must be one aligned word of 8 bytes");
        return NULL;
    }
    const void *owner = PyModule_GetState(module);
    const char *source;
    int error;
    if (peak == MP_PEAK_KERNEL) {
        Py_BEGIN_ALLOW_THREADS /* it waits for who maps memory */
        error = mp_probe_enter(&block->block, peak, owner, word, &source);
        Py_END_ALLOW_THREADS
    } else {
        error = mp_probe_enter(&block->block, peak, owner, word, &source);
    }
    if (error != 0) {
        Py_DECREF(capsule);
        return raise_error(error, source);
    }
    return capsule;
}

PyDoc_STRVAR(enter_doc,
             "_enter($module, peak, /)\n--\n\n"
             "Enter a block; return what _leave() takes.\n\n"
             "peak: 0 to watch it, 1 for the kernel's mark, 2 for both ends alone.");

static PyObject *
enter(PyObject *module, PyObject *argument)
{
    uint64_t peak;
    if (parse_count(argument, "peak", 0, &peak) < 0) {
        return NULL;
    }
    if (peak > MP_PEAK_ENDS) {
        return PyErr_Format(PyExc_ValueError, "peak must be 0, 1 or 2, not %R",
                            argument);
    }
    return new_block(module, (enum mp_peak)peak, NULL);
}

PyDoc_STRVAR(
    enter_told_doc,
    "_enter_told($module, told, /)\n--\n\n"
    "Enter a block that is watched, and tell its highest while it is open.\n\n"
    "told: a writable buffer of one aligned word of 8 bytes, which is raised.");

static PyObject *
enter_told(PyObject *module, PyObject *told)
{
    return new_block(module, MP_PEAK_WATCH, told);
}

PyDoc_STRVAR(leave_doc, "_leave($module, block, /)\n--\n\n"
                        "Leave a block: (before, after, peak, nanoseconds).");

static PyObject *
leave(PyObject *Py_UNUSED(module), PyObject *capsule)
{
    struct measured_block *block = PyCapsule_GetPointer(capsule, BLOCK_CAPSULE);
    if (block == NULL) {
        return NULL;
    }
    struct mp_measured measured;
    const char *source;
    int error = mp_probe_leave(&block->block, &measured, &source);
    if (error != 0) {
        return raise_error(error, source);
    }
    typedef unsigned long long K;
    return Py_BuildValue("KKKL", (K)measured.before, (K)measured.after,
                         (K)measured.peak, (long long)measured.ns);
}

/* Where RSS is */

/* The object for bytes that may be unknown. */
static PyObject *
known_number(uint64_t bytes)
{
    return bytes == MP_UNKNOWN ? Py_NewRef(Py_None) : new_number(bytes);
}

static PyObject *
known_pair(uint64_t least, uint64_t most)
{
    if (least == MP_UNKNOWN || most == MP_UNKNOWN) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("KK", (unsigned long long)least, (unsigned long long)most);
}

/* What counts Python's allocations: (which count it is, bytes), or None. */
static PyObject *
read_count(void)
{
#ifndef Py_GIL_DISABLED /* where large objects don't come from malloc */
    struct mp_counted counted;
    if (mp_counting_read(&counted)) {
        return Py_BuildValue("KL", (unsigned long long)counted.since,
                             (long long)counted.bytes);
    }
#endif
    Py_RETURN_NONE;
}

PyDoc_STRVAR(breakdown_doc, "_breakdown($module, count, /)\n--\n\n"
                            "What a Breakdown is made of, in the order of its fields.");

static PyObject *
breakdown(PyObject *Py_UNUSED(module), PyObject *count)
{
    int is_asked = PyObject_IsTrue(count);
    if (is_asked < 0) {
        return NULL;
    }
    PyObject *counted = is_asked ? read_count() : Py_NewRef(Py_None);
    if (counted == NULL) {
        return NULL;
    }
    struct mp_pymalloc pymalloc = {MP_UNKNOWN, MP_UNKNOWN};
    struct mp_breakdown found;
    const char *allocator;
    int error;
#ifndef Py_GIL_DISABLED /* where other threads change what would be read, by mimalloc  \
                         */
    mp_pymalloc_read(&pymalloc);
#endif
    Py_BEGIN_ALLOW_THREADS
    error = mp_breakdown_read(&pymalloc, &found, &allocator);
    Py_END_ALLOW_THREADS
    if (error != 0) {
        Py_DECREF(counted);
        return raise_error(error, mp_mappings_source);
    }
    return Py_BuildValue(
        "NNNNNNNNNNNNNNsKN", new_number(found.rss), known_number(found.python_small),
        known_number(found.python_free), known_number(found.malloc_used),
        known_number(found.malloc_free), known_number(found.lazy_free),
        known_number(found.stacks), known_number(found.files),
        known_number(found.shared), new_number(found.other),
        known_pair(found.trimmable_least, found.trimmable_most),
        known_number(found.uss), known_number(found.pss), known_number(found.swap),
        allocator, (unsigned long long)found.unwritten, counted);
}

PyDoc_STRVAR(
    trim_doc,
    "trim($module, /)\n--\n\n"
    "Let malloc give its free memory back; by how many bytes RSS fell.\n\n"
    "glibc: malloc_trim(0), 30 to 300 ms for each GB that is free; jemalloc,\n"
    "tcmalloc and mimalloc have their own ways; macOS: malloc_zone_pressure_relief().\n"
    "What Python's objects up to 512 bytes have left free stays Python's. 0 if RSS\n"
    "rose meanwhile. Without the GIL, but other threads' malloc may have to wait.\n"
    "Raises OSError as rss() does.");

static PyObject *
trim(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    uint64_t before, after = 0;
    int error = mp_probe_rss(&before);
    if (error == 0) {
        Py_BEGIN_ALLOW_THREADS
        mp_malloc_trim();
        Py_END_ALLOW_THREADS
        error = mp_probe_rss(&after);
    }
    if (error != 0) {
        return raise_error(error, mp_rss_source);
    }
    return new_number(before > after ? before - after : 0);
}

/* The C API, memprobe.h */

/* An error of the probe for those without exceptions. */
static inline int
error_number(int error)
{
    return error == MP_NO_MEMORY ? ENOMEM : error;
}

static MP_FLAT int
api_rss(uint64_t *bytes)
{
    return error_number(mp_probe_rss(bytes));
}

static MP_FLAT int
api_sample(uint64_t *bytes)
{
    uint64_t unwanted;
    return error_number(mp_probe_sample(bytes == NULL ? &unwanted : bytes));
}

static const memprobe_api api = {
    .abi_version = MEMPROBE_ABI_VERSION,
    .size = sizeof(memprobe_api),
    .rss = api_rss,
    .sample = api_sample,
};

/* Adds the capsule. Returns 0, or -1 with an exception. */
static int
add_api(PyObject *module)
{
    PyObject *capsule = PyCapsule_New((void *)&api, MEMPROBE_CAPSULE, NULL);
    if (capsule == NULL) {
        return -1;
    }
    int result = PyModule_AddObjectRef(module, "_C_API", capsule);
    Py_DECREF(capsule);
    return result;
}

/* The module */

/* Any function as the type that PyMethodDef has for all kinds. */
#define METHOD(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef methods[] = {
    {"sample_mem", METHOD(sample_mem), METH_FASTCALL, sample_mem_doc},
    {"mem_rss", METHOD(mem_rss), METH_FASTCALL, mem_rss_doc},
    {"rss", METHOD(rss), METH_FASTCALL, rss_doc},
    {"rss_anon", METHOD(rss_anon), METH_FASTCALL, rss_anon_doc},
    {"peak_rss", peak_rss, METH_NOARGS, peak_rss_doc},
    {"above", METHOD(above), METH_VARARGS | METH_KEYWORDS, above_doc},
    {"humanbytes", humanbytes, METH_O, humanbytes_doc},
    {"configure", METHOD(configure), METH_VARARGS | METH_KEYWORDS, configure_doc},
    {"snapshot", snapshot, METH_NOARGS, snapshot_doc},
    {"clear", clear, METH_NOARGS, clear_doc},
    {"_select_samples", select_samples, METH_O, select_samples_doc},
    {"_forget", forget, METH_O, forget_doc},
    {"_totals", totals, METH_NOARGS, totals_doc},
    {"_start_sampling", start_sampling, METH_O, start_doc},
    {"_stop_sampling", stop_sampling, METH_NOARGS, stop_doc},
    {"_before_fork", before_fork, METH_NOARGS, before_fork_doc},
    {"_after_fork", after_fork, METH_NOARGS, after_fork_doc},
    {"_after_fork_later", after_fork_later, METH_NOARGS, after_fork_later_doc},
    {"_end", end, METH_NOARGS, end_doc},
    {"_start_observer", start_observer, METH_VARARGS, start_observer_doc},
    {"_ask_observer", ask_observer, METH_VARARGS, ask_observer_doc},
    {"_ask_recorder", ask_recorder, METH_O, ask_recorder_doc},
    {"_record", record, METH_VARARGS, record_doc},
    {"_recorded", recorded, METH_NOARGS, recorded_doc},
    {"_stop_recording", stop_recording, METH_NOARGS, stop_recording_doc},
    {"_last_look", last_look, METH_NOARGS, last_look_doc},
    {"_left_session", left_session, METH_NOARGS, left_session_doc},
    {"_enter", enter, METH_O, enter_doc},
    {"_enter_told", enter_told, METH_O, enter_told_doc},
    {"_leave", leave, METH_O, leave_doc},
    {"_breakdown", breakdown, METH_O, breakdown_doc},
    {"trim", trim, METH_NOARGS, trim_doc},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    struct module_state *state = PyModule_GetState(module);
    if (mp_probe_start() != 0) {
        PyErr_SetString(PyExc_MemoryError,
                        "no memory for what memprobe knows of this process");
        return -1;
    }
    state->samples_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &samples_spec, NULL);
    if (state->samples_type == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_NoMemory(); /* which CPython 3.11 forgets for the type's name */
        }
        return -1;
    }
    if (PyModule_AddStringConstant(module, "_version", MEMPROBE_VERSION) < 0) {
        return -1;
    }
    return add_api(module);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct module_state *state = PyModule_GetState(module);
    Py_VISIT(state->samples_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    struct module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->samples_type);
    Py_CLEAR(state->text.object);
    Py_CLEAR(state->number.object);
    Py_CLEAR(state->anon.object);
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
/* The state is per interpreter, and the probe has a lock of its own. */
#ifdef Py_MOD_PER_INTERPRETER_GIL_SUPPORTED
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_MOD_GIL_NOT_USED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "memprobe._memprobe",
    .m_doc = "memprobe's C extension; import its names from memprobe.",
    .m_size = sizeof(struct module_state),
    .m_methods = methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__memprobe(void)
{
    return PyModuleDef_Init(&module_definition);
}
