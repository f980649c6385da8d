"""What needs no server: several workers in one process, billiard's private name."""

import contextlib
import subprocess
import sys
import time

import pytest

pytest.importorskip("celery")

from billiard import pool

import memprobe
from memprobe._task_table import Table
from memprobe.celery import _recycle

TWO_WORKERS = """
import os, time
from celery import Celery
from celery.contrib.testing.worker import start_worker
import celery.contrib.testing.tasks
import memprobe.celery

def run():
    pass

runs = {"a": 7, "b": 3}
apps = {}
for name in runs:
    app = apps[name] = Celery(name, broker="memory://", set_as_current=False)
    app.conf.update(task_default_queue=name, worker_hijack_root_logger=False)
    app.task(run, name="run", shared=False, ignore_result=True)
    app.finalize()
    memprobe.celery.install(app)

def worker(name):
    how = dict(pool="prefork", concurrency=1, use_eventloop=False)
    how.update(perform_ping_check=False, hostname=f"{name}@test")
    return start_worker(apps[name], **how)

def counted():
    tables = memprobe.celery.tables.items()
    tasks = {node[0]: table.tasks()[0].get("run") for node, table in tables}
    return {name: task and task.runs for name, task in tasks.items()}

with worker("a"), worker("b"):
    for name, count in runs.items():
        for _ in range(count):
            apps[name].send_task("run", queue=name)
    deadline = time.monotonic() + 60
    while counted() != runs and time.monotonic() < deadline:
        time.sleep(0.05)
    assert counted() == runs, counted()
    pids = [
        {slot.pid for slot in table.slots() if slot.pid}
        for table in memprobe.celery.tables.values()
    ]
    assert pids[0] & pids[1] == {os.getpid()}
    os._exit(0)
"""


def test_two_workers_of_two_apps_in_one_process_count_apart(tmp_path):
    celery = pytest.importorskip("celery")
    if celery.VERSION[:2] < (5, 7):
        pytest.skip("nobody says whose child a child is")
    result = subprocess.run(
        [sys.executable, "-c", TWO_WORKERS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr


KILLED = """
import os, signal, sys, time
from celery import Celery
from celery.contrib.testing.worker import start_worker
import celery.contrib.testing.tasks
import memprobe.celery

app = Celery("shop", broker="memory://", set_as_current=False)
app.conf.update(worker_hijack_root_logger=False)

@app.task(name="last", shared=False, ignore_result=True)
def last():
    os.kill(os.getppid(), signal.SIGKILL)

app.finalize()
memprobe.celery.install(app, sys.argv[1])
how = dict(pool="prefork", concurrency=1, use_eventloop=False)
with start_worker(app, perform_ping_check=False, hostname="a@test", **how):
    app.send_task("last")
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the observer copies memory there")
def test_the_table_of_a_worker_that_was_killed_lies_in_the_folder(tmp_path):
    """The worker itself writes to no disk."""
    trail = tmp_path / "trail"
    trail.mkdir()
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(trail)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == -9, result.stderr
    path = trail / "a@test.tasks"
    within = time.monotonic() + 30
    known = 0
    while known == 0 and time.monotonic() < within:
        time.sleep(0.05)
        with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
            table = Table.of(file.fileno(), read_only=True)
            if run := table.tasks(table.living())[0].get("last"):
                known = run.runs + sum(run.ends.values())
    assert known == 1


def test_the_limit_of_this_billiard_can_mean_rss(monkeypatch):
    monkeypatch.setattr(pool, "mem_rss", pool.mem_rss)
    monkeypatch.setattr(_recycle, "_exempt", False)
    assert _recycle.use_rss()
    assert pool.mem_rss() == pytest.approx(memprobe.rss() / 1024, rel=0.05)
    assert _recycle.exempt()
    assert pool.mem_rss() == 1


@pytest.mark.parametrize("differs", ["no name", "not looked up"])
def test_a_billiard_that_reads_memory_elsewhere_is_left_alone(monkeypatch, differs):
    before = pool.mem_rss
    if differs == "no name":
        monkeypatch.delattr(pool, "mem_rss")
    else:
        monkeypatch.setattr(pool.Worker, "workloop", lambda self: None)
    assert not _recycle.use_rss()
    assert not _recycle.exempt()
    assert getattr(pool, "mem_rss", before) is before
