"""The folder and its files: whoever else is there, full, damaged, gone, and `keep`."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

import memprobe
from memprobe import _record_file

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux mounts")


def test_a_file_is_only_for_its_owner(trail):
    before = os.umask(0)
    try:
        memprobe.record(trail)
    finally:
        os.umask(before)
    (name,) = os.listdir(trail)
    assert name.startswith(f"{os.getpid()}-")
    assert stat.S_IMODE(os.stat(trail / name).st_mode) == 0o600


def test_a_missing_folder_and_a_file_are_errors_that_name_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        memprobe.record(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file"):
        memprobe.record(tmp_path / "file")


@linux
def test_a_folder_that_may_not_be_written_to(run_python, other_users):
    run_python("""
import os, tempfile
import memprobe
folder = tempfile.mkdtemp()
os.chmod(folder, 0o755)
os.setgid(65534)
os.setuid(65534)
try:
    memprobe.record(folder)
except PermissionError as error:
    assert error.filename.startswith(f"{os.getpid()}-"), error
else:
    raise AssertionError
assert os.listdir(folder) == []
""")


def test_what_lies_at_its_name_is_not_followed(trail, tmp_path):
    memprobe.record(trail)
    (name,) = os.listdir(trail)
    memprobe.stop_recording()
    (trail / name).unlink()
    (trail / name).symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match=name) as caught:
        memprobe.record(trail)
    assert caught.value.errno == errno.ELOOP
    assert not (tmp_path / "victim").exists()
    (trail / name).unlink()
    os.mkfifo(trail / name)
    with pytest.raises(FileExistsError, match=name):
        memprobe.record(trail)


# Two observers


def test_the_second_observer_leaves_a_process_to_the_first(start_program, read_all):
    first = start_program(os.getpid())
    assert first.hear() == "ready"
    second = start_program(os.getpid())
    assert second.hear() == "ready"
    time.sleep(0.5)
    assert first.ask("look 1") == "done 1"
    assert second.ask("look 1") == "done 1"
    before = read_all()[os.getpid()].count
    # It goes on where the first one stopped.
    assert first.ask("stop 2") == "done 2"
    assert first.wait() == 0
    time.sleep(0.6)
    assert second.ask("stop 2") == "done 2"
    record = read_all()[os.getpid()]
    assert record.count >= before + 2
    times = [sample[0] for sample in record.samples()]
    assert times == sorted(times)
    assert len(times) == record.count


def test_the_second_observer_says_that_it_is_observed(start_program, trail):
    first = start_program(os.getpid())
    assert first.hear() == "ready"
    second = start_program(os.getpid(), flags=4)
    assert second.hear() == "observed"
    assert second.wait() == 0
    assert len(os.listdir(trail)) == 1


def test_it_goes_on_where_a_killed_one_stopped(start_program, read_all):
    first = start_program(os.getpid())
    assert first.hear() == "ready"
    assert first.ask("look 1") == "done 1"
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -9
    before = read_all()[os.getpid()]
    assert before.recorded_until is not None
    second = start_program(os.getpid())
    assert second.hear() == "ready"
    assert second.ask("stop 1") == "done 1"
    record = read_all()[os.getpid()]
    assert record.count > before.count
    assert record.first == before.first


def test_a_reader_s_lock_holds_nobody_up(start_program, trail):
    first = start_program(os.getpid())
    assert first.hear() == "ready"
    assert first.ask("stop 1") == "done 1"
    assert first.wait() == 0
    (name,) = os.listdir(trail)
    with open(trail / name, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        second = start_program(os.getpid(), flags=4)
        time.sleep(0.005)
    assert second.hear() == "ready"
    with open(trail / name, "rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_program_that_changed_by_exec_keeps_its_file(recorded):
    (record,) = recorded("""
time.sleep(0.3)
sys.stdout.write(str(os.getpid()))
sys.stdout.flush()
code = "import memprobe, time; memprobe.record('trail', 0.2); time.sleep(0.5)"
os.execv(sys.executable, [sys.executable, "-W", "error", "-c", code])
""")
    assert "script.py" in " ".join(record.command)
    assert "-c" in record.title


# What may happen to files and disks


def test_a_folder_that_is_removed_and_comes_again(start_program, trail):
    program = start_program(os.getpid(), interval=0.1)
    assert program.hear() == "ready"
    (name,) = os.listdir(trail)
    (trail / name).unlink()
    trail.rmdir()
    time.sleep(0.5)
    answer = program.ask("stop 1")
    assert answer.startswith(f"error 1 {errno.ENOENT} ")
    assert program.wait() == 0


def test_a_file_that_is_removed_or_cut_is_made_anew(start_program, trail, wait_for):
    program = start_program(os.getpid(), interval=0.1)
    assert program.hear() == "ready"
    (name,) = os.listdir(trail)
    file = trail / name

    def goes_on():
        try:
            return _record_file.read(file).count > 1
        except (OSError, _record_file.NotARecord):
            return False

    for harm in (
        file.unlink,
        lambda: os.truncate(file, 0),
        lambda: os.truncate(file, 5000),
    ):
        wait_for(goes_on)
        harm()
        assert not goes_on()
    wait_for(goes_on)
    assert program.ask("stop 1") == "done 1"


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount")
    yield folder
    for _ in range(50):
        if subprocess.run(["umount", folder], check=False).returncode == 0:
            break
        time.sleep(0.1)


def fill(folder, leave):
    """Fill a disk, but for so many bytes."""
    disk = os.statvfs(folder)
    with open(folder / "other", "ab") as file:
        file.write(bytes(disk.f_bavail * disk.f_frsize - leave))


@linux
def test_a_full_disk_is_an_error_at_the_start(small_disk):
    fill(small_disk, 0)
    with pytest.raises(OSError, match=r"memprobe") as caught:
        memprobe.record(small_disk)
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(small_disk) == ["other"]


@linux
def test_the_rest_of_a_nearly_full_disk_is_left_to_others(small_disk):
    fill(small_disk, 12288)
    with pytest.raises(OSError, match=r"memprobe") as caught:
        memprobe.record(small_disk)
    assert caught.value.errno == errno.ENOSPC
    disk = os.statvfs(small_disk)
    assert disk.f_bavail * disk.f_frsize == 12288


@linux
def test_a_disk_that_gets_full_is_told_and_recording_goes_on(
    small_disk, start_program, read_all
):
    trail = small_disk / "trail"
    trail.mkdir()
    program = start_program(os.getpid(), folder=trail, interval=0.1)
    assert program.hear() == "ready"
    pids = []
    fill(small_disk, 16384)
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            time.sleep(30)
            os._exit(0)
        pids.append(pid)
    try:
        time.sleep(0.7)
        disk = os.statvfs(small_disk)
        assert disk.f_bavail >= 1  # what is reserved
        assert pids[-1] not in read_all(trail)
        (small_disk / "other").unlink()
        time.sleep(2.5)  # the longest that it waits after its first errors
        assert set(pids) <= set(read_all(trail))
        assert program.ask("stop 1") == "done 1"
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_a_limit_of_file_sizes_is_an_error_or_none(run_python):
    run_python("""
import os, resource, signal, tempfile, time
import memprobe
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
folder = tempfile.mkdtemp()
memprobe.record(folder, 0.05)
time.sleep(0.3)
try:
    memprobe.stop_recording()
except OSError as error:
    assert error.errno == 27, error  # EFBIG
    assert error.filename == os.listdir(folder)[0]
else:
    raise AssertionError
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
folder = tempfile.mkdtemp()
try:
    memprobe.record(folder, 0.05)
except OSError as error:
    assert error.errno == 27, error
else:
    raise AssertionError
assert os.listdir(folder) == []
""")


NO_LOCKS = """
#include <errno.h>
int flock(int file, int operation)
{
    (void)file;
    (void)operation;
    errno = ENOSYS;
    return -1;
}
"""


@pytest.fixture(scope="module")
def no_locks(compile_c, tmp_path_factory):
    folder = tmp_path_factory.mktemp("locks")
    (folder / "no_locks.c").write_text(NO_LOCKS)
    library = folder / "no_locks.so"
    compile_c(library, "-shared", "-fPIC", folder / "no_locks.c")
    return {"LD_PRELOAD": str(library)}


@linux
def test_without_locks_it_records_and_removes_nothing(
    start_program, trail, read_all, no_locks
):
    program = start_program(os.getpid(), keep=0, environment=no_locks)
    assert program.hear() == "ready"
    time.sleep(0.3)
    other = start_program(1, keep=0, environment=no_locks)
    assert other.hear() == "ready"
    time.sleep(0.3)
    assert program.ask("look 1") == "done 1"
    assert read_all()[os.getpid()].count > 2
    assert any(name.startswith(f"{os.getpid()}-") for name in os.listdir(trail))


# What is kept


def make_ended(start_program, trail, code, count):
    """Leave files of processes that have ended."""
    names = []
    for _ in range(count):
        before = set(os.listdir(trail))
        pid = os.fork()
        if pid == 0:
            time.sleep(0.2)
            os.kill(os.getpid(), code) if code else os._exit(0)
        program = start_program(pid, interval=0.05)
        assert program.hear() == "ready"
        os.waitpid(pid, 0)
        assert program.wait() == 0
        names += set(os.listdir(trail)) - before
        time.sleep(0.02)
    return names


@linux
def test_keep_removes_the_oldest_that_exited_first(start_program, trail):
    killed = make_ended(start_program, trail, signal.SIGKILL, 2)
    exited = make_ended(start_program, trail, 0, 3)
    (trail / "notes.txt").write_text("not a file of ours" * 1000)
    (trail / "1-2-00000000.memprobe").write_bytes(b"nor this one" * 1000)
    size = os.stat(trail / exited[0]).st_blocks * 512
    there = sum(os.stat(trail / name).st_blocks * 512 for name in killed + exited)
    own = 3 * 4096

    def left(keep):
        program = start_program(os.getpid(), keep=keep)
        assert program.hear() == "ready"
        time.sleep(0.3)
        assert program.ask("stop 1") == "done 1"
        assert program.wait() == 0
        names = {name for name in os.listdir(trail) if name in killed + exited}
        return sorted(names, key=(exited + killed).index)

    other = os.stat(trail / "1-2-00000000.memprobe").st_blocks * 512
    assert left(there + own + other) == exited + killed
    assert left(there + own + other - 2 * size) == exited[2:] + killed
    assert left(there + own + other - 4 * size) == killed[1:]
    assert left(0) == []
    assert {"notes.txt", "1-2-00000000.memprobe"} < set(os.listdir(trail))


@linux
def test_keep_never_removes_the_living_nor_what_may_live(
    start_program, read_all, wait_for
):
    # One that another observer holds, and one whose observer was killed.
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        holder = start_program(os.getpid())
        assert holder.hear() == "ready"
        gone = start_program(sleeper.pid)
        assert gone.hear() == "ready"
        os.kill(gone.pid, signal.SIGKILL)
        gone.wait()
        other = start_program(os.getppid(), keep=0)
        assert other.hear() == "ready"
        time.sleep(0.3)
        assert {os.getpid(), sleeper.pid} <= set(read_all())
    finally:
        sleeper.kill()
        sleeper.wait()
    # Now that it has surely ended, it may go.
    wait_for(lambda: read_all()[sleeper.pid].state != "running")
    assert other.ask("stop 1") == "done 1"
    last = start_program(os.getppid(), keep=0)
    assert last.hear() == "ready"
    time.sleep(0.3)
    assert sleeper.pid not in read_all()
    assert os.getpid() in read_all()


@linux
def test_a_temporary_folder_goes_with_whoever_made_it(start_program, trail):
    program = start_program(os.getpid(), flags=2)
    assert program.hear() == "ready"
    assert os.listdir(trail)
    program.socket.close()
    assert program.wait() == 0
    assert not trail.exists()


@linux
def test_a_temporary_folder_stays_if_that_is_asked_for(start_program, trail):
    program = start_program(os.getpid(), flags=2)
    assert program.hear() == "ready"
    assert program.ask("keep 1") == "done 1"
    program.socket.close()
    time.sleep(0.3)
    assert program.pid is not None
    assert os.waitpid(program.pid, os.WNOHANG) == (0, 0)
    assert _record_file.names(trail)


@linux
def test_memory_that_a_program_shares_is_copied_to_its_end(run_python, trail, wait_for):
    """Who kills the program, or cuts the copy, changes nothing of that."""
    run_python(
        f"""
import errno, mmap, os, pathlib, signal, time
import memprobe
from memprobe._recorder import keep_copy

def refused(number, descriptor, name):
    try:
        keep_copy(descriptor, name)
    except OSError as error:
        assert error.errno == number, error
    else:
        raise AssertionError(name)

size = 100 * 4096
file = os.memfd_create("shared")
os.ftruncate(file, size)
memory = mmap.mmap(file, size)
refused(errno.EPIPE, file, "copy")
memprobe.record({str(trail)!r})
refused(errno.EINVAL, file, "../copy")
refused(errno.ENOENT, 999, "copy")
memory[50 * 4096] = 1
keep_copy(file, "copy")
path = {str(trail / "copy")!r}
copy = pathlib.Path(path)
assert copy.read_bytes() == memory[:]
memory[:3] = b"abc"
within = time.monotonic() + 10
while copy.read_bytes() != memory[:] and time.monotonic() < within:
    time.sleep(0.1)
os.truncate(path, 10)
memory[-1] = 9
os.kill(os.getpid(), signal.SIGKILL)
""",
        status=-9,
    )
    expected = bytearray(100 * 4096)
    expected[50 * 4096], expected[:3], expected[-1] = 1, b"abc", 9
    wait_for(lambda: (trail / "copy").read_bytes() == expected)
