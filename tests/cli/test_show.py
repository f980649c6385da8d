"""memprobe show: what the recorder's files say, and that no file can harm it."""

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import xml.etree.ElementTree

import pytest

import memprobe
from memprobe import _record

MIB = 2**20
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX")


@pytest.fixture
def trail(tmp_path):
    folder = tmp_path / "trail"
    folder.mkdir()
    return folder


@pytest.fixture
def show(tmp_path):
    """Run the command; return what it printed. Its errors and status must be these."""

    def run(*arguments, status=0, errors=0):
        done = subprocess.run(
            [sys.executable, "-m", "memprobe", "show", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            check=False,
        )
        run.errors = done.stderr.splitlines()
        assert done.returncode == status, done.stderr
        assert len(run.errors) == errors, done.stderr
        assert all(line.startswith("memprobe: ") for line in run.errors)
        assert "Traceback" not in done.stderr
        return done.stdout

    return run


def forge(path, samples=((0, 50 * MIB), (10, 60 * MIB)), **changes):
    """Write a file as the recorder would have, but for the changes."""
    times = [100_000_000_000 + int(t * 1e9) for t, _ in samples]
    sizes = [rss for _, rss in samples]
    fields = {
        "magic": b"memprobe",
        "version": 1,
        "header_bytes": 4096,
        "pid": 4242,
        "wall_ns": 1_700_000_000_000_000_000,
        "monotonic_ns": 100_000_000_000,
        "interval_ns": 1_000_000_000,
        "capacity": max(len(samples), 1),
        "memory_limit": 0,
        "peak": 0,
        "ended": 1,
        "argv_bytes": None,
    }
    state = {
        "taken": len(samples),
        "base": 0,
        "count": len(samples),
        "sum_low": sum(sizes),
        "sum_high": 0,
        "min": min(sizes, default=0),
        "max": max(sizes, default=0),
        "first_ns": times[0] if samples else 0,
        "first": sizes[0] if samples else 0,
        "last_ns": times[-1] if samples else 0,
        "last": sizes[-1] if samples else 0,
        "checksum": None,
    }
    argv = changes.pop("argv", b"python\0app.py\0")
    for name, value in changes.items():
        (fields if name in fields else state)[name] = value
    if fields["argv_bytes"] is None:
        fields["argv_bytes"] = len(argv)
    header = _record.HEADER.pack(*fields.values())
    if state["checksum"] is None:
        state["checksum"] = 0
        whole = _record.STATE.pack(*state.values())
        state["checksum"] = _record.checksum_of(whole[:-8])
    header += _record.STATE.pack(*state.values()) + bytes(_record.STATE.size) + argv
    slots = [_record.SAMPLE.pack(*s) for s in zip(times, sizes, strict=True)]
    slots = b"".join(slots) or bytes(16)
    path.write_bytes(header.ljust(4096, b"\0") + slots)
    return path


def rows(text):
    return [line.split() for line in text.splitlines()[1:]]


def test_table_has_a_line_for_each_process_the_largest_first(trail, show):
    for number, size in enumerate([60, 900, 7]):
        forge(
            trail / f"{number}-{number}.memprobe",
            [(0, 5 * MIB), (1800, (size + 100) * MIB), (3600, size * MIB)],
            pid=number + 1,
            argv=b"/usr/bin/python3\0/srv/app.py\0",
            memory_limit=1000 * MIB,
        )
    table = show(trail)
    assert table.split("\n")[0].split()[:3] == ["pid", "command", "state"]
    assert [row[:3] for row in rows(table)] == [
        ["2", "app.py", "exited"],
        ["1", "app.py", "exited"],
        ["3", "app.py", "exited"],
    ]
    middle = " ".join(rows(table)[1])
    assert "60min 3 5.00MB 160MB 60.0MB +55.0MB 6%" in middle


@pytest.mark.parametrize("width", [40, 80, 200])
def test_table_is_as_wide_as_the_terminal(trail, tmp_path, width):
    pty = pytest.importorskip("pty")
    import fcntl
    import termios

    for n in range(3):
        forge(trail / f"{n}-{n}.memprobe", argv=b"python\0" + b"a long name.py " * 20)
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    command = [sys.executable, "-m", "memprobe", "show", str(trail)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        command, stdout=other, cwd=tmp_path, env=environment, close_fds=True
    ) as child:
        os.close(other)
        text = b""
        try:
            while part := os.read(main, 65536):
                text += part
        except OSError:
            pass  # Linux says so when the other end is closed
    os.close(main)
    assert child.returncode == 0
    lines = text.decode().splitlines()
    assert len(lines) == 4
    assert all(len(line) < width for line in lines)
    assert max(map(len, lines)) > width * 0.6
    assert all("█" in line and "a long" in line for line in lines[1:])


def test_table_has_80_columns_where_there_is_no_terminal(trail, show):
    for n in range(3):
        forge(trail / f"{n}-{n}.memprobe", argv=b"python\0" + b"a long name.py " * 20)
    table = show(trail)
    assert max(map(len, table.splitlines())) == 80
    assert table.isascii()


def test_one_file_is_shown_with_chart_dump_and_figures(trail, show):
    samples = [(t, (50 + t) * MIB) for t in range(100)]
    text = show(forge(trail / "1-1.memprobe", samples, memory_limit=1024 * MIB))
    assert text.startswith("memprobe: app.py\n- rss (sample):\n-    > 50MB,\n")
    assert text.count("-    > ") == 10
    for line in (
        "-    > 149MB,",
        "- rss (end): 149MB.",
        "- process: 4242, exited.",
        "- duration: 99.0 s.",
        "- samples: 100, one every 1.0 s.",
        "- rss (min, mean, max): 50MB, 99.5MB, 149MB.",
        "- growth: +3.52GB an hour.",
        "- limit of the cgroup: 1GB, 15% of it at the end.",
    ):
        assert f"\n{line}\n" in text
    assert "160MB |" in text


def test_a_file_without_samples_is_shown_too(trail, show):
    path = forge(trail / "1-1.memprobe", [])
    assert "- samples: 0" in show(path)
    forge(trail / "2-2.memprobe")
    assert [row[0] for row in rows(show(trail))] == ["4242", "4242"]
    show("--csv", "out.csv", path)


def test_a_file_without_samples_cannot_be_drawn(trail, show):
    pytest.importorskip("matplotlib")
    path = forge(trail / "1-1.memprobe", [])
    show("--plot", "out.svg", path, status=1, errors=1)
    assert "there are no samples to draw" in show.errors[0]


def test_csv_has_every_sample_of_every_process(trail, show, tmp_path):
    forge(trail / "1-1.memprobe", [(0, 50), (1.5, 60)], pid=1)
    forge(trail / "2-2.memprobe", [(5, 70)], pid=2)
    show(trail, "--csv", "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "pid,started,seconds,rss_bytes",
        "1,2023-11-14T22:13:20.000000Z,0.000000,50",
        "1,2023-11-14T22:13:20.000000Z,1.500000,60",
        "2,2023-11-14T22:13:25.000000Z,0.000000,70",
    ]


def test_json_is_what_the_files_say(trail, show):
    forge(trail / "1-1.memprobe", memory_limit=120 * MIB, argv=b"a\0\xff\x1b\0")
    (process,) = json.loads(show(trail, "--json"))
    assert process["pid"] == 4242
    assert process["argv"] == ["a", "\udcff\x1b"]
    assert (process["first"], process["last"]) == (50 * MIB, 60 * MIB)
    assert (process["count"], process["seconds"]) == (2, 10.0)
    assert process["limit_share"] == 0.5
    assert process["growth_per_hour"] == pytest.approx(3600 * MIB)
    assert process["started"] == 1_700_000_000.0


def test_plot_has_all_processes_in_one_picture(trail, show, tmp_path):
    pytest.importorskip("matplotlib")
    for n in range(3):
        path = trail / f"{n}-{n}.memprobe"
        forge(path, [(n, 50 * MIB), (n + 9, 90 * MIB)], pid=n + 1, argv=b"$\\frac$\0")
    show(trail, "--plot", "out.svg")
    svg = (tmp_path / "out.svg").read_text()
    xml.etree.ElementTree.fromstring(svg)
    for n in range(3):
        assert f"{n + 1} $\\frac$" in svg
    assert "RSS (MB)" in svg
    assert "3 processes" in svg


# What a file can do


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a file of memprobe's recorder"),
        (b"hello\n" * 1000, "not a file of memprobe's recorder"),
        (b"memprobe", "the file ends within its header"),
        (b"memprobe" + bytes(5000), "version 0 of the format; this reads 1"),
    ],
)
def test_a_foreign_file_is_one_line_and_the_others_are_shown(
    trail, show, content, message
):
    forge(trail / "1-1.memprobe")
    (trail / "2-2.memprobe").write_bytes(content)
    assert len(rows(show(trail, status=1, errors=1))) == 1
    assert show.errors == [f"memprobe: {trail / '2-2.memprobe'}: {message}"]


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"header_bytes": 0},
        {"pid": 0},
        {"pid": 2**64 - 1},
        {"wall_ns": -1},
        {"monotonic_ns": -(2**63)},
        {"interval_ns": 0},
        {"interval_ns": -(2**63)},
        {"capacity": 0},
        {"capacity": 2**63},
        {"capacity": 2**64 - 1},
        {"ended": 2},
        {"argv_bytes": 2049},
        {"argv_bytes": 2**32 - 1},
        {"taken": 2**64 - 1},
        {"taken": 3},
        {"base": 5},
        {"count": 1},
        {"sum_high": 2**64 - 1},
        {"sum_low": 0},
        {"min": 0},
        {"max": 1},
        {"first_ns": -(2**63)},
        {"last_ns": 2**63 - 1},
        {"last_ns": 2**63 - 1, "first_ns": 2**63 - 1},
        {"last": 2**64 - 1},
        {"samples": [(0, 50), (-50, 60)]},
        {"checksum": 0},
        {"checksum": 1},
    ],
    ids=str,
)
def test_what_a_header_contradicts_is_one_line(trail, show, changes):
    forge(trail / "1-1.memprobe", **changes)
    show(trail, status=1, errors=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"wall_ns": 2**63 - 1},
        {"monotonic_ns": 0},
        {"monotonic_ns": 2**63 - 1},
        {"interval_ns": 2**63 - 1},
        {"memory_limit": 1},
        {"memory_limit": 2**64 - 1},
        {"peak": 2**64 - 1},
        {"pid": 2**32 - 1, "ended": 0},
        {"argv": b""},
        {"argv": b"\0"},
        {"argv": b"x" * 2048},
        {"samples": [(0, 1), (0, 1)]},
        {"samples": [(0, 2**64 - 1)]},
        {"samples": [(0, 1), (9e9, 1)]},
    ],
    ids=str,
)
def test_absurd_numbers_are_shown_as_they_are(trail, show, tmp_path, changes):
    path = forge(trail / "1-1.memprobe", **changes)
    for arguments in (["--json", "--csv", "out.csv"], []):
        show(trail, *arguments)
        show(path, *arguments)
    assert max(map(len, show(trail).splitlines())) <= 80


def test_a_sparse_file_does_not_fill_the_memory(trail, show):
    """A terabyte of samples that cost nothing: only some of them are read."""
    path = trail / "1-1.memprobe"
    count = 2**36
    forge(path, taken=count, count=count, capacity=count, sum_low=50 * MIB * count)
    try:
        os.truncate(path, 4096 + 16 * count)
    except OSError:
        pytest.skip("no sparse files of that size")
    show(path, "--json", status=1, errors=1)
    assert "its samples are damaged" in show.errors[0]


def test_a_long_file_is_shown_by_a_spread_of_its_samples(trail):
    samples = [(t, (50 + t) * MIB) for t in range(1000)]
    path = str(forge(trail / "1-1.memprobe", samples))
    whole, spread = _record.read(path), _record.read(path, most=10)
    assert len(whole.samples) == whole.stored == spread.stored == 1000
    assert len(spread.samples) == 11
    assert spread.samples[0] == whole.samples[0]
    assert spread.samples[-1] == whole.samples[-1]
    assert set(spread.samples) < set(whole.samples)


HOSTILE = b"\x1b]0;owned\x07\nfake line\r\x9b31m\xff\xe2\x80\xae\xe6\xbc\xa2\0"


def test_hostile_arguments_do_nothing_to_a_terminal(trail, show):
    path = forge(trail / "1-1.memprobe", argv=HOSTILE)
    for arguments, lines in (([trail], 2), ([trail, path], 3)):
        text = show(*arguments)
        assert len(text.splitlines()) == lines
        assert all(line.isprintable() for line in text.splitlines())
    text = show(path)
    assert all(line.isprintable() for line in text.splitlines())
    assert r"\x1b]0;owned\x07\nfake" in text


@posix
def test_hostile_file_names_do_nothing_to_a_terminal(trail, show):
    path = trail / "\x1b[2J\nx.memprobe"
    path.write_text("")
    show(path, status=1, errors=1)
    assert show.errors[0].isprintable()


@posix
def test_a_fifo_a_folder_and_a_device_are_one_line_each(trail, show):
    os.mkfifo(trail / "1-1.memprobe")
    (trail / "2-2.memprobe").mkdir()
    (trail / "3-3.memprobe").symlink_to("/dev/zero")
    (trail / "4-4.memprobe").symlink_to("nowhere")
    (trail / "5-5.memprobe").symlink_to("5-5.memprobe")
    forge(trail / "6-6.memprobe")
    assert len(rows(show(trail, status=1, errors=4))) == 1
    assert sum("not a regular file" in line for line in show.errors) == 3
    show("/dev/zero", status=1, errors=1)
    show(trail / "1-1.memprobe", status=1, errors=1)


def test_what_is_not_there_is_one_line(trail, show):
    show(trail / "nowhere", status=1, errors=1)
    assert "nowhere: " in show.errors[0]
    show(trail, status=1, errors=1)
    assert "no files of the recorder" in show.errors[0]
    assert json.loads(show(trail, "--json", status=1, errors=1)) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--nonsense", "."],
        ["--plot", "x.gif", "."],
        ["--json", "--follow", "."],
        ["--follow", "--csv", "x.csv", "."],
    ],
)
def test_wrong_usage_is_status_2(arguments, tmp_path):
    command = [sys.executable, "-m", "memprobe", "show", *arguments]
    done = subprocess.run(
        command, capture_output=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"usage: memprobe")


def test_mutated_files_are_sound_or_one_line(trail, show, tmp_path):
    """2 000 mutations and truncations of a real file: no other exception comes out."""
    memprobe.configure(capacity=32)
    memprobe.record(trail, 3600)
    try:
        for _ in range(50):
            memprobe.sample_mem()
    finally:
        memprobe.stop_recording()
    (name,) = os.listdir(trail)
    good = (trail / name).read_bytes()
    path = tmp_path / "1-1.memprobe"
    rng = random.Random(2026)
    wrong = []
    for number in range(2000):
        raw = bytearray(good)
        for _ in range(rng.choice([1, 1, 2, 8, 64])):
            # Where it hurts: the header's 264 bytes, mostly.
            at = rng.randrange(264 if rng.random() < 0.7 else len(raw))
            raw[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        if rng.random() < 0.2:
            del raw[rng.randrange(len(raw)) :]
        path.write_bytes(raw)
        try:
            record = _record.read(str(path))
        except (_record.NotARecord, OSError):
            wrong.append(bytes(raw))
            continue
        times = [t for t, _ in record.samples]
        assert times == sorted(times), number
        assert all(record.min <= rss <= record.max for _, rss in record.samples)
        # All that is shown of it can be shown.
        if number % 20 == 0:
            show(path)
            show(path, "--json")
    assert 500 < len(wrong) < 2000
    for number, raw in enumerate(wrong[::20]):
        (trail / f"{number + 1}-{number}.memprobe").write_bytes(raw)
    files = len(os.listdir(trail))
    assert len(rows(show(trail, status=1, errors=files - 1))) == 1


# Living processes


def start_following(*arguments, **options):
    command = [sys.executable, "-m", "memprobe", "show", "--follow", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


@posix
def test_follow_shows_what_comes_until_ctrl_c(trail, tmp_path):
    forge(trail / "1-1.memprobe", pid=11)
    with start_following(
        str(trail), cwd=tmp_path, stderr=subprocess.PIPE, bufsize=1
    ) as child:
        seen = []
        for line in child.stdout:
            seen.append(line)
            if line == "\n" and len(seen) == 3:
                forge(trail / "2-2.memprobe", pid=22)
            if line.lstrip().startswith("22 "):
                child.send_signal(signal.SIGINT)
                break
        rest, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert errors == ""
    assert "\x1b" not in "".join(seen) + rest


@posix
def test_follow_redraws_in_a_terminal(trail, tmp_path):
    pty = pytest.importorskip("pty")
    for n in range(100):
        forge(trail / f"{n}-{n}.memprobe", pid=n + 1)
    import fcntl
    import termios

    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 60, 0, 0))
    command = [sys.executable, "-m", "memprobe", "show", "--follow", str(trail)]
    with subprocess.Popen(command, stdout=other, stderr=other, cwd=tmp_path) as child:
        os.close(other)
        text = b""
        while text.count(b"\x1b[J") < 2:
            text += os.read(main, 65536)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) == 130
    os.close(main)
    first, second = text.split(b"\x1b[J")[:2]
    assert first.startswith(b"\x1b[2J\x1b[H")
    assert second.startswith(b"\x1b[H")
    assert second.count(b"\n") < 10  # it fits without scrolling
    assert b"Traceback" not in text


def test_a_living_process_is_shown_while_it_writes(trail, show):
    program = """
import sys, memprobe
memprobe.configure(capacity=16)
memprobe.record(sys.argv[1], 0.001)
print(flush=True)
while True: memprobe.sample_mem()
"""
    command = [sys.executable, "-c", program, trail]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=trail) as child:
        try:
            child.stdout.readline()
            time.sleep(0.01)
            for _ in range(5):
                (row,) = rows(show(trail))
                assert row[0] == str(child.pid)
                assert "running" in row
        finally:
            child.kill()
    (row,) = rows(show(trail))
    assert "killed" in row


@posix
def test_whoever_reads_the_table_may_stop(trail, tmp_path):
    for n in range(300):
        forge(trail / f"{n}-{n}.memprobe")
    command = f"'{sys.executable}' -m memprobe show '{trail}' | head -1"
    done = subprocess.run(
        command, shell=True, capture_output=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 1
