"""Every function, on every way out of it: leaks nothing, loses nothing without memory.

Each line of CALLS is one way out. The first word is the function that it is about; what
follows is run again and again, and has to end with that exception, or without one.
"""

import importlib.util
import inspect
import re
import sys
import sysconfig

import pytest

import memprobe
from memprobe import _memprobe

pytestmark = pytest.mark.calls_c

CALLS = {
    "rss": [
        ("rss()", None),
        ("without_files(rss)", OSError),
    ],
    "mem_rss": [
        ("mem_rss()", None),
        ("without_files(mem_rss)", OSError),
    ],
    "rss_anon": [
        ("rss_anon()", None),
        ("without_files(rss_anon)", OSError),
    ],
    "peak_rss": [
        ("peak_rss()", None),
    ],
    "above": [
        ("above(1)", None),
        ("above(1, 0.001)", None),
        ("above(2**70, seconds=1)", None),
        ("without_files(above, 1)", OSError),
        ("above()", TypeError),
        ("above('x')", TypeError),
        ("above(-1)", ValueError),
        ("above(Broken())", ZeroDivisionError),
        ("above(1, 'x')", TypeError),
        ("above(1, -1)", ValueError),
        ("above(1, Broken())", ZeroDivisionError),
    ],
    "sample_mem": [
        ("sample_mem()", None),
        ("without_files(sample_mem)", OSError),
    ],
    "humanbytes": [
        ("humanbytes(12345)", None),
        ("humanbytes('x')", TypeError),
        ("humanbytes(-1)", ValueError),
        ("humanbytes(2**64)", ValueError),
        ("humanbytes(Broken())", ZeroDivisionError),
    ],
    "configure": [
        ("configure()", None),
        ("configure(capacity=1000)", None),
        ("configure(min_interval=0)", None),
        ("configure(capacity=5000); configure(capacity=10)", None),
        ("configure(capacity=2**45)", MemoryError),
        ("configure(capacity=2**70)", MemoryError),
        ("configure(capacity=0)", ValueError),
        ("configure(capacity=-(2**70))", ValueError),
        ("configure(capacity='x')", TypeError),
        ("configure(capacity=Broken())", ZeroDivisionError),
        ("configure(min_interval=-1)", ValueError),
        ("configure(min_interval=10**400)", ValueError),
        ("configure(min_interval='x')", TypeError),
        ("configure(min_interval=Broken())", ZeroDivisionError),
        ("configure(10)", TypeError),
        ("configure(size=10)", TypeError),
    ],
    "snapshot": [
        ("snapshot()", None),
        ("snapshot().tolist()", None),
        ("snapshot().cast('B').tobytes()", None),
        ("snapshot().release()", None),
        ("view = snapshot(); view[0, 1]; view[-1, 0]; len(view)", None),
        ("snapshot()[0, 2]", IndexError),
        ("type(snapshot().obj)()", TypeError),
    ],
    "stats": [
        ("stats()", None),
        ("clear(); stats()", None),
    ],
    "Stats": [
        ("Stats(*range(9)).as_dict()", None),
        ("Stats(1)", TypeError),
    ],
    "clear": [
        ("clear()", None),
        ("sample_mem(); clear()", None),
    ],
    "memdump": [
        ("memdump(file=Writer())", None),
        ("sample_mem(); memdump(file=Writer())", None),
        ("sample_mem(); memdump(0, file=Writer())", None),
        ("memdump(file=Writer(raise_at=1))", ZeroDivisionError),
        ("memdump(file=Writer(raise_at=2))", ZeroDivisionError),
        ("memdump(file=Writer(raise_at=3))", ZeroDivisionError),
        ("memdump(file=5)", TypeError),
        ("memdump('x', file=Writer())", TypeError),
        ("memdump(-1, file=Writer())", ValueError),
        ("memdump(Broken(), file=Writer())", ZeroDivisionError),
        ("without_files(memdump, 2, Writer())", OSError),
    ],
    "sample": [
        ("sample([1, 2, 3], 2)", None),
        ("sample([1, 2, 3], 9)", None),
        ("sample(5, 2)", TypeError),
        ("sample([1], 'x')", TypeError),
        ("sample([1], 1, -1)", ValueError),
        ("sample(Broken(), 1)", ZeroDivisionError),
        ("sample([1], Broken())", ZeroDivisionError),
    ],
    "breakdown": [
        ("breakdown()", None),
        ("breakdown(count=True)", None),
        ("breakdown().since(breakdown()).sentence", None),
        ("str(breakdown(count=True).since(breakdown(count=True)))", None),
        ("breakdown(True)", TypeError),
        ("breakdown().since(5)", TypeError),
        ("without_files(breakdown)", OSError),
    ],
    "Breakdown": [
        ("Breakdown(*range(15), asked=False, counted=None).as_dict()", None),
        ("Breakdown(1, asked=False, counted=None)", ValueError),
    ],
    "_breakdown": [
        ("_memprobe._breakdown(False)", None),
        ("_memprobe._breakdown(True)", None),
        ("without_files(_memprobe._breakdown, True)", OSError),
    ],
    "trim": [
        ("trim()", None),
        ("without_files(trim)", OSError),
    ],
    "ps": [
        ("ps()", None),
        ("_process._processes.clear(); ps()", None),
    ],
    "get_include": [
        ("get_include()", None),
    ],
    "start_sampling": [
        ("start_sampling(0.001); stop_sampling()", None),
        ("start_sampling(0)", ValueError),
        ("start_sampling('x')", TypeError),
        ("start_sampling(Broken())", ZeroDivisionError),
        ("twice(start_sampling, stop_sampling, 1)", None),
        ("twice(start_sampling, stop_sampling, 1, 2)", RuntimeError),
    ],
    "stop_sampling": [
        ("stop_sampling()", None),
    ],
    "sampling": [
        ("inside(sampling(0.001), sample_mem)", None),
        ("inside(sampling(-1), sample_mem)", ValueError),
    ],
    "measure": [
        ("inside(measure(), sample_mem)", None),
        ("inside(measure(), humanbytes, 'x')", TypeError),
        ("measure().__enter__()", None),
        ("m = measure(); m.__enter__(); m.__enter__()", RuntimeError),
        ("measure()(sample_mem)()", None),
        ("measure()(lambda: 1 / 0)()", ZeroDivisionError),
        ("measure()(property(sample_mem))", None),
        ("measure()(classmethod(sample_mem))", None),
        ("measure()(re.compile('x').match)('x')", None),
        ("measure()(Broken)", TypeError),
        ("measure().as_dict()", None),
        ("without_files(measure().__enter__)", OSError),
    ],
    "record": [
        ("record(FOLDER, keep=0); stop_recording()", None),
        ("record(FOLDER + '/missing')", OSError),
        ("record(5)", TypeError),
        ("record(FOLDER, 0)", ValueError),
        ("record(FOLDER, keep=-1)", ValueError),
        ("record(FOLDER); record(FOLDER); stop()", None),
        ("twice(record, stop, FOLDER, os.sep)", RuntimeError),
    ],
    "stop_recording": [
        ("stop_recording()", None),
    ],
    "_start_sampling": [
        ("_memprobe._start_sampling(1); _memprobe._stop_sampling()", None),
        ("_memprobe._start_sampling('x')", TypeError),
    ],
    "_stop_sampling": [
        ("_memprobe._stop_sampling()", None),
    ],
    "_before_fork": [
        ("_memprobe._before_fork()", None),
    ],
    "_after_fork": [
        ("_memprobe._after_fork()", None),
    ],
    "_after_fork_later": [
        ("_memprobe._after_fork_later()", None),
    ],
    "_end": [
        ("_memprobe._end()", None),
    ],
    "_record": [
        ("_memprobe._record(b'/missing', -1, b'x', 1, 1, -1, 0)", OSError),
        ("_memprobe._record(b'/missing', -1, b'x' * 5000, 1, 1, -1, 0)", OSError),
        ("_memprobe._record(b'/missing', -1, b'x', 1, 0, -1, 0)", ValueError),
        ("_memprobe._record(b'/missing', -1, b'x', 'x', 1, -1, 0)", TypeError),
        ("_memprobe._record('/missing', -1, b'x', 1, 1, -1, 0)", TypeError),
    ],
    "_recorded": [
        ("_memprobe._recorded()", None),
    ],
    "_last_look": [
        ("_memprobe._last_look()", None),
    ],
    "_left_session": [
        ("_memprobe._left_session()", None),
    ],
    "_start_observer": [
        ("_memprobe._start_observer(b'/missing', -1, b'', (1, 2), 1, -1, 0)", OSError),
        (
            "_memprobe._start_observer(b'/missing', -1, b'', (1, 'x'), 1, -1, 0)",
            TypeError,
        ),
        ("_memprobe._start_observer(b'/missing', -1, b'', (1,), 0, -1, 0)", ValueError),
    ],
    "_ask_recorder": [
        ("_memprobe._ask_recorder(b'look')", OSError),  # nothing is recorded
        ("_memprobe._ask_recorder('look')", TypeError),
    ],
    "_ask_observer": [
        ("_memprobe._ask_observer(5, b'look', 1)", ValueError),
        ("_memprobe._ask_observer(5, b'look', -1)", ValueError),
    ],
    "_stop_recording": [
        ("_memprobe._stop_recording()", None),
    ],
    "_enter": [
        ("[_memprobe._enter(peak) for peak in range(3)]", None),
        ("without_files(_memprobe._enter, 1)", OSError),
        ("_memprobe._enter(3)", ValueError),
        ("_memprobe._enter('watch')", TypeError),
    ],
    "_enter_told": [
        ("_memprobe._enter_told(memoryview(bytearray(8)))", None),
        ("_memprobe._enter_told(bytearray(7))", ValueError),
        ("_memprobe._enter_told(memoryview(bytearray(16))[1:9])", ValueError),
        ("_memprobe._enter_told(bytes(8))", BufferError),
        ("_memprobe._enter_told(8)", TypeError),
        ("without_files(_memprobe._enter_told, bytearray(8))", OSError),
    ],
    "_leave": [
        ("_memprobe._leave(_memprobe._enter(0))", None),
        ("_memprobe._leave(5)", ValueError),
        ("without_files(_memprobe._leave, _memprobe._enter(1))", OSError),
    ],
    "_select_samples": [
        ("_select_samples(10)", None),
        ("_select_samples(0)", None),
        ("_select_samples(2**70)", None),
        ("_select_samples(-1)", ValueError),
        ("_select_samples('x')", TypeError),
        ("_select_samples(Broken())", ZeroDivisionError),
    ],
    "_forget": [
        ("_forget(0)", None),
        ("sample_mem(); _forget(2**70)", None),
        ("_forget(-1)", ValueError),
        ("_forget('x')", TypeError),
        ("_forget(Broken())", ZeroDivisionError),
    ],
    "_totals": [
        ("_totals()", None),
    ],
    "import": [
        ("import_again()", None),
    ],
}

# Those in C that allocate nothing: they can't fail.
WITHOUT_ALLOCATION = """
    clear stop_sampling _stop_sampling _stop_recording
    _before_fork _after_fork _after_fork_later _end
    _recorded _last_look _left_session
""".split()

# Of those that are not in C.
PYTHON_FUNCTIONS = {
    "Breakdown",
    "Stats",
    "breakdown",
    "memdump",
    "ps",
    "sample",
    "stats",
}
# These import modules, whose import loses exceptions itself when memory is out. The
# functions in C that they call are tried without memory.
IMPORTING = {"measure", "record", "sampling", "start_sampling", "stop_recording"}

names = pytest.mark.parametrize("name", CALLS)

SETTING = """
import _imp, gc, io, os, re, sys, tempfile
import memprobe
from memprobe import *
from memprobe import _memprobe, _process
from memprobe._memprobe import _forget, _select_samples, _totals

class Broken:
    def __index__(self):
        1 / 0
    __float__ = __len__ = __getitem__ = __index__

class Writer:
    def __init__(self, raise_at=0):
        self.raise_at = raise_at

    def write(self, text):
        self.raise_at -= 1
        if self.raise_at == 0:
            1 / 0

def without_files(call, *arguments):
    '''With the probe's file lost, and no other to be opened.'''
    import resource
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{number}").endswith("/statm"):
                os.close(int(number))
        except FileNotFoundError:
            pass  # that of listdir()
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        call(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

def inside(context, call, *arguments):
    with context:
        call(*arguments)

def twice(start, stop, first, *second):
    start(first)
    try:
        start(*(second or [first]))
    finally:
        stop()

def stop():
    try:
        stop_recording()
    except TimeoutError:
        pass  # a busy machine: it ends a moment later

FOLDER = tempfile.mkdtemp(dir=".")
spec = _memprobe.__spec__

def import_again():
    _imp.exec_dynamic(_imp.create_dynamic(spec))

def fill():
    memprobe.configure(capacity=10, min_interval=0)
    memprobe.clear()
    for _ in range(3):
        memprobe.sample_mem()

try:
    ps()
except OSError:
    pass
fill()
record(FOLDER, keep=0)  # what it imports leaves garbage, once
stop_recording()
gc.collect()
gc.freeze()  # a collection, of which memdump() makes one, takes a hundred times as long
"""


def calls_of(name):
    """Lines for a script: a list `calls` of pairs, a function and its exception."""
    lines = ["calls = []"]
    for number, (code, exception) in enumerate(CALLS[name]):
        if sys.platform != "linux" and "without_files" in code:
            continue
        lines.append(f"def call_{number}(): {code}")
        expected = exception.__name__ if exception else "()"
        lines.append(f"calls.append((call_{number}, {expected}, {code!r}))")
    return "\n".join(lines) + "\n"


def test_no_function_is_left_out():
    functions = {
        name for name in dir(_memprobe) if inspect.isbuiltin(getattr(_memprobe, name))
    }
    assert functions | set(memprobe.__all__) | {"import"} == set(CALLS)
    for name, calls in CALLS.items():
        assert calls
        for code, _ in calls:
            assert name == "import" or re.search(rf"\b{name}\b", code), code


@names
def test_calls_end_as_they_should(run_python, name):
    run_python(
        SETTING
        + calls_of(name)
        + """
for call, expected, code in calls:
    fill()
    try:
        call()
        assert not expected, code
    except (expected or ()):
        pass
"""
    )


# Leaks


@names
@pytest.mark.skipif(
    importlib.util.find_spec("psleak") is None, reason="psleak is not installed"
)
def test_no_leak(run_python, sanitized, name):
    if sanitized or sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("psleak looks into libc's malloc, and this uses another one")
    run_python(
        SETTING
        + calls_of(name)
        + f"""
import psleak
lingers = {name!r} in ("measure", "_enter", "_enter_told", "_leave")
"""
        + """
test = psleak.MemoryLeakTestCase()
# The thread that watches blocks stays for a moment after the last.
options = {"checkers": psleak.Checkers.exclude("c_threads")} if lingers else {}
if calls[0][0].__code__.co_names == ("import_again",):
    # A module refers to its functions and they to it: garbage for the collector. What
    # the import of any module in C takes from libc fades slowly; the least block that
    # could leak is 32 bytes.
    options = {"checkers": psleak.Checkers.exclude("gcgarbage")}
    options |= {"warmup_times": 2000, "times": 1000, "tolerance": 16 * 1000}
for call, expected, code in calls:
    fill()
    try:
        if expected:
            test.execute_w_exc(expected, call, **options)
        else:
            test.execute(call, **options)
    except psleak.Error as error:
        raise AssertionError(code) from error
""",
        env={"PYTHONMALLOC": "malloc", "PYTHONUNBUFFERED": "1"},
    )


@names
@pytest.mark.skipif(
    not hasattr(sys, "gettotalrefcount"), reason="not a debug build of Python"
)
def test_references_are_given_back(run_python, name):
    """A reference to None or to a type leaks no memory, and psleak can't see it."""
    run_python(
        SETTING
        + calls_of(name)
        + """
def repeat(call, times):
    for _ in range(times):
        try:
            call()
        except Exception:
            pass

for call, expected, code in calls:
    fill()
    growth = []
    for _ in range(5):
        repeat(call, 20)
        gc.collect()
        before = sys.gettotalrefcount()
        repeat(call, 100)
        gc.collect()
        growth.append(sys.gettotalrefcount() - before)
    assert min(growth) < 50, (code, growth)
"""
    )


# Memory

# An exception that leaves a function makes the function's frame an object. If that
# finds no memory, CPython 3.11 to 3.13 lose the exception and raise a SystemError
# instead, with functions of their own too. It isn't for us to avoid in what is written
# in Python; for what is in C, the frame is made an object beforehand.
ATTEMPT = """
def attempt_{number}(first, last):
    '''Return None or the exception, where the allocations first to last fail.'''
    sys._getframe()
    try:
        _testcapi.set_nomemory(first, last)
        {code}
        _testcapi.remove_mem_hooks()
    except BaseException as error:
        _testcapi.remove_mem_hooks()
        return error
"""


@names
@pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None,
    reason="this Python comes without _testcapi, which makes allocations fail",
)
def test_an_allocation_that_fails_is_a_memory_error_and_nothing_is_lost(
    run_python, sanitized, name
):
    """The n-th allocation fails, alone or with all later ones, for every n."""
    if sanitized and name in {"breakdown", "Breakdown", "trim"}:
        pytest.skip("an import that fails loses a dict of CPython's")
    if hasattr(sys, "gettotalrefcount") and name in PYTHON_FUNCTIONS:
        pytest.skip("a debug build aborts where CPython loses an exception")
    if name in IMPORTING:
        pytest.skip("what it imports loses exceptions")
    codes = [code for code, _ in CALLS[name] if "without_files" not in code]
    if name == "ps":
        codes.remove("_process._processes.clear(); ps()")  # psutil's own: thousands
    expected = dict(CALLS[name])
    out = run_python(
        SETTING
        + "import _testcapi, mmap\n"
        + "".join(ATTEMPT.format(code=code, number=i) for i, code in enumerate(codes))
        + f"in_python = {name in PYTHON_FUNCTIONS}\n"
        + "attempts = ["
        + "".join(
            f"(attempt_{i}, {getattr(expected[code], '__name__', ())}, {code!r}), "
            for i, code in enumerate(codes)
        )
        + "]\n"
        + """
# Where CPython itself can't raise, in a garbage collection say, it calls this.
sys.unraisablehook = lambda unraisable: None
def mapped():
    block = mmap.mmap(-1, 300_000)
    for page in range(0, 300_000, mmap.PAGESIZE):
        block[page] = 1
    return block

failures = 0
block = None
for attempt, expected, code in attempts:
    may_be = [MemoryError]
    if expected:
        may_be.append(expected)
    if in_python or "Broken" in code:
        may_be.append(SystemError)  # see ATTEMPT
    for alone in (False, True):
        n = in_a_row = 0  # n allocations succeed
        while in_a_row < 20:
            fill()
            block = None if block else mapped()  # for RSS to have a new text
            before = snapshot().tolist()
            error = attempt(n, n + 1 if alone else 0)
            assert error is None or isinstance(error, tuple(may_be)), (code, n, error)
            if isinstance(error, expected or type(None)):
                in_a_row += 1
            else:
                failures += 1
                in_a_row = 0
            n += 1
            after = snapshot().tolist()
            if re.search("sample_mem|clear|_forget", code):
                # A sample may be stored whose text then finds no memory.
                kept = [row for row in after if row in before]
                assert kept in ([], before) and len(after) <= len(kept) + 1, (code, n)
            elif error is not None:
                assert after == before, (code, n, error)
            sample_mem()
            assert stats().stored == len(after) + 1
print(failures)
"""
    )
    if name not in WITHOUT_ALLOCATION:
        assert int(out) > 0


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no os.fork")
def test_a_child_without_memory_for_samples_says_so_and_goes_on_when_there_is(
    run_python, sanitized
):
    if sanitized:
        pytest.skip("the sanitizers' own malloc ends the process then")
    run_python(
        """
import io, os, resource
import memprobe
memprobe.configure(capacity=2**21)
memprobe.sample_mem()
pid = os.fork()
if pid == 0:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1, limits[1]))
    errors = []
    for _ in range(3):
        try:
            memprobe.sample_mem()
        except MemoryError as error:
            errors.append(error)
    rss, stats = memprobe.rss(), memprobe.stats()
    resource.setrlimit(resource.RLIMIT_AS, limits)
    assert [str(error) for error in errors] == ["no memory for the ring of samples"] * 3
    assert rss > 0 and stats.count == 0
    memprobe.sample_mem()
    assert memprobe.stats().count == 1
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert memprobe.stats().count == 1
"""
    )
