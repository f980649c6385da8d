"""record() and stop_recording(): what they do to the program is next to nothing."""

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest

import memprobe

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")
PACKAGE = Path(memprobe.__file__).parent

SETTING = """
import os, signal, sys, threading, time
import memprobe

def fds():
    def is_open(fd):
        try:
            os.fstat(int(fd))
        except OSError:
            return False
        return True
    return sorted(filter(is_open, os.listdir("/proc/self/fd")), key=int)

def observers():
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline") as file:
                command = file.read().split("\\0")
        except OSError:
            continue
        if command[0] == "_observer" and str(os.getpid()) in command[4:]:
            found.append(int(name))
    return found

def status_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\\n").split(":\\t", 1) for line in file)

def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)

os.makedirs("trail", exist_ok=True)
"""


@pytest.fixture
def run(run_python):
    return lambda code, **options: run_python(SETTING + code, **options)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((7,), TypeError, "directory must be a path, not 7"),
        ((None,), TypeError, "directory must be a path, not None"),
        (("a\0b",), ValueError, r"directory must be without NUL, not 'a\\x00b'"),
        ((".", 0), ValueError, "interval must be a finite number .*, not 0"),
        ((".", float("nan")), ValueError, "interval must be .*, not nan"),
        ((".", "x"), TypeError, "interval must be a number of seconds, not 'x'"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message, trail, monkeypatch):
    monkeypatch.chdir(trail)
    with pytest.raises(error, match=message):
        memprobe.record(*arguments)
    assert os.listdir(trail) == []


def test_wrong_keep_is_named(trail):
    with pytest.raises(ValueError, match="keep must be 0 or more, not -1"):
        memprobe.record(trail, keep=-1)
    with pytest.raises(TypeError, match="keep must be an int, not 'x'"):
        memprobe.record(trail, keep="x")
    assert os.listdir(trail) == []


def test_the_folder_is_taken_as_any_path(trail, monkeypatch):
    monkeypatch.chdir(trail.parent)
    for folder in ("trail", b"trail", trail, "trail/../trail"):
        memprobe.record(folder)
        assert len(os.listdir(trail)) == 1
        memprobe.stop_recording()
        (trail / os.listdir(trail)[0]).unlink()


# What is left in the program


@linux
def test_one_descriptor_and_nothing_else(run):
    run("""
before = fds()
threads = os.listdir("/proc/self/task")
memprobe.record("trail")
(new,) = set(fds()) - set(before)
assert int(new) > 2
assert not os.get_inheritable(int(new))
assert os.listdir("/proc/self/task") == threads
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    pass
else:
    raise AssertionError("a child")
pid = os.fork()
if pid == 0:
    os._exit(fds() != before)
assert os.waitpid(pid, 0)[1] == 0
memprobe.stop_recording()
assert fds() == before
wait_for(lambda: not [pid for pid in observers() if status_of(pid)["State"][0] != "Z"])
""")


@linux
def test_no_sigchld_comes(run):
    run("""
came = []
signal.signal(signal.SIGCHLD, lambda *_: came.append(1))
memprobe.record("trail")
time.sleep(0.1)
memprobe.stop_recording()
time.sleep(0.2)
assert not came
""")


@linux
def test_the_observer_has_nothing_of_the_program(run):
    run("""
os.environ["SECRET"] = "of the program"
handed_down, _ = os.pipe()
os.set_inheritable(handed_down, True)
os.dup2(handed_down, 77)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
memprobe.record("trail", 0.1)
time.sleep(0.3)
(pid,) = observers()
status = status_of(pid)
assert status["Name"] == "memprobe"
assert int(status["Threads"]) == 1
assert os.readlink(f"/proc/{pid}/cwd") == "/"
assert os.getsid(pid) == pid
with open(f"/proc/{pid}/environ") as file:
    assert file.read() == ""
for fd in os.listdir(f"/proc/{pid}/fd"):
    leads_to = os.readlink(f"/proc/{pid}/fd/{fd}")
    if fd in "012":
        assert leads_to == "/dev/null"
    else:
        assert "pipe" not in leads_to, leads_to
blocked, ignored = int(status["SigBlk"], 16), int(status["SigIgn"], 16)
assert blocked == 0
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    assert ignored >> number - 1 & 1
assert not ignored >> signal.SIGUSR1 - 1 & 1
# To write into a folder of somebody else's, and to see what is hidden of others.
assert int(status["CapEff"], 16) & ~(1 << 1 | 1 << 19) == 0
assert status["NoNewPrivs"] == "1"
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    os.kill(pid, number)
time.sleep(0.1)
assert observers() == [pid]
memprobe.stop_recording()
""")


@linux
def test_no_warning_at_any_fork(run):
    """From Python 3.12 on a fork warns of threads, and here warnings are errors."""
    run("""
import multiprocessing
memprobe.record("trail")
for _ in range(50):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
process = multiprocessing.get_context("fork").Process(target=print)
process.start()
process.join()
memprobe.stop_recording()
""")


def test_events_for_auditing_come_before_anything_is_made(run):
    run("""
seen = []
def hook(event, arguments):
    if event in ("open", "os.posix_spawn"):
        seen.append((event, os.fsdecode(arguments[0]), len(os.listdir("trail"))))
        if event == refused:
            raise RuntimeError("refused")
refused = None
sys.addaudithook(hook)
memprobe.record("trail")
memprobe.stop_recording()
seen = [one for one in seen if one[0] == "os.posix_spawn" or "trail" in one[1]]
assert [one[0] for one in seen][-2:] == ["open", "os.posix_spawn"], seen
assert seen[-1][1].endswith("_observer")
assert {one[2] for one in seen} == {0}
for name in os.listdir("trail"):
    os.unlink(f"trail/{name}")
for refused in ("open", "os.posix_spawn"):
    try:
        memprobe.record("trail")
    except RuntimeError as error:
        assert str(error) == "refused"
    else:
        raise AssertionError
    assert os.listdir("trail") == []
refused = None
""")


def test_multiprocessing_is_not_imported(run):
    run("""
sys.modules["multiprocessing"] = None
memprobe.record("trail")
memprobe.stop_recording()
""")


# Again, elsewhere, and in children


def test_again_into_the_same_folder_does_nothing(run):
    run("""
memprobe.record("trail")
for same in ("trail", "./trail", os.path.abspath("trail"), b"trail"):
    memprobe.record(same, 5)
assert len(observers()) == 1
""")


def test_into_another_folder_is_an_error_that_names_both(run):
    run("""
os.mkdir("other")
memprobe.record("trail")
try:
    memprobe.record("other")
except RuntimeError as error:
    assert os.path.abspath("trail") in str(error), error
    assert os.path.abspath("other") in str(error), error
else:
    raise AssertionError
memprobe.stop_recording()
memprobe.record("other")
memprobe.stop_recording()
assert os.listdir("other")
""")


@linux
def test_a_child_that_is_observed_starts_no_other(run):
    run("""
import subprocess
memprobe.record("trail", 0.1)
pid = os.fork()
if pid == 0:
    memprobe.record("trail")
    # The one that it started says so and leaves.
    within = time.monotonic() + 5
    while observers() and time.monotonic() < within:
        time.sleep(0.01)
    os._exit(len(observers()))
assert os.waitpid(pid, 0)[1] == 0
# A subprocess knows nothing of its parent.
def descriptors(code):
    code = f"import memprobe, os; {code}; print(os.listdir('/proc/self/fd'))"
    return subprocess.check_output([sys.executable, "-c", code])
assert descriptors("memprobe.record('trail')") == descriptors("pass")
# Once its parent's recorder has been stopped, a child starts its own.
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    os.read(read, 1)
    memprobe.record("trail", 0.1)
    os._exit(len(observers()))
memprobe.stop_recording()
time.sleep(0.1)
os.write(write, b"x")
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
""")


@linux
def test_a_daemon_is_the_recorder_of_its_own_family(run, read_all, wait_for, tmp_path):
    """It leaves before anybody has looked at it, and closes all that it has open."""
    daemon = int(
        run("""
memprobe.record("trail", 0.2)
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, b"%d" % os.getpid())
        os.closerange(0, 1000)
        pid = os.fork()
        held = bytearray(b"x") * (40 << 20)
        time.sleep(1.5)
        os._exit(0 if pid else 3)
    os._exit(0)
print(int(os.read(read, 100)))
os._exit(0)
""")
    )
    wait_for(lambda: read_all(tmp_path / "trail")[daemon].state != "running")
    records = read_all(tmp_path / "trail")
    assert records[daemon].peak > 40 << 20
    children = [it for it in records.values() if it.parent == daemon]
    assert [it.peak > 40 << 20 for it in children] == [True]


# Its end


@linux
@pytest.mark.parametrize("how", ["return", "sys.exit(3)", "ctypes.CDLL(None).exit(3)"])
def test_the_last_look_is_taken_at_the_end(run, read_all, tmp_path, how):
    run(
        f"""
import ctypes
memprobe.record("trail", 10)
time.sleep(0.1)
held = bytearray(b"x") * (50 << 20)
if {how!r} != "return":
    {how if how != "return" else "pass"}
""",
        status=0 if how == "return" else 3,
    )
    (record,) = read_all(tmp_path / "trail").values()
    assert record.peak > 50 << 20


@linux
def test_started_again_at_once_it_records(run, read_all, tmp_path):
    """The one that was stopped holds nothing any more when stop_recording() returns."""
    run("""
for _ in range(30):
    memprobe.record("trail", 0.05)
    memprobe.stop_recording()
memprobe.record("trail", 0.05)
time.sleep(0.5)
held = bytearray(b"x") * (60 << 20)
time.sleep(0.3)
assert len([pid for pid in observers() if status_of(pid)["State"][0] != "Z"]) == 1
memprobe.stop_recording()
""")
    (record,) = read_all(tmp_path / "trail").values()
    assert record.last > 60 << 20


@linux
def test_an_observer_that_stands_still_holds_nobody_up(run):
    run("""
memprobe.record("trail")
(pid,) = observers()
os.kill(pid, signal.SIGSTOP)
began = time.monotonic()
memprobe._recorder._memprobe._last_look()
assert 0.09 < time.monotonic() - began < 0.5
began = time.monotonic()
try:
    memprobe.stop_recording()
except TimeoutError:
    pass
else:
    raise AssertionError
assert time.monotonic() - began < 0.5
os.kill(pid, signal.SIGCONT)
wait_for(lambda: not [pid for pid in observers() if status_of(pid)["State"][0] != "Z"])
""")


@linux
def test_an_observer_that_was_killed_is_replaced(run, read_all, tmp_path):
    run("""
memprobe.record("trail", 0.05)
(pid,) = observers()
os.kill(pid, signal.SIGKILL)
wait_for(lambda: status_of(pid)["State"][0] == "Z" if pid in observers() else True)
memprobe.record("trail", 0.05)
time.sleep(0.3)
assert len([pid for pid in observers() if status_of(pid)["State"][0] != "Z"]) == 1
memprobe.stop_recording()
""")
    (record,) = read_all(tmp_path / "trail").values()
    assert record.count > 3


@linux
def test_a_stranger_s_descriptor_is_left_alone(run):
    run("""
before = fds()
memprobe.record("trail")
(number,) = set(fds()) - set(before)
os.close(int(number))
other, _ = os.pipe()
os.dup2(other, int(number))
try:
    memprobe.stop_recording()
except BrokenPipeError:
    pass
os.fstat(int(number))
pid = os.fork()
if pid == 0:
    os.fstat(int(number))
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""")


def test_stopping_what_was_never_started_does_nothing():
    memprobe.stop_recording()
    memprobe.stop_recording()


# What it can't do


@linux
def test_what_can_not_be_executed_is_named(tmp_path, run_python):
    for name, code in (("missing", errno.ENOENT), ("foreign", errno.ENOEXEC)):
        copy = tmp_path / name / "memprobe"
        shutil.copytree(PACKAGE, copy)
        (copy / "_observer").unlink()
        if name == "foreign":
            (copy / "_observer").write_bytes(b"\x7fELF, but of another machine")
            (copy / "_observer").chmod(0o755)
        run_python(
            f"""
import os, sys
sys.path.insert(0, {str(copy.parent)!r})
import memprobe
os.mkdir({name!r} + "-trail")
before = os.listdir("/proc/self/fd")
try:
    memprobe.record({name!r} + "-trail")
except OSError as error:
    assert error.errno == {code}, error
    assert error.filename == {str(copy / "_observer")!r}, error
else:
    raise AssertionError
assert os.listdir({name!r} + "-trail") == []
assert os.listdir("/proc/self/fd") == before
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    pass
""",
            env={"PYTHONPATH": str(copy.parent)},
        )


@linux
def test_a_program_that_is_no_observer_is_named(tmp_path, run_python):
    copy = tmp_path / "other" / "memprobe"
    shutil.copytree(PACKAGE, copy)
    shutil.copy("/bin/true", copy / "_observer")
    run_python(
        f"""
import os, time
import memprobe
os.mkdir("trail")
began = time.monotonic()
try:
    memprobe.record("trail")
except BrokenPipeError as error:
    assert error.filename == {str(copy / "_observer")!r}, error
else:
    raise AssertionError
assert time.monotonic() - began < 1
""",
        env={"PYTHONPATH": str(copy.parent)},
    )


@linux
def test_without_a_process_to_be_had_it_says_so(run, root):
    run("""
import resource, tempfile
folder = tempfile.mkdtemp()
os.chown(folder, 65534, 65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
os.setuid(65534)
before = fds()
try:
    memprobe.record(folder)
except BlockingIOError as error:
    assert "_observer" in error.filename, error
else:
    raise AssertionError
assert fds() == before
assert os.listdir(folder) == []
os.rmdir(folder)
""")


@linux
def test_with_all_descriptors_in_use_it_says_so(run):
    run("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open("/", os.O_RDONLY))
except OSError:
    pass
try:
    memprobe.record("trail")
except OSError as error:
    assert error.errno == 24, error
else:
    raise AssertionError
for fd in taken[-3:]:
    os.close(fd)
memprobe.record("trail")
memprobe.stop_recording()
assert os.listdir("trail")
""")


@linux
def test_with_nothing_at_0_to_2(run):
    run("""
os.closerange(0, 3)
memprobe.record("trail")
assert "0" not in fds() and "1" not in fds() and "2" not in fds()
memprobe.stop_recording()
os._exit(0 if os.listdir("trail") else 1)
""")


@linux
def test_where_a_filter_forbids_programs_it_says_so(run, run_fault):
    run_fault(
        SETTING
        + """
import filters
filters.deny("execve")
try:
    memprobe.record("trail")
except PermissionError as error:
    assert error.filename.endswith("_observer"), error
else:
    raise AssertionError
assert os.listdir("trail") == []
"""
    )


@linux
def test_beside_gigabytes_it_starts_in_milliseconds(run):
    run("""
import mmap
held = mmap.mmap(-1, 1500 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, 1500 << 20, 4096):
    held[at] = 1
times = []
for _ in range(5):
    began = time.perf_counter()
    memprobe.record("trail")
    times.append(time.perf_counter() - began)
    memprobe.stop_recording()
    time.sleep(0.05)
assert min(times) < 0.02, times  # a fork of it would take longer
""")
