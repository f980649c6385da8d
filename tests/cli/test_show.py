"""memprobe show: what the observer's files say, and that no file can harm it."""

import csv
import io
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import unicodedata
import xml.etree.ElementTree
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from memprobe import _record_file
from memprobe._cli import show as show_module
from memprobe._cli.table import COLUMNS, Row, table

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
def trail(tmp_path):
    folder = tmp_path / "trail"
    folder.mkdir()
    return folder


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
    wcwidth = pytest.importorskip("wcwidth")
    return sum(max(wcwidth.wcwidth(c), 0) for c in text)


# One screen

FAMILY = """
pid command               state             lasted   peak   last growth/h
100 gunicorn app:app      exited             60min 95.0MB 95.0MB  +33.3MB ::####
106   gunicorn: worker [~ ended              10min  205MB  205MB   +720MB :::###
105   gunicorn: worker [~ exited (status 3)  10min  204MB  204MB   +720MB :::###
104   gunicorn: worker [~ ended by SIGTERM   10min  203MB  203MB   +720MB :::###
101   gunicorn: worker [~ exited             60min  300MB  149MB  +57.8MB ::####
103     gunicorn: worker~ out of memory      10min  202MB  202MB   +720MB :::###
102   gunicorn: worker [~ exited             60min  300MB  149MB  +57.8MB ::####
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
- growth: +57.8MB an hour.
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
    from memprobe._cli.text import command_text, name_of

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
    there = write(state="running", boot="anotherb", started=time.time() - 100)
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


def test_the_limit_of_a_cgroup_and_when_it_is_reached(trail, write, show):
    """At its own rate: the process stands still, something beside it grows."""
    samples = [(t, 50 * MB) for t in range(0, 3000, 2)]
    path = write(samples, memory_limit=1000 * MB, cgroup_memory=700 * MB)
    text = show(path)
    assert "- memory limit: 700MB of 1000MB used (70%).\n" in text
    assert "memory limit: 700MB of 1000MB used (70%)" in show(trail).splitlines()
    assert "- memory limit" not in show(write(memory_limit=1000 * MB))


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
