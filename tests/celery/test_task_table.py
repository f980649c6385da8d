"""The table in which the processes of a Celery worker count."""

import os
import signal
import threading

import pytest

pytest.importorskip("celery", reason="Celery isn't installed")

from memprobe.celery._task_table import OTHERS, ROWS, SLOTS, TABLE_BYTES, Table


@pytest.fixture
def table():
    return Table()


def run(slot, name, growth=0):
    slot.begin(name)
    slot.end(name, growth, rss=2000, peak=3000)


def test_growth_is_added_up_by_name_over_all_slots(table):
    for number, growths in ((0, [5, -7]), (SLOTS - 1, [9])):
        slot = table.slot(number)
        slot.take(1000, 1500)
        for growth in growths:
            run(slot, "päron", growth)
    run(slot, "shrinks", -3)
    tasks = table.tasks()
    pear = tasks["päron"]
    assert (pear.runs, pear.growth, pear.largest, pear.killed) == (3, 7, 9, 0)
    assert tasks["shrinks"].largest == -3
    assert (slot.start, slot.rss, slot.peak) == (1000, 2000, 3000)


def test_a_table_in_a_file_is_shared_by_those_who_open_it(tmp_path):
    path = tmp_path / "table"
    path.write_bytes(bytes(TABLE_BYTES))
    tables = []
    for _ in range(2):
        with path.open("r+b") as file:
            tables.append(Table(file.fileno()))
    slot = tables[0].slot(7)
    slot.take(1, 1)
    run(slot, "a", 10)
    assert tables[1].tasks()["a"].growth == 10


def test_names_beyond_the_rows_are_counted_together(table):
    slot = table.slot(0)
    slot.take(1, 1)
    for number in range(3 * ROWS):
        run(slot, f"task{number}", 1)
    tasks = table.tasks()
    assert len(tasks) == ROWS
    assert tasks["task5"].runs == 1
    assert tasks[OTHERS].runs == tasks[OTHERS].growth == 2 * ROWS + 1
    assert sum(figures.runs for figures in tasks.values()) == 3 * ROWS


def test_of_a_long_name_the_end_is_kept(table):
    slot = table.slot(0)
    slot.take(1, 1)
    for end in ("one", "two"):
        run(slot, "ä" * 500 + end)
    assert [name[-3:] for name in table.tasks()] == ["one", "two"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_killed_process_leaves_its_counts_to_the_next_one(table):
    """A child is killed in the middle of its third task; another takes its slot."""

    def child(last):
        slot = table.slot(1)
        slot.take(1, 1)
        run(slot, "a", 10)
        run(slot, "b", 20)
        slot.begin("b")
        last()

    for last in (
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: os._exit(0),
    ):
        pid = os.fork()
        if pid == 0:
            child(last)
        os.waitpid(pid, 0)
        assert table.slot(1).pid == pid
        assert table.slot(1).running == "b"
    tasks = table.tasks()
    assert {name: (it.runs, it.growth, it.killed) for name, it in tasks.items()} == {
        "a": (2, 20, 0),
        "b": (2, 40, 1),
    }


def test_threads_count_exactly_and_leave_nothing_running(table):
    slot = table.slot(0)
    slot.take(1, 1)
    barrier = threading.Barrier(4)

    def work(name):
        barrier.wait()
        for _ in range(2000):
            run(slot, name, 1)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [table.tasks()[name].growth for name in "ab"] == [4000, 4000]
    assert slot.running is None


def test_of_tasks_inside_each_other_the_inner_one_runs(table):
    slot = table.slot(0)
    slot.take(1, 1)
    slot.begin("outer")
    slot.begin("inner")
    assert slot.running == "inner"
    slot.end("inner", 0, 1, 1)
    assert slot.running == "outer"
