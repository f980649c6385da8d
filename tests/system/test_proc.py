"""/proc in all the states that it can be in: this process's RSS, or OSError."""

import errno
import platform
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")

FAULTS = Path(__file__).resolve().parent.parent / "faults"

# The truth is from a descriptor that is opened before anything happens to /proc.
START = """
import os, time
import memprobe
from forks import in_child
from readings import *
statm = os.open("/proc/self/statm", os.O_RDONLY)

def assert_right_by_descriptor():
    expected = int(os.pread(statm, 200, 0).split()[1]) * PAGE
    assert_right(memprobe.rss(), expected)
    memprobe.sample_mem()
    assert_right(memprobe.stats().last, expected)

"""


@pytest.fixture
def run_mounted(run_fault):
    """Run code that mounts and unmounts for itself alone."""

    def run(code, **options):
        return run_fault(f"import mounts\nmounts.own_mounts()\n{code}", **options)

    return run


OWN = "import mounts; mounts.own_mounts(); "
needs_own_mounts = pytest.mark.needs(OWN, what="have mounts of its own")
needs_proc_away = pytest.mark.needs(
    OWN + "mounts.unmount('/proc')", what="unmount /proc"
)
needs_own_root = pytest.mark.needs(
    OWN + "import tempfile; mounts.bind('/', tempfile.mkdtemp())",
    what="have its root in another place",
)
needs_other_users = pytest.mark.needs(
    "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)",
    what="become another user",
)
needs_seccomp = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"),
    reason=f"the system calls' numbers on {platform.machine()} are not known here",
)


# Missing, gone, masked


@needs_proc_away
def test_without_proc_everything_is_refused_until_it_is_there(run_mounted):
    run_mounted(f"""
mounts.unmount("/proc")
import memprobe
from readings import *
assert_all_refused({errno.ENOENT})
assert memprobe.stats().count == 0
kept = outgrow()
peak = memprobe.peak_rss()  # by getrusage
mounts.mount("proc", "/proc", "proc")
assert_right(peak)
assert_right()
memprobe.sample_mem()
assert_right(memprobe.stats().last)
assert memprobe.rss() <= memprobe.peak_rss()
""")


@needs_own_root
def test_after_a_chroot_without_proc_an_import_works_and_readings_are_refused(
    run_mounted, tmp_path
):
    """All files are there, by a mount that doesn't include /proc."""
    (tmp_path / "root").mkdir()
    run_mounted(f"""
import os
mounts.bind("/", "root")
os.chroot("root")
assert not os.path.exists("/proc/self")
import memprobe
from readings import *
assert_all_refused({errno.ENOENT})
""")


@needs_own_mounts
@pytest.mark.parametrize("read_before", [True, False])
@pytest.mark.parametrize(
    "how", [pytest.param("umount", marks=needs_proc_away), "chroot", "tmpfs"]
)
def test_readings_go_on_when_proc_has_gone(run_mounted, how, read_before, tmp_path):
    """The file was opened at the import, and /proc for who needs to open it anew.

    Only without both there is nothing to read.
    """
    (tmp_path / "root").mkdir()
    run_mounted(f"""{START}
if {read_before}:
    memprobe.sample_mem()
if {how!r} == "umount":
    mounts.unmount("/proc")
elif {how!r} == "tmpfs":
    mounts.mount("tmpfs", "/proc", "tmpfs")
else:
    os.chroot("root")
assert not os.path.exists("/proc/self")
for _ in range(3):
    kept = grow()
    assert_right_by_descriptor()
    time.sleep(0.01)
    assert_right_by_descriptor()
assert memprobe.stats().count == 6 + {read_before}
before = memprobe.snapshot().tolist()

def child(generations=3):
    global kept
    assert memprobe.stats().count == 0
    first = memprobe.rss()
    more = grow()
    assert 57 * MIB < memprobe.rss() - first < 63 * MIB
    assert memprobe.rss() <= memprobe.peak_rss() < first + 100 * MIB
    if generations > 1:
        in_child(lambda: child(generations - 1), generations % 2 and os.fork or raw)

from forks import FORKS
raw = FORKS.get("SYS_clone", FORKS["fork"])
in_child(child)
in_child(child, raw)
assert memprobe.peak_rss() > memprobe.rss()
assert memprobe.snapshot().tolist() == before
os.closerange(3, 256)
assert_all_refused({errno.ENOENT})
assert memprobe.snapshot().tolist() == before
""")


@needs_own_mounts
@pytest.mark.parametrize("mask", ["statm", "self", "proc"])
@pytest.mark.parametrize("imported_before", [True, False])
def test_a_file_that_is_mounted_over_statm_is_never_believed(
    run_mounted, mask, imported_before, tmp_path
):
    """A plausible line in a regular file, by a mount over it or a folder above."""
    folder = tmp_path / "masks" / "self"
    folder.mkdir(parents=True)
    (folder / "statm").write_text("40000 30000 500 600 0 400 0\n")
    (folder / "status").write_text("VmHWM:\t  999999 kB\n")
    run_mounted(f"""
import os
if {imported_before}:
{START.replace(chr(10), chr(10) + "    ")}
    memprobe.sample_mem()
    before = memprobe.snapshot().tolist()
if {mask!r} == "statm":
    mounts.bind("masks/self/statm", "/proc/self/statm")
    mounts.bind("masks/self/status", "/proc/self/status")
elif {mask!r} == "self":
    mounts.bind("masks/self", "/proc/self")
else:
    mounts.bind("masks", "/proc")
with open("/proc/self/statm") as file:
    assert file.read().startswith("40000 30000 ")
if {imported_before}:
    kept = outgrow()
    assert_right_by_descriptor()
    time.sleep(0.01)
    assert_right_by_descriptor()
    os.closerange(3, 256)
else:
    import memprobe
    from readings import *
assert_all_refused({errno.EBADMSG})
if {imported_before}:  # by getrusage
    assert_right(memprobe.peak_rss(), before[-1][1] + len(kept))
assert memprobe.stats().count == (3 if {imported_before} else 0)
""")


# Other rights


@needs_own_mounts
@needs_other_users
def test_hidepid_and_another_user(run_mounted):
    """In a PID namespace: the option holds for all that see the same /proc."""
    run_mounted(f"""{START}
mounts.unshare(mounts.CLONE_NEWPID)

def first():
    mounts.mount("proc", "/proc", "proc", options="hidepid=2")
    memprobe.sample_mem()
    in_child(lambda: second(False))
    in_child(lambda: second(True))

def second(read_before):
    if read_before:
        memprobe.sample_mem()
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    assert not os.path.exists("/proc/1")
    kept = grow()
    assert_right()
    time.sleep(0.01)
    assert_right()
    assert memprobe.rss() <= memprobe.peak_rss()
    in_child(third)

def third():
    kept = grow()
    assert_right()
    assert memprobe.rss() <= memprobe.peak_rss()

in_child(first)
""")


@needs_other_users
@pytest.mark.parametrize("read_before", [True, False])
def test_setuid_and_no_dumps(run_fault, read_before):
    run_fault(f"""{START}
import ctypes
PR_SET_DUMPABLE = 4
if {read_before}:
    memprobe.sample_mem()
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
assert os.stat("/proc/self/statm").st_uid == 0  # no longer its own

def check():
    kept = grow()
    assert_right()
    time.sleep(0.01)
    assert_right()
    assert memprobe.rss() <= memprobe.peak_rss()

check()
in_child(check)
os.closerange(3, 256)
check()
""")


@needs_seccomp
def test_seccomp_that_denies_open(run_fault):
    run_fault(f"""{START}
import filters
filters.deny("open", {errno.EPERM})
try:
    open("/proc/self/statm")
except PermissionError:
    pass
else:
    raise AssertionError("nothing is denied")
for _ in range(3):
    kept = grow()
    assert_right_by_descriptor()
    time.sleep(0.01)
    assert_right_by_descriptor()
assert memprobe.stats().count == 6
kept = outgrow()
assert memprobe.rss() <= memprobe.peak_rss() < memprobe.rss() + 70 * MIB

def child():
    assert_all_refused({errno.EPERM})
    assert memprobe.stats().count == 0

in_child(child)
os.closerange(3, 256)
assert_all_refused({errno.EPERM})
assert memprobe.stats().count == 6
""")


@needs_seccomp
def test_seccomp_that_denies_looking_whose_a_descriptor_is(run_fault):
    """Then nothing can be verified, so nothing is believed; and nothing piles up."""
    run_fault(f"""{START}
import filters
memprobe.sample_mem()
filters.deny("fstat", {errno.EPERM})
next_number = os.dup(0)
os.close(next_number)
for _ in range(50):
    time.sleep(0.002)
    assert_all_refused({errno.EPERM})
assert os.dup(0) == next_number
assert memprobe.stats().count == 1
""")


# The main thread


@pytest.mark.parametrize("imported_before", [True, False])
@pytest.mark.parametrize("how", ["pthread_exit", "SYS_exit"])
def test_the_main_thread_has_ended(run_fault, how, imported_before):
    """/proc/self/statm is all zeros then, though the process lives on."""
    if how == "SYS_exit" and platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip(f"its number on {platform.machine()} is not known here")
    number = {"x86_64": 60, "aarch64": 93}.get(platform.machine())
    run_fault(f"""
import ctypes, mmap, os, threading, time, traceback

def check():
    from forks import in_child
    import memprobe
    from readings import assert_right, grow
    count = memprobe.stats().count
    for _ in range(3):
        kept = grow()
        assert_right()
        memprobe.sample_mem()
        assert_right(memprobe.stats().last)
        assert memprobe.rss() <= memprobe.peak_rss()
        time.sleep(0.005)
    assert memprobe.stats().count == count + 3
    with mmap.mmap(-1, 100 * 2**20) as block:
        for i in range(0, len(block), 4096):
            block[i] = 1
    assert memprobe.peak_rss() > memprobe.rss() + 90 * 2**20

    def child():
        assert memprobe.stats().count == 0
        kept = grow()
        assert_right()

    in_child(child)
    numbers = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        memprobe.sample_mem()
        memprobe.peak_rss()
    assert len(os.listdir("/proc/self/fd")) == numbers

def work():
    status = 1
    try:
        end = time.monotonic() + 20
        text = ""
        while text != "0 0 0 0 0 0 0\\n":
            assert time.monotonic() < end, text
            with open("/proc/self/statm") as statm:
                text = statm.read()
        check()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)

if {imported_before}:
    import memprobe
    memprobe.sample_mem()
threading.Thread(target=work).start()
libc = ctypes.CDLL(None)  # gives the GIL away before the call
if {how!r} == "SYS_exit":
    libc.syscall({number}, 0)
else:
    libc.pthread_exit(None)
""")


# A kernel that lies


@pytest.fixture
def run_lied_to(run_fault, lying_files):
    def run(code, **options):
        start = (
            f"{START}from lies import lying\nkept = outgrow()\nmemprobe.sample_mem()\n"
        )
        return run_fault(start + code, preload=lying_files, **options)

    return run


GARBAGE = {
    "empty": b"",
    "short": b"40000 300",
    "without the newline": b"40000 30000 500 600 0 400 0",
    "six numbers": b"40000 30000 500 600 0 400\n",
    "two lines": b"40000 30000 500 600 0 400 0\n40000 30000 500 600 0 400 0\n",
    "text": b"the quick brown fox\n",
    "other numbers": b"-1 -2 -3 -4 -5 -6 -7\n",
    "zero bytes": bytes(256),
    "spaces": b" " * 256,
    "digits": b"7" * 256,
}


def test_a_reading_that_is_no_statm_is_refused(run_lied_to):
    run_lied_to(f"""
for name, text in {GARBAGE}.items():
    for pause in (0, 0.005):
        time.sleep(pause)
        with lying(text=text):
            assert_all_refused({errno.EBADMSG})
    assert_right()
    with lying(text=text, times=1):
        assert_right()
assert memprobe.stats().count == 1
memprobe.sample_mem()
assert memprobe.stats().count == 2
""")


@pytest.mark.parametrize("name", ["ENOMEM", "EIO", "EACCES", "ESRCH"])
def test_a_reading_that_fails_is_refused(run_lied_to, name):
    run_lied_to(f"""
import errno
for pause in (0, 0.005):
    time.sleep(pause)
    with lying(read=errno.{name}):
        assert_all_refused(errno.{name})
assert_right()
with lying(read=errno.{name}, times=1):
    assert_right()
assert memprobe.stats().count == 1
""")


@pytest.mark.parametrize("times", [1, 3, 100])
def test_an_interrupted_reading_is_made_again(run_lied_to, times):
    run_lied_to(f"""
import errno
for i in range(10):
    time.sleep(0.002 * (i % 2))
    with lying(read=errno.EINTR, times={times}) as lie:
        assert_right()
        assert lie.told == {times}
""")


def test_zeros_are_made_up_for_by_the_threads_file(run_lied_to):
    run_lied_to(f"""
zeros = b"0 0 0 0 0 0 0\\n"
for pause in (0, 0.005):
    time.sleep(pause)
    with lying(text=zeros):
        more = grow()
        assert_right()
    with lying("statm", text=zeros):
        assert_all_refused({errno.ENODATA})
assert_right()
assert memprobe.stats().count == 1
""")


def test_without_a_resident_page_there_is_no_reading(run_lied_to):
    run_lied_to(f"""
with lying("statm", text=b"40000 0 500 600 0 400 0\\n"):
    assert_all_refused({errno.ENODATA})
""")


def test_numbers_of_another_system_are_taken(run_lied_to):
    """gVisor leaves the last five at 0."""
    run_lied_to("""
with lying("statm", text=b"123456 34567 0 0 0 0 0\\n"):
    assert memprobe.rss() == 34567 * PAGE
""")


@pytest.mark.parametrize("name", ["EACCES", "ENFILE", "EMFILE", "ENOMEM", "EINTR"])
def test_an_open_that_fails_is_refused(run_lied_to, name):
    run_lied_to(f"""
import errno
with lying("/status", open=errno.{name}):
    assert_right(memprobe.peak_rss())  # by getrusage
os.closerange(3, 256)
with lying("statm", open=errno.{name}):
    assert_all_refused(errno.{name})
assert_right()

from lies import lie

def child():
    assert lie.told > 0  # at the fork
    assert_all_refused(errno.{name})
    lie.part = b""
    more = grow()
    assert_right()

lie.part, lie.open_errno, lie.times, lie.told = b"statm", errno.{name}, -1, 0
in_child(child)
lie.part = b""
assert memprobe.stats().count == 1
""")


def test_refusals_cost_no_descriptor(run_lied_to):
    run_lied_to("""
import errno
from descriptors import links
before = len(links())
for i in range(200):
    with lying("statm", text=b"0 0 0 0 0 0 0\\n"):
        assert_refused(memprobe.rss, errno.ENODATA)
    with lying("statm", read=errno.EIO):
        assert_refused(memprobe.rss, errno.EIO)
    with lying("/status", open=errno.ENOMEM):
        assert_right(memprobe.peak_rss())
    with lying("/status", read=errno.EIO):
        assert_right(memprobe.peak_rss())
assert len(links()) == before
""")


def test_samples_are_all_there_after_any_number_of_refusals(run_lied_to):
    run_lied_to("""
import errno
memprobe.configure(capacity=50)
expected = memprobe.snapshot().tolist()
for i in range(200):
    memprobe.sample_mem()
    expected.append(memprobe.snapshot().tolist()[-1])
    with lying("statm", read=errno.EIO):
        assert_refused(memprobe.sample_mem, errno.EIO)
    with lying("statm", text=b""):
        assert_refused(memprobe.sample_mem, errno.EBADMSG)
    assert memprobe.stats().count == len(expected)
    assert memprobe.snapshot().tolist() == expected[-50:]
assert memprobe.stats().overwritten == 151
""")


# ps(), which goes by what /proc says

OTHER_NAMESPACE = """
import os
import psutil
from forks import in_child

def assert_ps_is_this_process():
    process = memprobe.ps()
    assert process is memprobe.ps()
    ballast = grow()
    assert_right(process.memory_info().rss)
    del ballast
    return process

def in_a_child_of_another_namespace(work):
    mounts.unshare(mounts.CLONE_NEWPID)
    in_child(work)
"""


@needs_own_mounts
def test_ps_in_another_pid_namespace_is_this_process(run_mounted):
    """Also where parent and child, each in its own, are process 1."""
    run_mounted(f"""
import memprobe
from readings import *
{OTHER_NAMESPACE}
def grandchild():
    assert os.getpid() == 1
    assert assert_ps_is_this_process() is not parents

def child():
    global parents
    assert os.getpid() == 1
    parents = assert_ps_is_this_process()
    in_a_child_of_another_namespace(grandchild)

first = assert_ps_is_this_process()
in_a_child_of_another_namespace(child)
assert memprobe.ps() is first
""")


@needs_own_mounts
def test_ps_by_another_proc_that_psutil_was_told_of(run_mounted, tmp_path):
    """As in a container that has the host's processes in a folder of its own."""
    run_mounted(f"""
import memprobe
from readings import *
{OTHER_NAMESPACE}
def child():
    mounts.mount("proc", "/proc", "proc")
    assert os.readlink("/proc/self") == "1"
    psutil.PROCFS_PATH = {str(tmp_path)!r}
    assert assert_ps_is_this_process().pid != 1

mounts.mount("/proc", {str(tmp_path)!r}, flags=mounts.MS_BIND | mounts.MS_REC)
in_a_child_of_another_namespace(child)
""")


@needs_own_mounts
@pytest.mark.parametrize("asked_before", [True, False])
def test_ps_after_a_chroot_is_never_somebody_else(run_mounted, asked_before, tmp_path):
    run_mounted(f"""
import errno, os
import memprobe
import psutil
from readings import *
before = memprobe.ps() if {asked_before} else None
os.chroot({str(tmp_path)!r})
if {asked_before}:
    assert memprobe.ps() is before
else:
    assert_refused(memprobe.ps, errno.ENOENT, file="/proc/self")
""")
