"""The end of the interpreter, at whatever moment: silent, with the right status."""

import os
import signal

import pytest

pytestmark = pytest.mark.threads

# It uses everything, when told and when it is finalized, and then prints its name. It
# keeps what it uses, as the names of modules may be gone by then.
USER = """
import io, os, sys, threading, time
import memprobe

class User:
    def __init__(self, name):
        self.name = name
        self.functions = (
            memprobe.sample_mem, memprobe.configure, memprobe.snapshot, memprobe.rss,
            memprobe.peak_rss, memprobe.mem_rss, os.write,
        )
        self.of_python = memprobe.stats, memprobe.memdump, io.StringIO

    def use(self):
        sample_mem, configure, snapshot, rss, peak_rss, mem_rss, write = self.functions
        sample_mem()
        configure(capacity=100)
        sample_mem()
        if len(snapshot()) < 2 or rss() > peak_rss() or not mem_rss():
            raise AssertionError
        if self.of_python:
            stats, memdump, new_file = self.of_python
            out = new_file()
            if stats().stored < 2:
                raise AssertionError
            memdump(file=out)
            if not out.getvalue().startswith("- rss (sample):"):
                raise AssertionError
        write(1, self.name.encode())

    __del__ = use

class LastUser(User):
    # To be finalized when the interpreter has already set the names of all modules to
    # None; Python functions that use their own can't be called any more.
    def __init__(self, name):
        super().__init__(name)
        self.of_python = None
"""

# Four threads that never end; they sample, dump, read and resize.
DAEMONS = """
def forever():
    out = io.StringIO()
    while True:
        memprobe.sample_mem()
        memprobe.snapshot()
        memprobe.stats()
        memprobe.configure(capacity=50)
        memprobe.memdump(file=out)
        out.seek(0)
        started.set()

started = threading.Event()
sys.setswitchinterval(1e-5)
for _ in range(4):
    threading.Thread(target=forever, daemon=True).start()
started.wait()
"""


# What daemon threads held when the interpreter ended is never freed, whatever it was.
ABANDONED = {
    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0",
    "TSAN_OPTIONS": os.environ.get("TSAN_OPTIONS", "") + ":report_thread_leaks=0",
}


def test_atexit_callbacks_use_everything(run_python):
    out = run_python(
        USER
        + """
import atexit, weakref
atexit.register(User("callback ").use)
watched = User("watched ")
weakref.finalize(watched, User("finalizer ").use)
"""
    )
    assert sorted(out.split()) == [
        # a bound method called, and its object finalized
        *("callback", "callback", "finalizer", "finalizer", "watched"),
    ]


@pytest.mark.parametrize(
    "place",
    [
        "late = User('late')",
        "import builtins; builtins.late = User('late')",
        "sys.late = LastUser('late')",
        "threading.late = LastUser('late')",
        "sys.modules['memprobe._memprobe'].late = User('late')",
        "sys.modules['memprobe._samples'].late = User('late')",
        "memprobe.late = User('late')",
        "late = User('late'); late.me = late",
        "late = User('late'); late.module = sys.modules['memprobe._memprobe']; "
        "late.module.late = late; del late",
        "local = threading.local(); local.late = User('late')",
        "def generate(late=User('late')):\n    yield\nkept = generate(); next(kept)",
    ],
)
def test_finalizers_at_shutdown_use_everything(run_python, place):
    """They run at different stages of the interpreter's end."""
    assert run_python(USER + place) == "late"


def test_daemon_threads_in_the_middle_of_everything(run_python):
    for status in range(5):
        code = USER + DAEMONS + f"sys.exit({status})"
        run_python(code, status=status, env=ABANDONED)


def test_a_finalizer_at_shutdown_beside_daemon_threads(run_python):
    code = USER + DAEMONS + "sys.late = LastUser('late')"
    assert run_python(code, env=ABANDONED) == "late"


def test_exit_without_cleaning_up(run_python):
    run_python(USER + DAEMONS + "os._exit(7)", status=7)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_killed(run_python, name):
    number = getattr(signal, name)
    kill = f"os.kill(os.getpid(), {int(number)}); time.sleep(60)"
    run_python(USER + DAEMONS + kill, status=-number)


def test_exit_in_the_middle_of_a_dump_keeps_the_samples_for_later(run_python):
    out = run_python(
        USER
        + """
import atexit
atexit.register(lambda: print(memprobe.stats().count))

class Exiting:
    def write(self, text):
        sys.exit(5)

for _ in range(3):
    memprobe.sample_mem()
memprobe.memdump(file=Exiting())
""",
        status=5,
    )
    assert out == "3\n"


def test_exit_in_a_finalizers_dump(run_python):
    run_python(
        USER
        + """
class Late:
    def __del__(self, memdump=memprobe.memdump, exit=os._exit):
        memdump(file=self)
        memdump(file=self)

    def write(self, text, os=os):
        if "end" in text:
            os._exit(9)

memprobe.late = Late()
memprobe.sample_mem()
""",
        status=9,
    )


def test_sys_exit_in_a_thread_ends_the_thread_alone(run_python):
    out = run_python(
        USER
        + """
class Exiting:
    def write(self, text):
        sys.exit(5)

def work():
    memprobe.sample_mem()
    memprobe.memdump(file=Exiting())

thread = threading.Thread(target=work)
thread.start()
thread.join()
print(memprobe.stats().count)
"""
    )
    assert out == "1\n"


def test_exit_from_a_thread(run_python):
    run_python(
        USER
        + DAEMONS
        + "threading.Thread(target=os._exit, args=(6,)).start(); time.sleep(60)",
        status=6,
    )


def test_threads_that_outlive_the_main_thread_go_on_sampling(run_python):
    """The interpreter waits for them; its end comes after the last one."""
    out = run_python(
        USER
        + """
def work():
    threading.main_thread().join()
    for _ in range(1000):
        memprobe.sample_mem()
    os.write(1, b"%d\\n" % memprobe.stats().count)

threading.Thread(target=work).start()
"""
    )
    assert out == "1000\n"
