"""Subinterpreters: each has a module of its own, all of them have one ring."""

import sys

import pytest

import memprobe

pytestmark = pytest.mark.threads

if sys.version_info >= (3, 13):
    pytest.importorskip("_interpreters")
else:
    pytest.importorskip("_xxsubinterpreters")

# The first lines of each script. From 3.12 on an isolated interpreter has a GIL of its
# own; before, all share one.
PRELUDE = '''
import sys
import memprobe

try:
    import _interpreters as interpreters

    def create(isolated):
        return interpreters.create("isolated" if isolated else "legacy")

    def has_own_gil(interpreter):
        return interpreters.get_config(interpreter).gil == "own"

except ImportError:
    import _xxsubinterpreters as interpreters

    def create(isolated):
        return interpreters.create(isolated=isolated)

    def has_own_gil(interpreter):
        return sys.version_info >= (3, 12)


def run(interpreter, code):
    """A failure is an exception before 3.13, and is returned since."""
    code = f"import sys; sys.path[:] = {sys.path!r}\\n{code}"
    failure = interpreters.run_string(interpreter, code)
    assert failure is None, failure.errdisplay


def run_once(code, isolated=True):
    interpreter = create(isolated)
    try:
        run(interpreter, code)
    finally:
        interpreters.destroy(interpreter)
'''

needs_own_gil = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="before 3.12 all interpreters share one GIL"
)


def test_one_ring_serves_all_interpreters(run_python):
    """Of each kind that this Python has, one after another and living side by side."""
    run_python(f"""{PRELUDE}
memprobe.configure(capacity=40)
for _ in range(10):
    memprobe.sample_mem()
living = [create(isolated) for isolated in (True, False)]
assert has_own_gil(living[0]) == (sys.version_info >= (3, 12))
for known, interpreter in zip((10, 20), living):
    run(interpreter, f'''
import memprobe
assert memprobe.stats().count == {{known}}
for _ in range(10):
    memprobe.sample_mem()
text = memprobe.mem_rss()
assert memprobe.rss() > 2**20
''')
assert memprobe.stats().count == 30
run(living[0], '''
memprobe.configure(capacity=25)
kept = memprobe.snapshot()
assert kept.shape == (25, 2)
''')
rows = memprobe.snapshot().tolist()
assert len(rows) == 25 and rows == sorted(rows, key=lambda row: row[0])
for interpreter in living:
    interpreters.destroy(interpreter)
assert memprobe.snapshot().tolist() == rows
memprobe.sample_mem()
assert memprobe.stats().count == 31
""")


def test_an_error_in_one_interpreter_is_an_exception_there(run_python):
    run_python(f"""{PRELUDE}
run_once('''
import memprobe
for call in (lambda: memprobe.configure(capacity=0), lambda: memprobe.humanbytes(-1)):
    try:
        call()
    except ValueError:
        pass
    else:
        raise AssertionError
''')
memprobe.sample_mem()
assert memprobe.stats().count == 1
""")


@pytest.mark.parametrize("isolated", [True, False])
def test_a_hundred_interpreters_come_and_go_while_others_sample(run_python, isolated):
    run_python(
        f"""{PRELUDE}
import threading
each = 2000
memprobe.configure(capacity=4 * each + 1000)
start = threading.Barrier(5)
stop = threading.Event()

def work():
    start.wait()
    for _ in range(each - 1):
        memprobe.sample_mem()
    stop.wait()
    memprobe.sample_mem()

workers = [threading.Thread(target=work) for _ in range(4)]
for worker in workers:
    worker.start()
start.wait()
for _ in range(100):
    run_once('''
import memprobe
for _ in range(10):
    memprobe.sample_mem()
memprobe.snapshot(), memprobe.stats(), memprobe.sample([1], 1)
''', {isolated})
stop.set()
for worker in workers:
    worker.join()
stats = memprobe.stats()
assert stats.count == stats.stored == 4 * each + 1000, stats
times = [ns for ns, _ in memprobe.snapshot().tolist()]
assert times == sorted(times)
""",
        timeout=300,
    )


@needs_own_gil
def test_interpreters_that_run_at_once_lose_no_sample(run_python):
    """Eight threads, an interpreter and a GIL each, and the main one."""
    run_python(
        f"""{PRELUDE}
import threading
threads, each = 8, 3000
memprobe.configure(capacity=(threads + 1) * each)
start = threading.Barrier(threads + 1)
failures = []

def work():
    interpreter = create(True)
    try:
        run(interpreter, "import memprobe")
        start.wait()
        run(interpreter, f"for _ in range({{each}}): memprobe.sample_mem()")
    except BaseException as failure:
        failures.append(failure)
        start.abort()
    finally:
        interpreters.destroy(interpreter)

workers = [threading.Thread(target=work) for _ in range(threads)]
for worker in workers:
    worker.start()
start.wait()
for _ in range(each):
    memprobe.sample_mem()
for worker in workers:
    worker.join()
assert not failures, failures
stats = memprobe.stats()
assert stats.count == stats.stored == (threads + 1) * each, stats
""",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self")
def test_interpreters_that_have_gone_leave_nothing_behind(run_python):
    """No file, no mapping, and no more memory than without the extension.

    CPython itself loses 2 MiB with each interpreter that has a GIL of its own (3.12.1,
    3.13.0), so the extension is compared with a stub of it.
    """
    out = run_python(
        f"""{PRELUDE}
import os
with_stub = '''
import types
stub = types.ModuleType("memprobe._memprobe")
stub.__getattr__ = lambda name: lambda *arguments: None
stub.__file__, stub._version = "stub", {memprobe.__version__!r}
sys.modules["memprobe._memprobe"] = stub
import memprobe
'''
with_extension = '''
import memprobe
memprobe.clear()
for _ in range(10):
    memprobe.sample_mem()
memprobe.stats(), memprobe.snapshot(), memprobe.mem_rss(), memprobe.peak_rss()
'''

def grow(code):
    for _ in range(10):
        run_once(code)
    before = memprobe.rss()
    for _ in range(100):
        run_once(code)
    return (memprobe.rss() - before) // 100

def files():
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

before = files()
print(grow(with_stub), grow(with_extension))
assert files() == before, (files(), before)
""",
        timeout=300,
    )
    stub, extension = map(int, out.split())
    assert extension - stub < 32 * 1024, out
