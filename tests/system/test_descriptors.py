"""The open file of the Linux reader, in programs that do as they like with numbers.

The reader gives this process's RSS or OSError; the descriptors of others stay as they
are.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's reader")

# What reads like a statm; all else is noticed at once.
BELIEVABLE = [
    "file like a bigger statm",
    "file like a smaller statm",
    "statm of a bigger process",
    "statm of a smaller process",
]
STRANGERS = [
    *BELIEVABLE,
    *("file of zeros", "file of text", "empty file"),
    *("pipe", "socket", "terminal"),
    *("/dev/null", "/dev/zero", "/proc", "/proc/self/stat", "/proc/self/statm"),
]

# What is open between ours and the stranger is the program's, which closes it all.
TAKEN_OVER = """
import os, time
import memprobe
from descriptors import Stranger, links, our_descriptor, statm_descriptors
from readings import MIB, assert_all_refused, assert_right, grow, outgrow, truth

number = our_descriptor()
last = max(os.open("/dev/null", os.O_RDONLY) for _ in range(5))
stranger = Stranger(os.environ["STRANGER"], os.getcwd())
kept = grow()
expected = truth()

def take_over():
    os.closerange(3, last + 1)
    return stranger.take(number)

"""


def test_everything_is_closed_and_no_number_is_reused(run_fault):
    run_fault("""
import os
import memprobe
from descriptors import our_descriptor
from readings import assert_right, grow
our_descriptor()
kept = grow()
os.closerange(3, 256)
assert_right()
our_descriptor()
os.closerange(3, 256)
memprobe.sample_mem()
assert_right(memprobe.stats().last)
""")


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_at_our_number_is_neither_believed_nor_touched(run_fault, stranger):
    """By the clock: however few readings there were, the one after 10 ms is right."""
    run_fault(
        TAKEN_OVER
        + """
memprobe.sample_mem()
take_over()
time.sleep(0.01)
assert_right(expected=expected)
for _ in range(200):
    memprobe.sample_mem()
time.sleep(0.01)
assert_right(expected=expected)
stats = memprobe.stats()
assert stats.count == 201
assert_right(stats.min, expected)
assert_right(stats.max, expected)
if stranger.kind != "/proc/self/statm":  # which gives the right number, as ours does
    assert len({*statm_descriptors()} - {number}) == 1
stranger.assert_untouched()
""",
        env={"STRANGER": stranger},
    )


@pytest.mark.parametrize("stranger", sorted({*STRANGERS} - {*BELIEVABLE}))
def test_what_is_no_statm_is_not_believed_for_a_moment(run_fault, stranger):
    run_fault(
        TAKEN_OVER
        + """
memprobe.rss()
take_over()
assert_right(memprobe.rss(), expected)
stranger.assert_untouched()
""",
        env={"STRANGER": stranger},
    )


@pytest.mark.parametrize("stranger", BELIEVABLE)
def test_what_reads_like_a_statm_is_believed_for_5_ms_at_most(run_fault, stranger):
    """Called all the time: no reading that begins later than that is the stranger's."""
    run_fault(
        TAKEN_OVER
        + """
memprobe.rss()
taken = take_over()
began = taken
while began < taken + 30_000_000:
    began = time.monotonic_ns()
    reading = memprobe.rss()
    if began > taken + 5_000_000:
        assert_right(reading, expected)
assert_right(memprobe.rss(), expected)
stranger.assert_untouched()
""",
        env={"STRANGER": stranger},
    )


def test_a_stranger_is_not_read_when_it_is_time_to_verify(run_fault, lying_files):
    """A pread may take something from it, or wait."""
    run_fault(
        TAKEN_OVER
        + """
from lies import lie
memprobe.sample_mem()
take_over()
time.sleep(0.01)
before = lie.foreign_reads
memprobe.sample_mem()
assert lie.foreign_reads == before
os.pread(number, 1, 0)
assert lie.foreign_reads == before + 1
""",
        preload=lying_files,
        env={"STRANGER": "file like a smaller statm"},
    )


def test_a_stranger_that_is_a_network_tunnel_is_not_waited_for(run_fault):
    """pread takes its packets, and waits when there is none: for ever, with the GIL."""
    out = run_fault("""
import ctypes, fcntl, os, signal, struct, time
import memprobe
from descriptors import our_descriptor
from readings import assert_right
CLONE_NEWNET, IFF_TUN, IFF_NO_PI = 0x40000000, 1, 0x1000
TUNSETIFF = 0x400454CA
signal.alarm(20)
if ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
    print("no network namespace")
    os._exit(0)
try:
    tunnel = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH22x", b"fault0", IFF_TUN | IFF_NO_PI)
    fcntl.ioctl(tunnel, TUNSETIFF, request)
except OSError as error:
    print("no tunnel:", error)
    os._exit(0)
number = our_descriptor()
memprobe.rss()
time.sleep(0.01)
os.dup2(tunnel, number)
assert_right()
""")
    if out:
        pytest.skip(out)


@pytest.mark.parametrize("asked_at_once", [True, False])
@pytest.mark.parametrize(
    "stranger", ["file like a bigger statm", "statm of a bigger process"]
)
def test_a_strangers_number_is_never_the_peak(run_fault, stranger, asked_at_once):
    """The peak is for ever, and so would be a number that was believed for 1 ms."""
    run_fault(
        TAKEN_OVER
        + f"""
before = memprobe.peak_rss()
for _ in range(3):
    memprobe.rss()
take_over()
for _ in range(3):
    memprobe.rss()  # mostly the stranger's
if {asked_at_once}:
    assert_right(memprobe.peak_rss(), before)
time.sleep(0.01)
memprobe.sample_mem()
assert_right(memprobe.peak_rss(), before)
""",
        env={"STRANGER": stranger},
    )


@pytest.mark.parametrize("stranger", BELIEVABLE[:2])
def test_a_stranger_is_not_believed_when_no_number_is_left(run_fault, stranger):
    run_fault(
        TAKEN_OVER
        + f"""
import resource
more = outgrow()
expected = truth()
memprobe.sample_mem()
take_over()
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 256))
time.sleep(0.01)
assert_all_refused({errno.EMFILE})
assert_right(memprobe.peak_rss(), expected)  # needs none
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256))
assert_right(expected=expected)
stranger.assert_untouched()
""",
        env={"STRANGER": stranger},
    )


FULL = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256))

def fill():
    taken = []
    try:
        while True:
            taken.append(os.dup(2))
    except OSError:
        return taken

"""


@pytest.mark.no_sanitizer
def test_with_all_descriptors_in_use_all_readings_go_on(run_fault):
    run_fault(f"""{FULL}
import memprobe, mmap
from readings import MIB, assert_right, outgrow
kept = outgrow()
with open("/proc/self/statm") as statm:  # for the truth, while that is possible
    taken = fill()
    reading = memprobe.rss()
    memprobe.sample_mem()
    assert memprobe.above(reading - MIB)
    assert 60 * MIB < memprobe.rss_anon() < reading
    expected = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    peak = memprobe.peak_rss()
    with mmap.mmap(-1, 100 * MIB) as block:
        block[:: mmap.PAGESIZE] = b"x" * (len(block) // mmap.PAGESIZE)
    assert 90 * MIB < memprobe.peak_rss() - peak < 110 * MIB  # which no reading saw
assert_right(reading, expected)
assert_right(memprobe.stats().last, expected)
assert peak >= reading
os.close(taken.pop())
assert 90 * MIB < memprobe.peak_rss() - peak < 110 * MIB
""")


@pytest.mark.no_sanitizer
def test_with_all_descriptors_in_use_a_child_reads_its_own_rss(run_fault):
    """It has taken over the number of its parent's file, and its own children do."""
    run_fault(f"""{FULL}
import memprobe
from forks import in_child
from readings import MIB, grow
kept = grow()
memprobe.sample_mem()
taken = fill()

def child(generations):
    before = memprobe.rss()
    more = grow()
    assert 57 * MIB < memprobe.rss() - before < 63 * MIB
    assert memprobe.peak_rss() >= before + 57 * MIB
    memprobe.sample_mem()
    assert memprobe.stats().count == 1
    if generations > 1:
        in_child(lambda: child(generations - 1))

in_child(lambda: child(3))
assert memprobe.stats().count == 1
""")


@pytest.mark.no_sanitizer
def test_with_all_descriptors_in_use_a_raw_child_reads_its_own_rss_or_nothing(
    run_fault,
):
    """Nobody has told it of the fork while it was alone."""
    run_fault(f"""{FULL}
import memprobe
from forks import FORKS, in_child
from readings import assert_all_refused, assert_right, grow
kept = grow()
memprobe.sample_mem()
taken = fill()

def child():
    assert_all_refused({errno.EMFILE})
    more = grow()
    for number in (taken.pop(), taken.pop()):
        os.close(number)
    assert_right()
    memprobe.sample_mem()
    assert memprobe.stats().count == 1

in_child(child, FORKS.get("SYS_clone", FORKS["fork"]))
assert memprobe.stats().count == 1
""")


@pytest.mark.no_sanitizer
def test_import_with_all_descriptors_in_use_leaves_it_to_the_first_reading(run_fault):
    """An import needs descriptors of its own, so they are used up in the middle."""
    run_fault(f"""{FULL}
import importlib.machinery, importlib.util
spec = importlib.machinery.PathFinder.find_spec("memprobe")
(folder,) = spec.submodule_search_locations
finder = importlib.machinery.PathFinder
extension = finder.find_spec("memprobe._memprobe", [folder])
module = importlib.util.module_from_spec(extension)
taken = fill()
extension.loader.exec_module(module)
try:
    print(module.rss())
except OSError as error:
    assert error.errno == {errno.EMFILE}, error
    assert error.filename == "/proc/self/statm", error
else:
    raise AssertionError
os.close(taken.pop())
first = module.rss()
kept = b"x" * (60 << 20)
assert 57 << 20 < module.rss() - first < 63 << 20
""")


def test_the_descriptor_is_not_inherited_by_a_program(run_fault):
    run_fault("""
import os, subprocess, sys
import memprobe
from descriptors import our_descriptor
memprobe.rss()
assert not os.get_inheritable(our_descriptor())
command = [sys.executable, "-S", "-c", "import os; print(os.listdir('/proc/self/fd'))"]
out = subprocess.check_output(command, close_fds=False, text=True)
assert eval(out) == ["0", "1", "2", "3"], out  # the fourth is of the listing
""")


def test_a_program_without_0_to_2_gets_them_back_for_itself(run_fault):
    """Its next three open() are to be 0, 1 and 2: a print would go into our file."""
    run_fault("""
import os
saved = os.dup(2)
assert saved > 2
os.closerange(0, 3)
import memprobe
memprobe.rss()
memprobe.peak_rss()
from descriptors import our_descriptor
number = our_descriptor()
opened = [os.open("/dev/null", os.O_RDWR) for _ in range(3)]
os.dup2(saved, 2)
assert number > 2, number
assert opened == [0, 1, 2], opened
""")


DAEMON = """
import os, sys, time
import memprobe
from forks import start_child
from readings import assert_right, grow

kept = grow()
memprobe.sample_mem()
memprobe.peak_rss()

def report(work):
    # Into a file: a daemon has no standard error.
    done = "fine"
    try:
        work()
    except BaseException:
        import traceback
        done = traceback.format_exc()
    with open("report.new", "w") as file:
        file.write(done)
    os.rename("report.new", "report")

def wait_for_report():
    end = time.monotonic() + 40
    while not os.path.exists("report") and time.monotonic() < end:
        time.sleep(0.01)
    with open("report") as file:
        text = file.read()
    assert text == "fine", text

def daemon():
    from descriptors import our_descriptor
    assert memprobe.stats().count == 0
    assert_right()
    more = grow()
    assert_right()
    assert memprobe.peak_rss() >= memprobe.rss() - 2**20
    memprobe.sample_mem()
    assert memprobe.stats().count == 1
    assert our_descriptor() > 2

"""


@pytest.mark.parametrize("reopened", [True, False])
@pytest.mark.parametrize("read_between", [True, False])
def test_a_daemon_reads_its_own_rss(run_fault, reopened, read_between):
    """Two forks, everything closed, and 0 to 2 opened again or left closed."""
    run_fault(f"""{DAEMON}
pid = os.fork()
if pid == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    if {read_between}:
        memprobe.rss()
    os.closerange(0, 256)
    if {reopened}:
        opened = os.open("/dev/null", os.O_RDWR), os.dup(0), os.dup(0)
        assert opened == (0, 1, 2)
    report(daemon)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
wait_for_report()
assert memprobe.stats().count == 1
assert_right()
""")


def test_celerys_daemon_context(run_fault):
    pytest.importorskip("celery")
    run_fault(f"""{DAEMON}
from celery.platforms import DaemonContext
pid = os.fork()
if pid == 0:
    with DaemonContext(workdir=os.getcwd()):
        report(daemon)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
wait_for_report()
assert memprobe.stats().count == 1
""")


def test_celery_worker_detached(tmp_path):
    """A real worker with one process in its pool, both of which report."""
    pytest.importorskip("celery")
    (tmp_path / "app.py").write_text("""
import json, os
from celery import Celery
from celery.signals import worker_process_init, worker_ready
import memprobe

app = Celery("app", broker="memory://")
memprobe.sample_mem()

def report(name):
    kept = b"x" * (60 << 20)
    with open("/proc/self/statm") as statm:
        truth = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    numbers = {"pid": os.getpid(), "rss": memprobe.rss(), "truth": truth}
    numbers["count"] = memprobe.stats().count
    with open(name + ".new", "w") as file:
        json.dump(numbers, file)
    os.rename(name + ".new", name + ".json")
    return kept

@worker_ready.connect
def ready(**_):
    report("worker")

@worker_process_init.connect
def init(**_):
    global kept
    kept = report("child")
""")
    command = [sys.executable, "-m", "celery", "-A", "app", "worker", "--detach"]
    command += ["--pidfile=pid", "--logfile=log", "--pool=prefork", "--concurrency=1"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "C_FORCE_ROOT": "1"},
        check=True,
        capture_output=True,
        timeout=60,
    )
    reports = [tmp_path / "worker.json", tmp_path / "child.json"]
    end = time.monotonic() + 60
    try:
        while not all(path.exists() for path in reports):
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.05)
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    worker, child = (json.loads(path.read_text()) for path in reports)
    assert worker["pid"] != child["pid"]
    for numbers in (worker, child):
        assert abs(numbers["rss"] - numbers["truth"]) < 3 * 2**20, numbers
    assert worker["count"] == 1
    assert child["count"] == 0


def test_no_descriptor_is_lost_over_many_closures(run_fault):
    run_fault("""
import os
import memprobe
from descriptors import links, our_descriptor
from readings import assert_right
before = links()
for _ in range(200):
    os.close(our_descriptor())
    assert_right()
assert len(links()) == len(before)
for _ in range(200):
    memprobe.peak_rss()
assert len(links()) == len(before)
""")


def test_no_descriptor_is_lost_over_many_strangers(run_fault):
    run_fault("""
import os
import memprobe
from descriptors import links, our_descriptor, statm_descriptors
from readings import assert_right
null = os.open("/dev/null", os.O_RDONLY)
strangers = set()
for _ in range(50):
    number = our_descriptor()
    os.dup2(null, number)
    strangers.add(number)
    assert_right()
assert {links()[number] for number in strangers} == {"/dev/null"}
assert len(strangers) == 50 and len(statm_descriptors()) == 1
""")


def test_generations_of_forks_leave_no_descriptor_behind(run_fault):
    run_fault("""
import os
import memprobe
from descriptors import links, our_descriptor
from forks import in_child
from readings import assert_right
memprobe.rss()
first = links()

def generation(number):
    if number % 3:
        memprobe.sample_mem()
        memprobe.peak_rss()
        assert_right()
    assert len(links()) == len(first), (number, links())
    our_descriptor()
    if number < 50:
        in_child(lambda: generation(number + 1))

generation(0)
assert links() == first
""")


def test_a_raw_child_leaves_its_parents_descriptor_alone(run_fault):
    """Not being told while it is alone, it can't know that nobody else uses the number.

    With the table of descriptors shared, its closing it would be the parent's.
    """
    run_fault("""
import memprobe
from descriptors import our_descriptor, statm_descriptors
from forks import FORKS, in_child
from readings import assert_right
for kind in ("SYS_clone", "SYS_clone, descriptors shared"):
    if kind in FORKS:
        number = our_descriptor()

        def child():
            assert_right()
            assert len(statm_descriptors()) == 2 and number in statm_descriptors()

        in_child(child, FORKS[kind])
        assert number in statm_descriptors()
        assert_right()
        if "shared" in kind:
            assert len(statm_descriptors()) == 2  # which the child has left open
""")


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_child_does_not_close_a_stranger_at_our_number(run_fault, stranger):
    run_fault(
        TAKEN_OVER
        + """
from forks import in_child
memprobe.sample_mem()
take_over()
if stranger.kind == "/proc/self/statm":
    stranger.others.append(number)  # the child reads by it, as the program would

def child():
    assert links()[number] == link
    assert_right()
    assert memprobe.stats().count == 0
    assert links()[number] == link
    assert len({*statm_descriptors()} - {number}) == 1

link = links()[number]
in_child(child)
assert_right()
stranger.assert_untouched()
""",
        env={"STRANGER": stranger},
    )


def test_two_descriptors_are_kept_above_2_and_none_is_inherited(run_fault):
    """/proc is for children in a chroot; docs/what-rss-means.md lists both."""
    run_fault("""
import os
from descriptors import links
before = links()
import memprobe
memprobe.sample_mem()
memprobe.peak_rss()
memprobe.rss_anon()
kept = {number: link for number, link in links().items() if number not in before}
assert sorted(kept.values()) == ["/proc", f"/proc/{os.getpid()}/statm"], kept
assert min(kept) > 2
assert not any(os.get_inheritable(number) for number in kept)
""")
