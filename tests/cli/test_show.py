"""memprobe show: what the observer's files say, and that no file can harm it."""

import csv
import io
import json
import os
import random
import re
import signal
import stat
import struct
import subprocess
import sys
import time
import tracemalloc
import unicodedata
import xml.etree.ElementTree
from array import array
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace

import pytest

from memprobe import _record_file
from memprobe._cli import show as show_module
from memprobe._cli.series import dated
from memprobe._cli.table import COLUMNS, Row, table
from memprobe._task_table import Table, table_bytes

MB = 2**20
SHOW = [sys.executable, "-m", "memprobe", "show"]
DAY = 1_700_000_000  # 2023-11-14 22:13:20 UTC
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="clock and locks of Linux")

HOSTILE = (
    "\x1b]0;owned\x07\nfake line\r\x9b31m\udcff\u202e\u6f22\u5b57 e\u0301\u200b"
    "\u2764\ufe0f\U0001f468\u200d\U0001f469\u2066\ufeff\u05d0 \u0e33\u3000%s {0}\\"
)


@pytest.fixture
def write(trail, record_files):
    """Write a file of one process into the folder; each has another number."""

    def write(samples=((0, 50 * MB), (10, 60 * MB)), **facts):
        write.pid = facts.setdefault("pid", write.pid + 1)
        if isinstance(facts.get("command"), str):
            facts["command"] = facts["command"].split(" ")
        return record_files.write(trail, samples, **facts)

    write.pid = 100
    return write


@pytest.fixture
def live(write, record_files):
    """Write files of processes that are being recorded as long as the test goes on."""
    held = []

    def live(samples=((0, 50 * MB), (10, 60 * MB)), **facts):
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        facts = {"clock": now - samples[-1][0], "state": "running", **facts}
        path = write(samples, **facts)
        held.append(record_files.hold(path))
        return path

    yield live
    for file in held:
        file.close()


@pytest.fixture
def show(tmp_path):
    """Run the command; return what it printed. Its errors and status must be these."""

    def run(*arguments, status=0, errors=0, env=None, **options):
        environment = {**os.environ, "TZ": "UTC", "COLUMNS": "", **(env or {})}
        options.setdefault("stdout", subprocess.PIPE)
        done = subprocess.run(
            [*SHOW, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
            cwd=tmp_path,
            env=environment,
            check=False,
            **options,
        )
        run.errors = done.stderr.splitlines()
        assert done.returncode == status, done.stderr
        assert len(run.errors) == errors, done.stderr
        assert all(line.startswith("memprobe: ") for line in run.errors)
        return done.stdout

    return run


def rows(text):
    return [line.split() for line in text.splitlines()[1:]]


def width_of(text):
    """How many columns a text takes, by another rule than memprobe's own."""
    return sum(map(width_of_character, text))


@cache
def width_of_character(character):
    return max(pytest.importorskip("wcwidth").wcwidth(character), 0)


# One screen

FAMILY = """
pid command               state             lasted   peak   last growth/h
100 gunicorn app:app      exited             60min 95.0MB 95.0MB  +36.0MB ::####
106   gunicorn: worker [~ ended              10min  205MB  205MB   +720MB :::###
105   gunicorn: worker [~ exited (status 3)  10min  204MB  204MB   +720MB :::###
104   gunicorn: worker [~ ended by SIGTERM   10min  203MB  203MB   +720MB :::###
101   gunicorn: worker [~ exited             60min  300MB  149MB  +54.9MB ::####
103     gunicorn: worker~ out of memory      10min  202MB  202MB   +720MB :::###
102   gunicorn: worker [~ exited             60min  300MB  149MB  +54.9MB ::####
7 ended
not listed: 12 short-lived processes, 3 missed
memory limit: 300MB of 512MB used (59%)
"""
ONE = """
memprobe: gunicorn: worker [app]
- state: exited.
- process: 101, parent 100, user www, host web-1.
- time: 2023-11-14 22:13:20 to 2023-11-14 23:13:16, 59 min 56 s.
- samples: 900, one every 1.0 s.
- rss: first 90MB, last 149MB, peak 300MB.
- rss (samples): min 90MB, mean 119.5MB, max 149MB.
- of the last: shared 25MB, swap 0b.
- growth: +54.9MB an hour.
- memory limit: 300MB of 512MB used (59%).

300MB |--------------------- peak 300MB between two samples --------------------
250MB |
200MB |
150MB |                       ....................::::::::::::::::::::##########
100MB |::#######################################################################
 50MB |#########################################################################
    0 +-------------------------------------------------------------------------
       0 min    10 min      20 min      30 min      40 min      50 min
"""


def write_family(write):
    """gunicorn: a master, two workers, and four that have ended in other ways."""
    facts = {"started": DAY, "host": "web-1", "user": "www", "clock": 1000.0}
    limits = {"cgroup_memory": 300 * MB, "memory_limit": 512 * MB}
    steps = range(0, 3600, 4)
    write(
        [(t, (60 + t // 100) * MB, 20 * MB) for t in steps],
        pid=100,
        parent=1,
        command="/usr/bin/python3 -X dev /usr/bin/gunicorn app:app",
        short_lived=12,
        missed=3,
        **facts,
        **limits,
    )
    worker = {"command": ["gunicorn: worker [app]"], **facts}
    for pid in (101, 102):
        samples = [(t, (90 + t // 60) * MB, 25 * MB) for t in steps]
        write(samples, pid=pid, parent=100, peak=300 * MB, **worker, **limits)
    ends = [
        {"state": "died", "status": 9, "cause": "out of memory"},
        {"state": "died", "status": 15},
        {"state": "exited", "status": 3},
        {"state": "ended"},
    ]
    for pid, end in enumerate(ends, 103):
        samples = [(t, (pid - 20 + t // 5) * MB, 25 * MB) for t in steps[:150]]
        write(samples, pid=pid, parent=101 if pid == 103 else 100, **worker, **end)


def test_a_family_on_one_screen(trail, write, show):
    write_family(write)
    assert "\n" + show(trail) == FAMILY


def test_a_process_on_one_screen(trail, write, show):
    write_family(write)
    (path,) = trail.glob("101-*")
    text = show(path)
    assert "\n" + text == ONE
    assert len(text.splitlines()) <= 23
    (path,) = trail.glob("100-*")  # has more to say
    assert len(show(path).splitlines()) <= 23


@linux
def test_the_living_stand_on_the_first_screen(trail, write, live, show):
    for _ in range(45):
        write([(0, 500 * MB), (10, 600 * MB)])
    live(pid=7, parent=101)
    table = show(trail).splitlines()
    assert table[1].split()[0] == "7"
    assert "running" in table[1]
    assert "1 running, 60.0MB in all; 45 ended" in table
    assert [row[0] for row in rows(show(trail, "--running"))][:1] == ["7"]
    assert len(show(trail, "--running").splitlines()) == 3


def test_children_stand_below_their_parents(trail, write, show):
    def start(pid, parent, seconds, name, host="h"):
        write(
            [(0, 10 * MB), (9, 10 * MB)],
            pid=pid,
            parent=parent,
            started=DAY + seconds,
            start=1000 + seconds,
            command=name,
            host=host,
        )

    start(50, 1, 0, "root")
    start(60, 50, 1, "child")
    start(40, 60, 2, "grandchild")
    # A number that was given away again, another host's, and one's own parent.
    start(70, 60, -5, "older")
    start(80, 50, 3, "elsewhere", host="i")
    start(90, 90, 4, "own")
    heading, *lines = show(trail).splitlines()[:-1]
    order = [line.split()[0] for line in lines]
    assert sorted(order) == "40 50 60 70 80 90".split()
    assert order.index("60") == order.index("50") + 1
    assert order.index("40") == order.index("60") + 1
    left = heading.index("command")
    indents = {
        "root": 0,
        "child": 2,
        "grandchild": 4,
        "older": 0,
        "elsewhere": 0,
        "own": 0,
    }
    for name, indent in indents.items():
        (line,) = [line for line in lines if f" {name} " in line]
        assert line.index(f" {name} ") + 1 - left == indent, name


def test_sorted_by_a_column(trail, write, show):
    write([(0, 10 * MB), (50, 30 * MB)], pid=1, parent=2, peak=90 * MB)
    write([(0, 20 * MB), (90, 20 * MB)], pid=2, parent=0)
    write([(0, 30 * MB), (10, 10 * MB)], pid=3, parent=2)

    def order(*options):
        return [int(row[0]) for row in rows(show(trail, *options))[:3]]

    assert order() == [2, 1, 3]
    assert order("--sort", "peak") == [1, 3, 2]
    assert order("--sort", "first") == [3, 2, 1]
    assert order("--sort", "lasted") == [2, 1, 3]
    assert order("--sort", "pid") == [1, 2, 3]
    for name in COLUMNS:
        assert sorted(order("--sort", name)) == [1, 2, 3]


def test_user_host_and_parent_are_columns_where_they_differ(trail, write, show):
    wide = {"COLUMNS": "200"}
    write(user="www", host="web-1", parent=1)
    write(user="www", host="web-1", parent=1)
    heading = show(trail, env=wide).split("\n")[0].split()
    assert not {"user", "host", "parent", "swap", "pss"} & set(heading)
    write(user="root", host="web-2", parent=77, swap=5 * MB, pss=9 * MB, uss=8 * MB)
    heading, *lines = show(trail, env=wide).splitlines()
    assert {"user", "host", "parent", "swap", "pss", "uss"} <= set(heading.split())
    assert any("web-2" in line and "root" in line and "77" in line for line in lines)


def test_the_last_title_is_shown(trail, write, show):
    path = write(command="python app.py", title="app: serving\0now")
    write()
    assert "app: serving now" in show(trail)
    text = show(path)
    assert text.startswith("memprobe: app: serving now\n")
    assert "- started as: python app.py.\n" in text


@pytest.mark.parametrize(
    ("command", "text", "name"),
    [
        (
            "/usr/bin/python3.11 /srv/app.py --key s3cret",
            "app.py --key s3cret",
            "app.py",
        ),
        ("python -X dev -W error -u app.py x", "app.py x", "app.py"),
        ("python -Im celery -A app worker", "celery -A app worker", "celery"),
        ("python -mcelery worker", "celery worker", "celery"),
        ("python -c s3cret x", "python -c s3cret x", "python"),
        ("python -", "python -", "python"),
        ("python -u", "python -u", "python"),
        ("python -m", "python -m", "python"),
        ("python", "python", "python"),
        ("/bin/sh -c s3cret", "sh -c s3cret", "sh"),
        ("[celeryd: w1] (-A s3cret)", "[celeryd: w1] (-A s3cret)", "celeryd"),
        ("", "", "?"),
    ],
)
def test_a_command_is_named_by_its_program(command, text, name):
    from memprobe._text import command_text, name_of

    words = command.split(" ") if command else []
    record = SimpleNamespace(command=words, title=None)
    assert command_text(record) == text
    assert name_of(record) == name
    titled = SimpleNamespace(command=[command], title=None)  # as setproctitle does
    assert "s3cret" not in name_of(titled)


# Words


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"state": "exited", "status": 0}, "exited"),
        ({"state": "exited", "status": 137}, "exited (status 137)"),
        ({"state": "died", "status": 9}, "killed"),
        ({"state": "died", "status": 15}, "ended by SIGTERM"),
        ({"state": "died", "status": 77}, "ended by signal 77"),
        ({"state": "died", "status": 9, "cause": "out of memory"}, "out of memory"),
        ({"state": "ended"}, "ended"),
    ],
)
def test_states_in_words(trail, write, show, facts, word):
    path = write(**facts)
    assert f" {word} " in show(trail)
    assert f"- state: {word}.\n" in show(path)


@linux
def test_the_states_of_what_may_live(trail, write, live, show):
    path = live()
    assert "- state: running.\n" in show(path)
    silent = live(clock=time.clock_gettime(time.CLOCK_BOOTTIME) - 100, started=DAY)
    assert "- state: running (not recorded since 2023-11-14).\n" in show(silent)
    assert "running (not recorded since 2023-11-14)" in show(trail)
    there = write(
        state="running", host="elsewhere", boot="anotherb", started=time.time() - 100
    )
    assert re.search(r"- state: last seen 9[0-9]\.[0-9] s ago\.\n", show(there))
    gone = write(state="running", pid=2**22)
    assert "- state: ended.\n" in show(gone)


def test_dates_are_times_today_and_days_before(trail, write, show):
    write(started=DAY)
    assert " 2023-11-14 " in show(trail)
    path = write(started=DAY, state="ended", written=70)
    assert "- time: 2023-11-14 22:13:20 to 2023-11-14 22:14:30, 10.0 s.\n" in show(path)
    now = time.time()
    write([(0, MB), (1, MB)], started=now)
    assert time.strftime(" %H:%M ", time.gmtime(now)) in show(trail)


@linux
def test_totals_count_shared_pages_once(trail, live, show):
    for size in (400, 350, 320):
        live([(0, size * MB, 300 * MB), (1, size * MB, 300 * MB)])
    live([(0, 50 * MB), (1, 50 * MB)])  # of which that isn't known
    # 100 + 50 + 20, once 300, and 50.
    assert "4 running, 520MB in all" in show(trail).splitlines()
    live([(0, 50 * MB, 10 * MB), (1, 50 * MB, 10 * MB)], boot="another1")
    assert "5 running, 570MB in all" in show(trail).splitlines()


@linux
def test_totals_are_of_pss_where_all_have_it(trail, live, show):
    for _ in range(3):
        live([(0, 400 * MB, 300 * MB), (1, 400 * MB, 300 * MB)], pss=201 * MB)
    assert "3 running, 603MB in all" in show(trail).splitlines()


def test_the_limit_of_a_cgroup_is_beside_its_use(trail, write, show):
    path = write(memory_limit=1000 * MB, cgroup_memory=700 * MB)
    assert "- memory limit: 700MB of 1000MB used (70%).\n" in show(path)
    assert "memory limit: 700MB of 1000MB used (70%)" in show(trail).splitlines()
    assert "memory limit" not in show(write(memory_limit=1000 * MB))
    assert "memory limit" not in show(write(cgroup_memory=1000 * MB))


@pytest.mark.parametrize(
    ("grows", "until"),
    [
        # 60 MB in 300 s, and 250 MB are left.
        (60, ", full in 20 min 50 s at +720MB/h"),
        (0, ""),
        (-60, ""),
    ],
)
def test_when_a_limit_is_reached_at_the_cgroups_own_rate(
    trail, show, record_files, grows, until
):
    """The process stands still; what grows is something beside it."""
    samples = [(t, 50 * MB) for t in range(1201)]
    raw = record_files.head(started=DAY)
    for number in range(5):
        part = samples[300 * number : 300 * number + 300]
        raw += record_files.block(
            part,
            number=number + 1,
            before=samples[: 300 * number],
            started=DAY,
            memory_limit=1000 * MB,
            cgroup_memory=(750 - grows * (1200 - part[-1][0]) // 300) * MB,
        )
    path = trail / "4242-1234567-00000000.memprobe"
    path.write_bytes(raw)
    assert f"- memory limit: 750MB of 1000MB used (75%){until}.\n" in show(path)


def test_growth_is_not_told_before_a_minute(trail, write, show):
    path = write([(t / 10, (50 + t) * MB) for t in range(500)])
    assert "growth" not in show(path)
    path = write([(t, (50 * MB + t * 20 * MB // 3600)) for t in range(1200)])
    assert re.search(r"- growth: \+(19|20|21)[.0-9]*MB an hour\.\n", show(path))
    path = write([(t, 50 * MB) for t in range(1200)])
    assert "- growth: 0 an hour.\n" in show(path)


def test_a_file_without_samples_is_shown_too(trail, write, show):
    path = write([])
    assert "- samples: 0" in show(path)
    assert len(rows(show(trail))) == 1
    (process,) = json.loads(show(trail, "--json"))
    assert (process["count"], process["last"], process["seconds"]) == (0, None, 0)
    assert show(trail, "--csv", "-").count("\n") == 1


# What is printed, and where


def hostile_record(record_files, folder, pid=4242, **facts):
    samples = [(t, (50 + t % 7) * MB, 5 * MB) for t in range(700)]
    text = HOSTILE * 3
    facts = {"user": "\x1b]漢\u202e", "host": "漢" * 15 + "\x07", **facts}
    path = record_files.write(
        folder, samples, pid=pid, command=[text, text], title=text, **facts
    )
    return _record_file.read(path)


@pytest.mark.parametrize("blocks", [True, False])
def test_nothing_is_wider_than_the_terminal(record_files, trail, blocks):
    records = [hostile_record(record_files, trail)]
    records += [
        hostile_record(record_files, trail, pid=7 + n, parent=6 + n, host="h", **facts)
        for n, facts in enumerate(
            [
                {"state": "died", "status": 9, "swap": 2**50, "pss": 2**44, "uss": 1},
                {"memory_limit": 2**30, "cgroup_memory": 2**29, "peak": 2**63},
                {"started": 0, "short_lived": 10**12, "missed": 10**12},
                {"state": "exited", "status": 2**60, "user": ""},
            ]
        )
    ]
    ones = [(record, dated(record)) for record in records[:2]]
    for width in [*range(1, 201), 1000]:
        room = SimpleNamespace(width=width, height=None, blocks=blocks)
        screens = [
            table(map(Row, records), width, blocks=blocks),
            table(map(Row, records), width, blocks=blocks, height=5, sort="peak"),
            *(show_module.one_file(*one, room) for one in ones),
        ]
        for lines in screens:
            assert all(line.isprintable() for line in lines)
            assert max(map(width_of, lines)) <= width
            assert blocks or "█" not in "".join(lines)
        assert len(screens[0]) == 9
        assert len(screens[1]) == 5
        assert max(map(len, screens[2:])) <= 23


def test_hostile_texts_do_nothing_to_a_terminal(record_files, trail, show):
    record = hostile_record(record_files, trail)
    for arguments in (
        [trail],
        [trail, record.path],
        [record.path],
        ["--csv", "-", trail],
    ):
        text = show(*arguments)
        assert text.replace("\n", "").isprintable()
        assert not any(
            unicodedata.category(c) in ("Cf", "Cc") for c in text if c != "\n"
        )
    assert r"\x1b]0;owned\x07\nfake line\r\x9b31m\udcff\u202e漢字" in show(record.path)
    assert r"❤\ufe0f" in show(record.path, env={"COLUMNS": "200"})
    for mark in ("--json", "--openmetrics"):
        show(trail, mark).encode("utf-8", "strict")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "cp1252"])
def test_what_an_encoding_lacks_is_escaped(write, show, encoding):
    path = write(command="漢")
    text = show(path, env={"PYTHONIOENCODING": encoding})
    shown = "漢" if encoding == "utf-8" else r"\u6f22"
    assert text.startswith(f"memprobe: {shown}\n")


@pytest.mark.parametrize(
    ("columns", "width"), [("132", 132), ("40", 40), ("", 80), ("x", 80), ("0", 80)]
)
def test_without_a_terminal_columns_say_how_wide(write, show, trail, columns, width):
    write([(t, (50 + t) * MB) for t in range(100)], command="a long name.py " * 20)
    for arguments in ([trail], list(trail.iterdir())):
        text = show(*arguments, env={"COLUMNS": columns})
        assert max(map(len, text.splitlines())) == width
        assert text.isascii()


def test_no_line_is_wider_than_a_thousand_columns(write, show):
    text = show(write(), env={"COLUMNS": "9" * 30})
    assert max(map(len, text.splitlines())) == 1000


@contextmanager
def pseudo_terminal(width, height, *arguments, **environment):
    """Run the command in a terminal; yield the process and a reader of its output."""
    pty = pytest.importorskip("pty")
    import fcntl
    import termios

    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    process = subprocess.Popen(
        [*SHOW, *map(str, arguments)],
        stdout=other,
        stderr=other,
        env=environment,
        cwd="/",
    )
    os.close(other)

    def read_until(enough):
        text = b""
        until = time.monotonic() + 60
        try:
            while not enough(text) and (part := os.read(main, 65536)):
                text += part
                assert time.monotonic() < until, text[-2000:]
        except OSError:
            pass  # Linux says so when the other end is closed
        return text.decode()

    try:
        yield process, read_until
    finally:
        process.kill()
        process.wait(60)
        os.close(main)


def never(_text):
    return False


@posix
@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
def test_a_terminal_says_how_wide_it_is(trail, write, width):
    for _ in range(3):
        write(command="a long name.py " * 20)
    with pseudo_terminal(width, 24, trail, TERM="xterm", COLUMNS="17") as (
        process,
        read,
    ):
        lines = read(never).splitlines()
        assert process.wait(60) == 0
    assert len(lines) == 5
    assert all(len(line) < max(width, 2) for line in lines)
    assert max(map(len, lines)) > width * 0.6
    assert width < 40 or all("█" in line and "a long" in line for line in lines[1:4])


@posix
def test_standard_output_that_cannot_be_written_is_one_line(trail, write, show):
    write()
    closed = {"preexec_fn": lambda: os.close(1), "stdout": None}
    for options in ([], ["--json"], ["--csv", "-"], ["--openmetrics"], ["--follow"]):
        if os.path.exists("/dev/full"):
            with open("/dev/full", "w") as full:
                show(trail, *options, status=1, errors=1, stdout=full)
            assert "cannot write to standard output: No space left" in show.errors[0]
        show(trail, *options, status=1, errors=1, **closed)
        assert show.errors == ["memprobe: standard output is closed"]
    # Closed besides, where the line would go.
    both = {"preexec_fn": lambda: os.closerange(1, 3), "stdout": None}
    show(trail, trail / "nowhere", status=1, **both)
    assert show(trail, trail / "nowhere", status=1, preexec_fn=lambda: os.close(2))


@posix
def test_whoever_reads_the_table_may_stop(trail, write, tmp_path):
    for _ in range(300):
        write()
    command = f"'{sys.executable}' -m memprobe show '{trail}' | head -1"
    done = subprocess.run(
        command, shell=True, capture_output=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 1


# JSON, CSV, metrics, pictures


@pytest.fixture
def table_of_tasks(trail):
    """Make the table of a Celery worker in the folder, which needs no Celery."""

    def make(name):
        length = table_bytes(2)
        with (trail / name).open("w+b") as file:
            file.write(bytes(length))
            file.flush()
            table = Table(2, file.fileno())
        slot = table.slot(0)
        slot.take(MB, MB)
        slot.end(slot.begin("shop.resize", "id", MB), 3 * MB, 3 * MB)
        return table

    return make


@posix
def test_what_tasks_did_stands_below_the_processes(trail, write, table_of_tasks, show):
    name = os.path.basename(write())
    table = table_of_tasks("celery@web1.tasks")
    table._role(0)[:2] = memoryview(array("q", map(int, name.split("-")[:2])))
    table.note_role("x" * 5 + "\x1b-3")
    table._role(0)[2:] = table._role(3)[2:]
    (trail / "other.tasks").write_bytes(b"something else")
    os.mkfifo(trail / "pipe.tasks")
    lines = show(trail, env={"COLUMNS": "120"}).splitlines()
    assert lines[0].split()[:3] == ["pid", "command", "role"]
    assert "xxxxx\\x1b-3" in lines[1]
    place = lines.index("celery@web1")
    assert lines[place + 1].split()[0] == "task"
    figures = ["shop.resize", "1", "0b", "-", "+2MB", "0b"]
    assert lines[place + 2].split()[:6] == figures
    assert len(lines) == place + 3
    for width in (1, 10, 40, 60):
        lines = show(trail, env={"COLUMNS": str(width)}).splitlines()
        assert max(map(len, lines)) <= width
    assert lines[-2].split() == "task runs growth between peak cut short".split()
    assert json.loads(show(trail, "--json"))[0]["role"] == "xxxxx\\x1b-3"


@linux
def test_a_run_that_went_with_its_worker_is_killed(trail, write, table_of_tasks, show):
    write()
    table = table_of_tasks("celery@web1.tasks")
    table.describe("celery@web1", 0)
    table.slot(0).begin("shop.resize", "id", MB)
    table.slot(0)._head[0] = 2**22 + 1  # no process has that number
    assert show(trail).splitlines()[-1].endswith(" 1 killed")


KEYS = (
    "pid parent command title role user host state status signal cause started ended "
    "seconds interval count first last min max mean peak shared swap growth_per_hour "
    "memory_limit cgroup_memory oom_kills recorded_until file"
).split()


def test_json_is_what_the_files_say(trail, write, show):
    path = write(
        [(0, 50 * MB), (10, 60 * MB, 8 * MB)],
        started=DAY,
        command=["python", "a b\x1b\udcff"],
        user="www",
        host="web-1",
        memory_limit=120 * MB,
        peak=70 * MB,
        state="died",
        status=9,
        cause="out of memory",
        written=12.5,
        oom_kills=3,
    )
    (process,) = json.loads(show(trail, "--json"), parse_constant=pytest.fail)
    assert list(process) == KEYS
    assert process == {
        "pid": 101,
        "parent": 1,
        "command": "python a b\\x1b\\udcff",
        "title": None,
        "role": None,
        "user": "www",
        "host": "web-1",
        "state": "died",
        "status": None,
        "signal": 9,
        "cause": "out of memory",
        "started": "2023-11-14T22:13:20.000000Z",
        "ended": "2023-11-14T22:13:32.500000Z",
        "seconds": 10.0,
        "interval": 1.0,
        "count": 2,
        "first": 50 * MB,
        "last": 60 * MB,
        "min": 50 * MB,
        "max": 60 * MB,
        "mean": 55.0 * MB,
        "peak": 70 * MB,
        "shared": 8 * MB,
        "swap": 0,
        "growth_per_hour": None,
        "memory_limit": 120 * MB,
        "cgroup_memory": None,
        "oom_kills": 3,
        "recorded_until": "2023-11-14T22:13:32.500000Z",
        "file": str(path),
    }
    assert json.loads(show(trail, path, "--json")) == [process, process]


def test_csv_has_every_sample_of_every_process(trail, write, show, tmp_path):
    pandas = sys.modules.get("pandas")
    write([(0, 50 << 12), (1.5, 60 << 12, 7 << 12)], started=DAY, command='a "b",\n=1')
    write([(5, 70 << 12)], started=DAY + 0.25, command="c")
    assert "a " in show(trail, "--csv", "out.csv")  # the table as well
    text = (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert text == show(trail, "--csv", "-")
    start = "2023-11-14T22:13:20.000000Z"
    command = 'a "b",\\n=1'
    assert list(csv.reader(io.StringIO(text))) == [
        "pid,command,started,seconds,rss_bytes,shared_bytes".split(","),
        ["101", command, start, "0.000000", str(50 << 12), ""],
        ["101", command, start, "1.500000", str(60 << 12), str(7 << 12)],
        ["102", "c", "2023-11-14T22:13:20.250000Z", "5.000000", str(70 << 12), ""],
    ]
    assert pandas is None or pandas


@linux
def test_metrics_are_valid_and_hold_no_arguments(trail, write, live, show):
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    facts = {"host": 'a"b\\c\n', "memory_limit": 900 * MB, "cgroup_memory": 700 * MB}
    at = [(0, 400 * MB, 300 * MB), (1, 400 * MB, 300 * MB)]
    for peak in (500, 450):
        command = "/usr/bin/python3 /srv/app.py --password s3cret"
        live(at, command=command, title="s3cret", peak=peak * MB, oom_kills=2, **facts)
    live(command='odd"\\name', host="other")
    write(command="gone", state="died", status=9, oom_kills=5, host="other")
    write(command="gone", oom_kills=9, host="other", started=DAY)  # before a restart
    text = show(trail, "--openmetrics")
    assert "s3cret" not in text
    assert text.endswith("# EOF\n")
    found = {
        family.name: {
            tuple(sample.labels.values()): sample.value for sample in family.samples
        }
        for family in parser.text_string_to_metric_families(text)
    }
    app, odd = ("app.py", 'a"b\\c\\n'), ('odd"\\name', "other")
    assert found == {
        "memprobe_rss_bytes": {app: 500 * MB, odd: 60 * MB},
        "memprobe_rss_max_bytes": {app: 400 * MB, odd: 60 * MB},
        "memprobe_peak_rss_bytes": {app: 500 * MB, odd: 60 * MB},
        "memprobe_processes": {
            ("running",): 3,
            ("exited",): 1,
            ("died",): 1,
            ("ended",): 0,
            ("unknown",): 0,
        },
        "memprobe_cgroup_memory_bytes": {app: 700 * MB},
        "memprobe_cgroup_memory_limit_bytes": {app: 900 * MB},
        "memprobe_oom_kills": {app: 2, ("gone", "other"): 5},
        "memprobe_unreadable_files": {(): 0},
    }
    families = parser.text_string_to_metric_families(
        show(trail, "--openmetrics", "--per-process")
    )
    (rss,) = [family for family in families if family.name == "memprobe_rss_bytes"]
    assert [sample.labels["pid"] for sample in rss.samples] == ["101", "102", "103"]
    assert [sample.value for sample in rss.samples] == [400 * MB, 400 * MB, 60 * MB]


@posix
def test_metrics_replace_a_file_at_once(trail, write, show, tmp_path):
    write()
    target = tmp_path / "metrics.prom"
    target.write_text("old")
    with open(target) as reader:
        assert show(trail, "--openmetrics", "--output", target) == ""
        assert reader.read() == "old"  # whoever had begun to read it
    assert target.read_text().endswith("# EOF\n")
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask()
    link = tmp_path / "link.prom"
    link.symlink_to(target)
    show(trail, "--openmetrics", "--output", link)
    assert link.is_symlink()
    fifo = tmp_path / "fifo"  # and not /dev/null, which root could replace
    os.mkfifo(fifo)
    for wrong in (tmp_path / "no" / "x", trail, fifo):
        show(trail, "--openmetrics", "--output", wrong, status=1, errors=1)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    left = ["fifo", "link.prom", "metrics.prom", "trail"]
    assert sorted(os.listdir(tmp_path)) == left


def umask():
    os.umask(mask := os.umask(0o077))
    return mask


def test_plot_has_all_processes_in_one_picture(trail, write, show, tmp_path):
    pytest.importorskip("matplotlib")
    for n in range(13):
        samples = [(t, (300 + n) * MB, 290 * MB) for t in range(0, 700, 7)]
        write(samples, command="/usr/bin/$\\frac$ s3cret", started=DAY + n, peak=2**29)
    show(trail, "--plot", "out.svg")
    svg = (tmp_path / "out.svg").read_text()
    xml.etree.ElementTree.fromstring(svg)
    for pid in range(101, 111):
        assert f"{pid} $\\frac$: peak 512MB, end {200 + pid - 1}MB" in svg
    assert "111 " not in svg
    # 290 once, and what each of the three has of its own.
    assert f"3 others: peak {290 + 20 + 21 + 22}MB" in svg
    assert "s3cret" not in svg
    assert "13 processes" in svg


def test_what_has_no_samples_cannot_be_drawn(trail, write, show):
    pytest.importorskip("matplotlib")
    path = write([])
    show("--plot", "out.svg", path, status=1, errors=1)
    assert "there are no samples" in show.errors[0]


# Many files


@pytest.mark.parametrize("option", [["--json"], ["--csv", "-"], ["--openmetrics"]])
def test_memory_and_descriptors_are_flat_in_the_number_of_files(
    record_files, trail, monkeypatch, option
):
    """In this process; the output goes nowhere."""
    samples = [(t, (50 + t % 3) * MB) for t in range(400)]
    path = record_files.write(trail, samples, pid=1)
    opened = set()
    most = 0
    open_file, close = os.open, os.close

    def counting_open(*arguments, **options):
        nonlocal most
        file = open_file(*arguments, **options)
        opened.add(file)
        most = max(most, len(opened))
        return file

    monkeypatch.setattr(os, "open", counting_open)
    monkeypatch.setattr(os, "close", lambda file: (opened.discard(file), close(file)))

    def peak(count):
        for pid in range(len(os.listdir(trail)) + 1, count + 1):
            os.link(path, trail / path.name.replace("1-", f"{pid}-", 1))
        out = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        monkeypatch.setattr(sys, "stdout", out)
        options = run_options([str(trail), *option])
        tracemalloc.start()
        try:
            assert show_module.show(options)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            out.close()

    peak(1)  # imports
    few, many = peak(10), peak(100)
    assert many < few + 90 * 1000  # a name each, and what a folder's listing takes
    assert most == 1
    assert not opened


def run_options(words):
    """What the command makes of its arguments."""
    import argparse

    from memprobe import _cli

    parser = argparse.ArgumentParser()
    _cli.add_show_options(parser)
    return parser.parse_args(words)


# What a file can do


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello\n" * 1000, "not a file of memprobe's recorder"),
        (b"memprobe", "the file ends within its first block"),
        (b"memprobe" + bytes(5000), "version 0 of the format; this reads 2"),
        (b"memprobe\x01\0\0\0" + bytes(5000), "version 1 of the format; this reads 2"),
    ],
)
def test_a_foreign_file_is_one_line_and_the_others_are_shown(
    trail, write, show, content, message
):
    write()
    path = trail / "7-7-00000000.memprobe"
    old = trail / "7-7.memprobe"  # as version 1 named them
    path.write_bytes(content)
    old.write_bytes(content)
    assert len(rows(show(trail, status=1, errors=2))) == 1
    assert sorted(show.errors) == sorted(
        f"memprobe: {p}: {message}" for p in (path, old)
    )
    assert len(json.loads(show(trail, "--json", status=1, errors=2))) == 1
    show(path, status=1, errors=1)


def test_an_empty_file_in_a_folder_is_about_to_be_written(trail, write, show):
    write()
    path = trail / "7-7-00000000.memprobe"
    path.touch()
    assert len(rows(show(trail))) == 1
    show(path, status=1, errors=1)


@posix
def test_a_fifo_a_folder_and_a_device_are_one_line_each(trail, write, show):
    at = [trail / f"{n}-{n}-00000000.memprobe" for n in range(5)]
    os.mkfifo(at[0])
    at[1].mkdir()
    at[2].symlink_to("/dev/zero")
    at[3].symlink_to("nowhere")
    at[4].symlink_to(at[4].name)
    write()
    assert len(rows(show(trail, status=1, errors=3))) == 1
    assert all("not a regular file" in line for line in show.errors)
    show("/dev/zero", status=1, errors=1)
    show(at[0], status=1, errors=1)


@posix
def test_hostile_file_names_do_nothing_to_a_terminal(trail, show):
    path = trail / "\x1b[2J\nx.memprobe"
    path.write_text("x")
    show(path, status=1, errors=1)
    assert show.errors[0].isprintable()


def test_what_is_not_there_is_one_line(trail, show):
    show(trail / "nowhere", status=1, errors=1)
    assert "nowhere: " in show.errors[0]
    show(trail, status=1, errors=1)
    assert "no files of the recorder" in show.errors[0]
    assert json.loads(show(trail, "--json", status=1, errors=1)) == []
    show(trail, trail / "nowhere", "--csv", "-", "--plot", "x.svg", status=1, errors=3)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--nonsense", "."],
        ["--plot", "x.gif", "."],
        ["--plot", "-", "."],
        ["--json", "--follow", "."],
        ["--json", "--openmetrics", "."],
        ["--json", "--csv", "-", "."],
        ["--openmetrics", "--csv", "-", "."],
        ["--follow", "--csv", "x.csv", "."],
        ["--interval", "1", "."],
        ["--follow", "--interval", "0", "."],
        ["--per-process", "."],
        ["--output", "x", "."],
        ["--sort", "size", "."],
    ],
)
def test_wrong_usage_is_status_2(arguments, tmp_path):
    done = subprocess.run(
        [*SHOW, *arguments], capture_output=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"usage: memprobe")
    assert b"Traceback" not in done.stderr


def test_mutated_files_are_shown_or_one_line(trail, write, show, tmp_path):
    """Whatever a file says: no other exception, and nothing unprintable, comes out."""
    samples = [(t, (50 + t % 9) * MB, MB) for t in range(700)]
    good = bytearray(write(samples, title="x", memory_limit=2**30).read_bytes())
    randoms = random.Random(7)
    path = trail / "7-7-00000000.memprobe"
    options = run_options([str(path)])
    wrong = 0
    for number in range(300):
        raw = bytearray(good)
        for _ in range(randoms.randrange(1, 6)):
            at = randoms.randrange(len(raw) if number % 2 else 6000)
            raw[at] = randoms.randrange(256)
        if number % 2:  # the checksums fit, so that what they guard is believed
            raw = seal(raw)
        path.write_bytes(raw[: randoms.choice([len(raw), randoms.randrange(len(raw))])])
        for option in ([], ["--json"], ["--openmetrics"]):
            options = run_options([str(path), *option])
            out, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO(), "utf-8")
            err, sys.stderr = sys.stderr, io.StringIO()
            try:
                sound = show_module.show(options)
                sys.stdout.flush()
                text = sys.stdout.buffer.getvalue().decode()
                problems = sys.stderr.getvalue()
            finally:
                sys.stdout, sys.stderr = out, err
            assert text.replace("\n", "").isprintable()
            assert sound == (problems == "")
            assert sound or re.fullmatch(r"memprobe: .*\n", problems)
            wrong += not sound
    assert 50 < wrong < 850


def seal(raw):
    """Give each whole block of a file the checksums that it should have."""
    prime = 2**64 - 59

    def put(at, begin, end):
        number = int.from_bytes(raw[begin:end], "big") % prime
        raw[at : at + 8] = number.to_bytes(8, "little")

    put(16, 24, 2048)
    for at in (2048, 3072):
        put(at, at + 8, at + 1024)
    for at in range(4096, len(raw), 4096):
        count = min(int.from_bytes(raw[at + 44 : at + 48], "little"), 300)
        put(at + 8, at + 496, at + 496 + 12 * count)
        put(at, at + 8, at + 496)
    return raw


# Living processes


def follow(paths, looks, between=lambda: None):
    """Follow in this process; return what each look printed."""
    out = io.StringIO()
    printed = []

    def wait(_seconds):
        printed.append(out.getvalue())
        out.seek(0)
        out.truncate()
        between()
        return len(printed) == looks

    show_module.follow([str(path) for path in paths], out, wait=wait)
    return printed


@linux
def test_follow_reads_only_what_has_changed(
    trail, write, live, record_files, monkeypatch
):
    for _ in range(20):
        write([(t, 50 * MB) for t in range(3000)])
    facts = {"clock": time.clock_gettime(time.CLOCK_BOOTTIME) - 1000, "pid": 7}
    samples = [(t, 60 * MB) for t in range(1000)]
    path = live(samples, **facts)
    read = []
    pread = os.pread
    monkeypatch.setattr(
        _record_file, "_pread", lambda *a: (read.append(a), pread(*a))[1]
    )

    def between():
        counts.append(len(read))
        read.clear()
        if len(counts) == 2:
            samples.append((1000, 70 * MB))
            held = path.read_bytes()
            new = record_files.write(trail, samples, state="running", **facts)
            assert new == path
            assert new.read_bytes() != held

    counts = []
    first, second, third = follow([trail], 3, between)
    assert first == second
    assert "70.0MB" in third
    assert counts[0] > 20 * 10
    assert counts[1] < 20
    assert counts[2] < 20


def test_follow_shows_what_comes_and_what_goes(trail, write):
    one = write()

    def between():
        if not two:
            two.append(write())
        else:
            one.unlink(missing_ok=True)

    two = []
    texts = follow([trail, trail / "nowhere"], 3, between)
    assert [re.findall("^[0-9]{3}", text, re.MULTILINE) for text in texts] == [
        ["101"],
        ["101", "102"],
        ["102"],
    ]
    assert all(text.count("nowhere: No such file") == 1 for text in texts)
    (figures,) = follow(two, 1)
    assert figures.startswith("memprobe: app.py\n- state: exited.\n")


def test_who_loses_its_parent_is_no_longer_indented(trail, write):
    parent = write(command="one", started=DAY)
    write(command="two", started=DAY + 1, parent=101)
    first, second = follow([trail], 2, lambda: parent.unlink(missing_ok=True))
    assert "\n102   two " in first
    assert "\n102 two " in second


@posix
def test_follow_appends_in_a_pipe_until_ctrl_c(trail, write, tmp_path):
    write()
    command = [*SHOW, "--follow", "--interval", "0.1", trail]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        for line in child.stdout:
            if line == "\n" and write.pid == 101:
                write()
            if line.startswith("102 "):
                child.send_signal(signal.SIGINT)
                break
        rest, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert errors == ""
    assert "\x1b" not in rest


@posix
def test_follow_redraws_in_a_terminal(trail, write):
    for _ in range(100):
        write()
    with pseudo_terminal(60, 10, "--follow", trail, TERM="xterm") as (process, read):
        text = read(lambda text: text.count(b"\x1b[J") >= 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    first, second = text.split("\x1b[J")[:2]
    assert first.startswith("\x1b[2J\x1b[H")
    assert second.startswith("\x1b[H")
    assert second.count("\n") == 9  # it fits without scrolling
    assert "and 94 more" in second
    assert "100 ended" in second


@posix
def test_a_dumb_terminal_is_not_redrawn(trail, write):
    write()
    arguments = ["--follow", "--interval", "0.1", trail]
    with pseudo_terminal(60, 10, *arguments, TERM="dumb") as (_, read):
        text = read(lambda text: text.count(b"\n") >= 8)
    assert "\x1b" not in text
    assert text.count("pid command") >= 2
