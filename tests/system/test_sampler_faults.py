"""The sampler's thread where something fails: it never falls silent, and harms nobody.

Samples come, or stop_sampling() says why not.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's threads")

FAULTS = Path(__file__).resolve().parent.parent / "faults"
needs_chroot = pytest.mark.needs("import os; os.chroot('/')", what="chroot")
needs_namespace = pytest.mark.needs(
    "import mounts; mounts.unshare(mounts.CLONE_NEWPID)", what="have a PID namespace"
)
needs_locked_memory = pytest.mark.needs(
    "import ctypes; assert ctypes.CDLL(None).mlockall(3) == 0", what="lock its memory"
)
needs_other_users = pytest.mark.needs(
    "import os; os.setresuid(54321, 54321, 54321)", what="become another user"
)
needs_proc_mounted = pytest.mark.needs(
    "import mounts, tempfile; mounts.own_mounts();"
    " mounts.mount('proc', tempfile.mkdtemp(), 'proc')",
    what="mount a /proc",
)

START = """
import ctypes, os, resource, sys, time
import memprobe

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWPID = 0x20000000

def come(more=5, seconds=20):
    '''Do samples come?'''
    wanted = memprobe.stats().count + more
    end = time.monotonic() + seconds
    while memprobe.stats().count < wanted and time.monotonic() < end:
        time.sleep(0.001)
    return memprobe.stats().count >= wanted

def stays_away(seconds=0.1):
    before = memprobe.stats().count
    time.sleep(seconds)
    return memprobe.stats().count == before

def why():
    try:
        memprobe.stop_sampling()
    except OSError as error:
        return error.errno, error.filename
    return None
"""


@pytest.fixture
def run_sampler(run_fault):
    def run(code, **options):
        return run_fault(START + code, **options)

    return run


# What it weighs


def test_the_thread_takes_little_address_space(run_sampler):
    """Some servers recycle by RLIMIT_AS; a default stack has 8 MiB, a heap 64."""
    run_sampler("""
def size():
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * 4096

memprobe.sample_mem()
before = size()
with memprobe.sampling(0.001), memprobe.measure():
    assert come()
    assert size() - before < 1 << 20
""")


@needs_locked_memory
def test_the_thread_takes_little_where_all_memory_is_locked(run_sampler):
    run_sampler("""
memprobe.sample_mem()
assert libc.mlockall(3) == 0
before = memprobe.rss()
with memprobe.sampling(0.001):
    assert come()
    assert memprobe.rss() - before < 512 << 10
""")


def test_a_large_stack_limit_below_a_limit_of_address_space(run_sampler):
    """ulimit -s 4000000; ulimit -v 4000000"""
    run_sampler("""
for kind in (resource.RLIMIT_STACK, resource.RLIMIT_AS):
    resource.setrlimit(kind, (4_000_000 << 10, resource.getrlimit(kind)[1]))
if "CHILD" not in os.environ:
    os.environ["CHILD"] = "1"
    os.execv(sys.executable, [sys.executable, "-W", "error", __file__])
with memprobe.sampling(0.001), memprobe.measure():
    assert come()
""")


# How it waits


@pytest.mark.parametrize(
    "functions",
    [
        "int pthread_cond_timedwait(void *a, void *b, void *c) { return 22; }"
        "int pthread_cond_clockwait(void *a, void *b, int i, void *c) { return 22; }",
        # What the thread itself calls: it says it waited, or that it can't.
        "long syscall(long number, ...) { return 0; }",
        "#include <errno.h>\nlong syscall(long number, ...)"
        "{ errno = ENOSYS; return -1; }",
        "int nanosleep(void *a, void *b) { return -1; }",
    ],
    ids=["cond", "syscall", "no-syscall", "nanosleep"],
)
def test_a_wait_that_returns_early_is_waited_for_again(
    run_sampler, compile_c, tmp_path, functions
):
    source = tmp_path / "early.c"
    source.write_text(functions)
    library = compile_c(
        tmp_path / "early.so", "-shared", "-fPIC", "-Wno-unused-parameter", source
    )
    run_sampler(
        """
memprobe.start_sampling(0.1)
before = time.process_time()
time.sleep(1)
assert time.process_time() - before < 0.3
assert 8 <= memprobe.stats().count <= 12, memprobe.stats()
memprobe.start_sampling(0.1)
times = [ns for ns, _ in memprobe.snapshot().tolist()]
assert all(b - a >= 50_000_000 for a, b in zip(times, times[1:]))
start = time.monotonic()
memprobe.stop_sampling()
assert time.monotonic() - start < 0.5
""",
        preload=library,
    )


# What it needs open


@needs_chroot
@pytest.mark.parametrize("closed", ["open", "all closed"])
def test_samples_come_after_a_chroot_without_proc(run_sampler, tmp_path, closed):
    run_sampler(f"""
memprobe.start_sampling(0.001)
assert come()
os.chroot({str(tmp_path)!r})
os.chdir("/")
if {closed!r} == "all closed":
    os.closerange(3, 256)
assert come()
assert why() is None
if {closed!r} == "open":
    memprobe.start_sampling(0.001)  # with what the process has open
    assert come()
    with memprobe.measure() as m:
        block = bytearray(b"x") * (50 << 20)
        time.sleep(0.1)
        del block
    assert m.peak - m.before > 45 << 20
    assert why() is None
""")


@needs_proc_mounted
def test_silence_is_told_and_ends_with_its_cause(run_sampler, tmp_path):
    """A start in a chroot without /proc, with nothing open."""
    run_sampler(f"""
from mounts import mount, own_mounts, unmount
own_mounts()
os.mkdir("{tmp_path}/proc")
os.chroot({str(tmp_path)!r})
os.chdir("/")
os.closerange(3, 256)
memprobe.start_sampling(0.001)
assert stays_away()
assert why() == (2, "/proc/self/statm")
assert why() is None  # it runs no more
memprobe.start_sampling(0.001)
assert stays_away()
mount("proc", "/proc", "proc")
assert come()
assert why() is None
""")


def test_samples_come_under_landlock(run_sampler):
    """A sandbox without a path: nothing can be opened any more."""
    out = run_sampler("""
attributes = ctypes.c_uint64(0x1FFF)  # all that the first version can forbid
ruleset = libc.syscall(444, ctypes.byref(attributes), ctypes.c_size_t(8), 0)
if ruleset < 0 or libc.prctl(38, 1, 0, 0, 0) or libc.syscall(446, ruleset, 0):
    print("no landlock")
    os._exit(0)
try:
    os.open("/proc/self/statm", os.O_RDONLY)
    raise AssertionError
except PermissionError:
    pass
with memprobe.sampling(0.001):
    assert come()
with memprobe.measure() as m:
    block = bytearray(b"x") * (50 << 20)
    time.sleep(0.1)
    del block
assert m.peak - m.before > 45 << 20
""")
    if "no landlock" in out:
        pytest.skip("this kernel has no Landlock")


def test_samples_come_with_all_descriptors_in_use(run_sampler):
    run_sampler("""
memprobe.rss()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
with memprobe.sampling(0.001):
    assert come()
""")


@pytest.mark.parametrize("how", ["before", "after"])
def test_samples_come_when_the_main_thread_has_ended(run_sampler, how):
    run_sampler(f"""
import threading

def work():
    while int(open("/proc/self/statm", "rb").read().split()[1]) > 0:
        time.sleep(0.001)
    if {how!r} == "after":
        memprobe.start_sampling(0.001)
    status = 1
    try:
        assert come()
        assert memprobe.stats().last > 1 << 20
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        assert come()
        assert why() is None
        status = 0
    finally:
        os._exit(status)

import warnings
warnings.simplefilter("ignore")  # of this program's own threads
if {how!r} == "before":
    memprobe.start_sampling(0.001)
threading.Thread(target=work).start()
libc.syscall(60 if os.uname().machine == "x86_64" else 93, 0)
""")


# Where no thread can be had


@needs_other_users
def test_no_thread_at_the_limit_of_processes_is_an_error(run_sampler):
    run_sampler("""
from forks import in_child

def child():
    os.setresuid(54321, 54321, 54321)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    for start in (memprobe.start_sampling, memprobe.measure().__enter__):
        try:
            start()
        except OSError as error:
            assert error.errno == 11 and "thread" in error.filename, error
        else:
            raise AssertionError
    assert why() is None
    memprobe.sample_mem()
    assert memprobe.stats().count == 1

in_child(child)
""")


@needs_other_users
def test_a_thread_that_could_not_be_had_again_is_started_at_the_next_chance(
    run_sampler,
):
    """At the limit of processes the fork's child takes the place of the thread."""
    run_sampler("""
os.setresuid(54322, 54322, 54322)
resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
memprobe.start_sampling(0.001)
assert come()
before, after = os.pipe()
memprobe._memprobe._before_fork()  # as from Python 3.12 on
pid = libc.fork()
assert pid >= 0  # kill(-1) would be everybody
if pid == 0:
    os.read(before, 1)
    os._exit(0)
memprobe._memprobe._after_fork()
assert len(os.listdir("/proc/self/task")) == 1
assert stays_away()
assert memprobe.stats().count >= 5
os.write(after, b"!")
os.waitpid(pid, 0)
assert come()
assert why() is None

# and if there is no such chance, it is told
memprobe.start_sampling(0.001)
memprobe._memprobe._before_fork()
pid = libc.fork()
assert pid >= 0  # kill(-1) would be everybody
if pid == 0:
    time.sleep(60)
    os._exit(0)
memprobe._memprobe._after_fork()
assert why() == (11, "the sampler's thread")
os.kill(pid, 9)
os.waitpid(pid, 0)
""")


@needs_namespace
def test_the_thread_stays_where_none_could_be_had_again(run_sampler):
    """Python warns then, rather than that the sampler falls silent."""
    run_sampler("""
import warnings
warnings.simplefilter("ignore")
memprobe.start_sampling(0.001)
assert libc.unshare(CLONE_NEWPID) == 0
pid = os.fork()
if pid == 0:
    time.sleep(60)  # process 1 of the namespace
for _ in range(3):
    assert come()
    other = os.fork()
    if other == 0:
        os._exit(0)
    os.waitpid(other, 0)
assert come()
os.kill(pid, 9)
assert why() is None
try:
    memprobe.start_sampling(0.001)
except OSError as error:
    assert "thread" in error.filename
""")


# A thread that is frozen


def test_nobody_waits_long_for_a_frozen_thread(run_sampler):
    run_sampler("""
from freezing import frozen, other_threads

def took(call, *arguments):
    start = time.monotonic()
    result = call(*arguments)
    assert time.monotonic() - start < 0.5, call
    return result

def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(memprobe.stats().count)
    assert os.waitpid(pid, 0)[1] == 0

import warnings
warnings.simplefilter("ignore")
memprobe.start_sampling(0.001)
assert come()
(thread,) = other_threads()
with frozen(thread):
    time.sleep(0.2)
    assert took(why)[0] == 110
    took(memprobe.start_sampling, 0.001)
    took(memprobe.sample_mem)
    with memprobe.measure() as m:
        took(fork)
    took(memprobe.configure)
    took(memprobe.clear)
    took(memprobe.memdump, 10, open(os.devnull, "w", encoding="ascii"))
assert come()
assert other_threads() == [thread]
with frozen(thread):
    took(why)
assert stays_away()
assert other_threads() == []
memprobe.start_sampling(0.001)
assert come()
assert why() is None
""")


def test_an_interpreter_ends_beside_a_frozen_thread(run_sampler):
    run_sampler("""
from freezing import frozen, other_threads
memprobe.start_sampling(0.001)
assert come()
context = frozen(other_threads()[0])
context.__enter__()
import atexit
atexit.unregister(context.__exit__)
""")


# Interpreters, hosts


def test_the_sampler_outlives_an_interpreter_that_has_it_too(run_sampler):
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    pytest.importorskip(name)
    run_sampler(f"""
import {name} as interpreters

def run(code):
    interpreter = interpreters.create()
    path = f"import sys; sys.path[:] = {{sys.path!r}}\\n"
    failure = interpreters.run_string(interpreter, path + code)
    assert failure is None, failure
    interpreters.destroy(interpreter)

memprobe.start_sampling(0.001)
run("import memprobe; memprobe.start_sampling(0.001)")
assert come()
memprobe.stop_sampling()
run("import memprobe; memprobe.start_sampling(0.001)")
assert come()  # of whoever started it
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
assert come()
assert why() is None
""")


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_forks_in_greenlets_do_not_warn(run_fault, library):
    """Both patch what says which thread this is."""
    pytest.importorskip(library)
    patch = f"""
import warnings
warnings.simplefilter("ignore")  # eventlet has one against each fork
if {library!r} == "gevent":
    import gevent.monkey
    gevent.monkey.patch_all()
    import gevent
    run = lambda work: gevent.spawn(work).get()
else:
    import eventlet
    eventlet.monkey_patch()
    run = lambda work: eventlet.spawn(work).wait()
warnings.filterwarnings("error", ".*multi-threaded")
"""
    run_fault(
        patch
        + START
        + """
def forks():
    for _ in range(20):
        with memprobe.measure():
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)

memprobe.start_sampling(0.001)
assert come()  # by sleeping, which makes gevent's loop run: else it misses the children
for work in (forks, lambda: run(forks)):
    work()
    assert come()
assert why() is None
"""
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="nothing warns, nothing pauses")
def test_a_host_that_forks_and_runs_no_bytecode_again(run_sampler, compile_c, tmp_path):
    """uWSGI's master calls Python's fork hooks by itself, outside of any code."""
    config = Path(
        sys.base_prefix,
        "bin",
        f"python{sys.version_info[0]}.{sys.version_info[1]}-config",
    )
    if not config.exists():
        pytest.skip("no python-config")
    flags = subprocess.run(
        [config, "--includes", "--ldflags", "--embed"], capture_output=True, text=True
    ).stdout.split()
    host = compile_c(tmp_path / "host", "-rdynamic", FAULTS / "host.c", *flags)
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "import memprobe\nmemprobe.start_sampling(0.001)\n"
    )
    result = subprocess.run(
        [host, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    before, after = map(int, result.stdout.split())
    assert after > before + 10
