"""The flight recorder: a trail that outlives the process, whatever ends it."""

import errno
import multiprocessing
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time

import pytest

import memprobe
from memprobe import _record

MIB = 2**20

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc")
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork")

PRELUDE = """
import os, sys, time
import memprobe
from memprobe import _record

def files():
    return sorted(os.listdir("trail"))

def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)

os.mkdir("trail")
"""


@pytest.fixture(autouse=True)
def no_recorder():
    yield
    memprobe.stop_recording()


@pytest.fixture
def trail(tmp_path):
    folder = tmp_path / "trail"
    folder.mkdir()
    return folder


def read_one(folder):
    (name,) = os.listdir(folder)
    return _record.read(os.path.join(folder, name))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def rss_of(record):
    return [rss for _, rss in record.samples]


# The file


def test_file_is_named_after_the_process_and_only_for_its_owner(trail):
    before = os.umask(0)
    try:
        memprobe.record(trail)
    finally:
        os.umask(before)
    (name,) = os.listdir(trail)
    pid, start = name.removesuffix(".memprobe").split("-")
    assert int(pid) == os.getpid()
    assert abs(int(start) / 1e6 - time.time()) < 3600
    status = os.stat(trail / name)
    assert status.st_size == 4096 + 65536 * 16
    if os.name != "nt":
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_blocks * 512 >= status.st_size  # no page without its place


def test_file_says_who_when_and_how(trail):
    before = time.time()
    memprobe.record(trail, interval=0.25)
    wait_for(lambda: read_one(trail).count > 0)
    record = read_one(trail)
    assert (record.pid, record.interval, record.capacity) == (os.getpid(), 0.25, 65536)
    assert record.argv == sys.orig_argv
    assert record.state == "running"
    assert before - 1 < record.started < time.time() + 1
    assert record.memory_limit is None or record.memory_limit > 0


def test_directory_is_taken_as_any_path(trail, monkeypatch):
    monkeypatch.chdir(trail.parent)
    for directory in ("trail", b"trail", trail):
        memprobe.record(directory)
        memprobe.stop_recording()
    assert len(os.listdir(trail)) == 3


def test_recording_again_at_once_makes_another_file(trail):
    for _ in range(20):
        memprobe.record(trail)
        memprobe.stop_recording()
    assert len(os.listdir(trail)) == 20


def test_a_link_at_its_name_is_not_followed(run_python, tmp_path):
    """The clock stands still, so that the name is known before."""
    if shutil.which("cc") is None or sys.platform != "linux":
        pytest.skip("no compiler")
    (tmp_path / "clock.c").write_text("""
#include <time.h>
#include <sys/syscall.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now)
{
    int error = (int)syscall(SYS_clock_gettime, id, now);
    if (id == CLOCK_REALTIME) { now->tv_sec = 1000; now->tv_nsec = 0; }
    return error;
}
""")
    build = ["cc", "-shared", "-fPIC", "clock.c", "-o", "clock.so"]
    subprocess.run(build, cwd=tmp_path, check=True, timeout=60)
    run_python(
        PRELUDE
        + """
name = f"trail/{os.getpid()}-1000000000.memprobe"
os.symlink("../victim", name)
def refuses():
    try:
        memprobe.record("trail")
    except FileExistsError as error:
        assert error.filename.endswith(name), error.filename
    else:
        raise AssertionError("it followed the link")

refuses()
assert not os.path.exists("victim")
with open("victim", "w") as file:
    file.write("precious")
refuses()
with open("victim") as file:
    assert file.read() == "precious"
assert os.path.islink(name)
""",
        env={"LD_PRELOAD": str(tmp_path / "clock.so")},
    )


# What goes wrong


def test_a_missing_folder_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        memprobe.record(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    # Windows looks no further than that there is no such folder.
    with pytest.raises((NotADirectoryError, FileNotFoundError), match="file"):
        memprobe.record(tmp_path / "file")
    memprobe.start_sampling()  # nothing runs that shouldn't
    memprobe.stop_sampling()


@pytest.mark.parametrize("length", [3000, 5000])
def test_a_path_that_is_too_long_is_an_oserror(length):
    with pytest.raises(OSError, match=r"x{1000}") as caught:
        memprobe.record("/" + "x" * length)
    if os.name != "nt":  # which finds other words, by its own limits
        assert caught.value.errno == errno.ENAMETOOLONG
    elif length > 4096:
        assert caught.value.winerror == 206


def test_a_failed_start_leaves_a_running_sampler_as_it_is(tmp_path):
    memprobe.start_sampling(0.001)
    try:
        with pytest.raises(FileNotFoundError):
            memprobe.record(tmp_path / "nowhere")
        count = memprobe.stats().count
        wait_for(lambda: memprobe.stats().count > count + 5)
    finally:
        memprobe.stop_sampling()


@linux
@pytest.mark.parametrize(
    ("options", "code"),
    [("size=64k", "ENOSPC"), ("ro", "EROFS"), ("size=64k,mode=0", None)],
)
def test_a_full_or_read_only_disk_is_an_oserror_and_leaves_no_file(
    tmp_path, options, code
):
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", tmp_path]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount")
    try:
        if code is None:  # root may do anything, others may not write here
            program = (
                "import multiprocessing.util, os, sys, memprobe\n"
                "os.setgid(65534); os.setuid(65534)\n"
                "try: memprobe.record(sys.argv[1])\n"
                "except PermissionError: sys.exit(7)\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", program, tmp_path], cwd="/", check=False
            )
            assert done.returncode == 7
        else:
            with pytest.raises(OSError, match=r"memprobe") as caught:
                memprobe.record(tmp_path)
            assert errno.errorcode[caught.value.errno] == code
        assert os.listdir(tmp_path) == []
        memprobe.sample_mem()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@posix
def test_a_limit_of_file_sizes_is_an_oserror_and_leaves_no_file(trail):
    """Python ignores SIGXFSZ, so that the write fails."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="memprobe") as caught:
            memprobe.record(trail)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert os.listdir(trail) == []


def test_recording_twice_is_a_runtime_error(trail):
    memprobe.record(trail)
    with pytest.raises(RuntimeError, match="the recorder runs already"):
        memprobe.record(trail)
    assert len(os.listdir(trail)) == 1


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


# What is in the file


def test_samples_from_before_move_along(trail):
    for _ in range(10):
        memprobe.sample_mem()
    before = memprobe.snapshot().tolist()
    memprobe.record(trail, interval=3600)
    wait_for(lambda: memprobe.stats().count >= 11)
    record = read_one(trail)
    assert rss_of(record)[:10] == [rss for _, rss in before]
    assert record.first == before[0][1]
    assert memprobe.snapshot().tolist()[:10] == before


def test_every_sample_is_in_the_file_at_once(trail):
    memprobe.record(trail, interval=3600)
    wait_for(lambda: memprobe.stats().count == 1)
    for i in range(100):
        memprobe.sample_mem()
        record = read_one(trail)
        assert record.count == i + 2
        assert rss_of(record) == [rss for _, rss in memprobe.snapshot().tolist()]
    times = [t for t, _ in record.samples]
    clock = time.time() - time.monotonic()
    for t, (ns, _) in zip(times, memprobe.snapshot().tolist(), strict=True):
        assert abs(t - (clock + ns / 1e9)) < 5


def test_figures_are_those_of_stats(trail):
    memprobe.record(trail, interval=3600)
    wait_for(lambda: memprobe.stats().count == 1)
    kept = []
    for _ in range(20):
        kept.append(b"x" * MIB)
        memprobe.sample_mem()
    record, stats = read_one(trail), memprobe.stats()
    for name in ("count", "first", "last", "min", "max", "mean", "seconds", "stored"):
        assert getattr(record, name) == getattr(stats, name), name


def test_the_kernels_peak_is_in_the_file(run_python):
    """Of a spike between two samples, too."""
    program = """
memprobe.record("trail", 0.05)
(name,) = files()
wait_for(lambda: memprobe.stats().count >= 1)
before = memprobe.rss()
block = bytearray(b"x") * (200 * 2**20)
del block
wait_for(lambda: _record.read("trail/" + name).peak >= before + 190 * 2**20)
"""
    run_python(PRELUDE + program)


def test_a_full_ring_keeps_the_newest_in_the_file(trail):
    memprobe.configure(capacity=10)
    memprobe.record(trail, interval=3600)
    wait_for(lambda: memprobe.stats().count == 1)
    for _ in range(34):
        memprobe.sample_mem()
    record = read_one(trail)
    assert (record.count, record.stored, record.capacity) == (35, 10, 10)
    held = [rss for _, rss in memprobe.snapshot().tolist()]
    assert rss_of(record) == held[1:]  # the process might be writing over the oldest
    memprobe.stop_recording()
    assert rss_of(read_one(trail)) == held


def test_forgetting_takes_nothing_from_the_file(trail, capsys):
    memprobe.record(trail, interval=3600)
    wait_for(lambda: memprobe.stats().count == 1)
    for _ in range(9):
        memprobe.sample_mem()
    memprobe.memdump()
    assert capsys.readouterr().out.count(">") == 10
    memprobe.sample_mem()
    memprobe.clear()
    memprobe.sample_mem()
    assert memprobe.stats().count == 1
    assert read_one(trail).count == 12


def test_stopping_keeps_the_samples_and_marks_a_clean_exit(trail):
    memprobe.record(trail, interval=3600)
    wait_for(lambda: memprobe.stats().count == 1)
    memprobe.sample_mem()
    before = memprobe.snapshot().tolist()
    memprobe.stop_recording()
    assert read_one(trail).state == "exited"
    assert memprobe.snapshot().tolist() == before
    memprobe.sample_mem()
    assert memprobe.stats().count == 3
    assert read_one(trail).count == 2
    memprobe.stop_recording()  # nothing to do


def test_the_ring_stays_as_it_is_while_recording(trail):
    memprobe.record(trail)
    with pytest.raises(RuntimeError, match="capacity can't be changed while the rec"):
        memprobe.configure(capacity=10)
    memprobe.stop_recording()
    memprobe.configure(capacity=10)


def test_the_recorders_sampler_is_not_the_users(trail):
    memprobe.start_sampling(3600)
    memprobe.record(trail, interval=0.001)  # takes it over
    with pytest.raises(RuntimeError, match="the sampler runs already"):
        memprobe.start_sampling()
    memprobe.stop_sampling()
    count = memprobe.stats().count
    wait_for(lambda: memprobe.stats().count > count + 10)
    assert read_one(trail).count > count
    memprobe.stop_recording()
    memprobe.start_sampling()
    memprobe.stop_sampling()


# How processes end


@pytest.mark.parametrize(
    ("end", "status", "state"),
    [
        ("", 0, "exited"),
        ("sys.exit(3)", 3, "exited"),
        ("os._exit(3)", 3, "killed"),
        pytest.param("os.kill(os.getpid(), 9)", -9, "killed", marks=posix),
        pytest.param("os.kill(os.getpid(), 15)", -15, "killed", marks=posix),
        pytest.param("os.abort()", -6, "killed", marks=posix),
    ],
)
def test_the_file_says_how_the_process_ended(run_python, tmp_path, end, status, state):
    program = f"""
memprobe.record("trail", 3600)
wait_for(lambda: memprobe.stats().count == 1)
for _ in range(9): memprobe.sample_mem()
{end}
"""
    run_python(PRELUDE + program, status=status)
    record = read_one(tmp_path / "trail")
    assert (record.state, record.count) == (state, 10)


def test_sigkill_leaves_the_trail_up_to_the_last_interval(tmp_path, trail):
    """A process that grows until the kernel kills it: nobody could tell it before."""
    program = """
import sys, time, memprobe
memprobe.record(sys.argv[1], 0.01)
kept = []
while True:
    kept.append(bytearray(b"x") * (1 << 20))
    time.sleep(0.005)
"""
    child = subprocess.Popen([sys.executable, "-c", program, trail], cwd=trail)
    try:
        wait_for(lambda: os.listdir(trail))
        wait_for(lambda: (read_one(trail).last or 0) > 80 * MIB)
        wait_for(lambda: read_one(trail).state == "running")
    finally:
        child.kill()
        ended = time.time()
        child.wait()
    record = read_one(trail)
    assert record.state == "killed"
    assert record.last > 80 * MIB
    assert record.last > record.first + 50 * MIB
    assert ended - record.samples[-1][0] < 5  # 0.01 on a machine that isn't busy


def test_a_kill_at_any_moment_leaves_a_sound_file(tmp_path, trail):
    program = """
import sys, memprobe
memprobe.configure(capacity=int(sys.argv[2]))
memprobe.record(sys.argv[1], 0.0005)
print(flush=True)
while True: memprobe.sample_mem()
"""
    rng = random.Random(7)
    for round in range(25):
        capacity = rng.choice([1, 2, 7, 64, 4096, 65536])
        command = [sys.executable, "-c", program, trail, str(capacity)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=trail) as child:
            child.stdout.readline()
            time.sleep(rng.random() * 0.05)
            child.kill()
        record = read_one(trail)
        assert record.state == "killed", round
        check_soundness(record)
        assert record.stored == min(record.count, capacity)
        assert len(record.samples) >= max(record.stored - 1, min(record.count, 1))
        os.unlink(record.path)


def check_soundness(record):
    times = [t for t, _ in record.samples]
    assert times == sorted(times)
    assert all(MIB < rss < 1024 * MIB for rss in rss_of(record))
    assert len(record.samples) <= record.stored <= record.count
    if record.samples:
        assert record.samples[-1][1] == record.last
        assert record.min <= min(rss_of(record)) <= max(rss_of(record)) <= record.max


@pytest.mark.parametrize("capacity", [1, 2, 4, 64])
def test_a_reader_never_sees_a_torn_file(tmp_path, trail, capacity):
    """The states and slots are overwritten again and again while they are read."""
    program = """
import sys, memprobe
memprobe.configure(capacity=int(sys.argv[2]))
memprobe.record(sys.argv[1], 0.0005)
print(flush=True)
while True: memprobe.sample_mem()
"""
    command = [sys.executable, "-c", program, trail, str(capacity)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=trail) as child:
        try:
            child.stdout.readline()
            wait_for(lambda: read_one(trail).count > capacity)
            before = 0
            for _ in range(1000):
                record = read_one(trail)
                check_soundness(record)
                assert record.samples
                assert record.state == "running"
                assert record.count >= before
                before = record.count
        finally:
            child.kill()


@pytest.mark.parametrize("size", [0, 100, 4096, 20480])
def test_keep_removes_what_was_killed_while_it_was_created(trail, run_python, size):
    """Before its header is written, a file is only zeros."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    names = [f"{ended.pid}-1.memprobe", f"{os.getpid()}-1.memprobe", "1.memprobe"]
    for name in names:
        (trail / name).write_bytes(bytes(size))
    run_python('import memprobe; memprobe.record("trail", keep=0)')
    assert not (trail / names[0]).exists()
    assert (trail / names[2]).exists(), "not the recorder's"
    if os.name != "nt":  # there a living process holds its file
        assert (trail / names[1]).exists(), "of a living process"


@posix
def test_a_file_that_is_being_created_is_waited_for(trail):
    """Its header comes last; before that it is held, or its process is there."""
    memprobe.record(trail, interval=3600)
    wait_for(lambda: memprobe.stats().count == 1)
    memprobe.stop_recording()
    (name,) = os.listdir(trail)
    content = (trail / name).read_bytes()
    path = trail / f"{os.getpid()}-1.memprobe"
    path.write_bytes(bytes(len(content)))

    def write_header():
        with open(path, "r+b", buffering=0) as file:
            file.seek(8)
            file.write(content[8:])
            file.seek(0)
            file.write(content[:8])

    timer = threading.Timer(0.1, write_header)
    timer.start()
    assert _record.read(path).count == 1
    timer.join()


@linux
def test_closing_every_descriptor_changes_nothing(run_python, tmp_path):
    program = """
memprobe.record("trail", 0.001)
wait_for(lambda: memprobe.stats().count > 5)
os.closerange(3, 1000)
taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
(name,) = files()
before = memprobe.stats().count
wait_for(lambda: memprobe.stats().count > before + 5)
record = _record.read("trail/" + name)
assert record.state == "running" and record.count > before
memprobe.stop_recording()
for fd in taken:
    os.fstat(fd)
"""
    run_python(PRELUDE + program)
    assert read_one(tmp_path / "trail").state == "exited"


# Children

AFTER_FORK = """
memprobe.record("trail", 0.01)
wait_for(lambda: memprobe.stats().count > 3)

def own_file():
    return [n for n in files() if n.startswith(f"{os.getpid()}-")]

def child():
    wait_for(own_file)
    (name,) = own_file()
    wait_for(lambda: _record.read("trail/" + name).count > 5)
    record = _record.read("trail/" + name)
    assert record.state == "running"
    assert record.pid == os.getpid()
    return record
"""


@forks
def test_a_forked_child_has_a_file_of_its_own(run_python, tmp_path):
    program = """
started = time.time()
before = memprobe.stats().count
block = b"x" * (50 * 2**20)  # after the fork of the parent alone
del block
pid = os.fork()
if pid == 0:
    block = b"x" * (100 * 2**20)
    wait_for(own_file)
    wait_for(lambda: child().last > 100 * 2**20)
    assert child().samples[0][0] >= started - 0.5, "the parent's samples"
    memprobe.stop_recording()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
record = _record.read("trail/" + own_file()[0])
assert record.state == "running"
assert record.last < 100 * 2**20
wait_for(lambda: _record.read("trail/" + own_file()[0]).count > before + 5)
(other,) = [n for n in files() if n not in own_file()]
assert other.startswith(f"{pid}-")
assert _record.read("trail/" + other).state == "exited"
"""
    run_python(PRELUDE + AFTER_FORK + program)


@forks
def test_grandchildren_are_recorded_too(run_python, tmp_path):
    program = """
if (pid := os.fork()) == 0:
    if (pid := os.fork()) == 0:
        if (pid := os.fork()) == 0:
            child()
            os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    child()
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
assert os.waitpid(pid, 0)[1] == 0
assert len(files()) >= 3, files()  # one of them may have ended within an interval
"""
    run_python(PRELUDE + AFTER_FORK + program)


@forks
def test_children_that_end_at_once_or_run_another_program_leave_no_file(run_python):
    program = """
import subprocess
memprobe.record("trail", 30)
wait_for(lambda: memprobe.stats().count == 1)
for what in range(20):
    if (pid := os.fork()) == 0:
        if what % 2:
            os.execv("/bin/true", ["true"])
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
subprocess.run(["/bin/true"], check=True)
assert len(files()) == 1, files()
"""
    run_python(PRELUDE + program)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing(run_python, tmp_path, method):
    """A forked child inherits the recorder, and multiprocessing marks its end."""
    program = f"""
import multiprocessing, os, time
import memprobe

def work():
    own = f"trail/{{os.getpid()}}-"
    end = time.monotonic() + 60
    while {method!r} == "fork" and not any(
        f"trail/{{name}}".startswith(own) for name in os.listdir("trail")
    ):
        assert time.monotonic() < end
        time.sleep(0.002)
    memprobe.sample_mem()

if __name__ == "__main__":
    os.mkdir("trail")
    memprobe.record("trail", 0.01)
    context = multiprocessing.get_context({method!r})
    processes = [context.Process(target=work) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
"""
    run_python(program)
    folder = tmp_path / "trail"
    records = [_record.read(str(folder / name)) for name in os.listdir(folder)]
    assert [record.state for record in records] == ["exited"] * len(records)
    assert len(records) == (4 if method == "fork" else 1)


@forks
def test_os_fork_does_not_warn_while_recording(run_python):
    """-W error makes the DeprecationWarning of Python 3.12 an error."""
    program = """
memprobe.record("trail", 0.0005)
for _ in range(200):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
before = memprobe.stats().count
wait_for(lambda: memprobe.stats().count > before + 10)
"""
    run_python(PRELUDE + program)


@forks
def test_a_forking_process_is_always_seen_as_running(run_python):
    """The sampler pauses around each fork; another process looks on meanwhile."""
    program = """
import subprocess
memprobe.record("trail", 0.01)
(name,) = files()
look = (
    "import sys; from memprobe import _record\\n"
    "for _ in range(2000):\\n"
    "    assert _record.read(sys.argv[1], 16).state == 'running'\\n"
    "    assert not _record.has_ended(sys.argv[1])\\n"
)
looking = subprocess.Popen([sys.executable, "-c", look, "trail/" + name])
while looking.poll() is None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
assert looking.returncode == 0
"""
    run_python(PRELUDE + program)


# Old files


def test_keep_removes_the_oldest_of_those_that_have_ended(trail):
    for _ in range(5):
        memprobe.record(trail)
        memprobe.stop_recording()
    ended = _record.names(str(trail))
    (trail / "1-2.memprobe").write_text("not a record")
    (trail / "3-4.memprobe").mkdir()
    memprobe.record(trail, keep=2)
    running = set(os.listdir(trail)) - set(ended)
    assert set(_record.names(str(trail))) == {*ended[3:], *running}
    assert {"1-2.memprobe", "3-4.memprobe"} < running
    memprobe.stop_recording()
    memprobe.record(trail, keep=0)
    assert len(_record.names(str(trail))) == 3
    assert read_running(trail)


def read_running(folder):
    for name in _record.names(str(folder)):
        try:
            if _record.read(str(folder / name)).state == "running":
                return True
        except _record.NotARecord:
            pass
    return False


@forks
def test_keep_never_removes_the_file_of_a_living_process(run_python):
    """Not of the parent either, whose sampler pauses while a child is forked."""
    program = """
memprobe.record("trail", 0.001, keep=0)
(mine,) = files()
for _ in range(100):
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert mine in files()
children = []
for _ in range(8):
    if (pid := os.fork()) == 0:
        wait_for(lambda: [n for n in files() if n.startswith(f"{os.getpid()}-")])
        time.sleep(30)
    children.append(pid)
    time.sleep(0.01)
wait_for(lambda: len(files()) >= 9)
living = {mine.split("-")[0], *map(str, children)}
assert living <= {name.split("-")[0] for name in files()}
for pid in children:
    os.kill(pid, 9)
for pid in children:
    os.waitpid(pid, 0)
memprobe.stop_recording()

def is_there(name):
    # A number that was given away again is a living process's.
    try:
        os.kill(int(name.split("-")[0]), 0)
    except ProcessLookupError:
        return False
    return True

def alone():
    # The kernel lets go of a dead process's lock a moment after the wait for it.
    memprobe.record("trail", keep=0)
    left = files()
    memprobe.stop_recording()
    return all(is_there(name) for name in left)

wait_for(alone)
"""
    run_python(PRELUDE + program)
