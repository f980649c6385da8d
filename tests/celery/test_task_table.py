"""The table in which the processes of a Celery worker count."""

import itertools
import os
import signal
import threading
import time

import pytest

import memprobe
from memprobe._task_table import (
    EXITED,
    KILLED,
    OTHERS,
    REVOKED,
    ROWS,
    SLOTS,
    TERMINATED,
    TIME_LIMIT,
    Table,
    table_bytes,
)


@pytest.fixture
def table():
    return Table()


def run(slot, name, growth=0, *, end=None, inside=False):
    start = slot.rss
    begun = slot.begin(name, "id", start, inside=inside)
    slot.end(begun, start + growth, start + growth, end)


def taken(table, number=0):
    slot = table.slot(number)
    slot.take(1 << 20, 1 << 20)
    return slot


def figures_of(table, name, **lives):
    return table.tasks(**lives)[0][name]


def test_growth_is_added_up_by_name_over_all_slots(table):
    for number, growths in ((0, [1, 5, -7]), (SLOTS - 1, [2, 9])):
        slot = taken(table, number)
        for growth in growths:
            run(slot, "päron", growth)
    for _ in range(2):
        run(slot, "shrinks", -3)
    pear = figures_of(table, "päron")
    assert (pear.runs, pear.growth, pear.largest, pear.first) == (5, 7, 9, 3)
    assert figures_of(table, "shrinks").largest == -3
    assert figures_of(table, "shrinks").growth == -3
    assert slot.rss == slot.peak == (1 << 20) + 5


def test_rows_add_up_to_the_growth_of_the_process(table):
    slot = taken(table)
    rss = slot.start
    for name, between, growth in (("a", 300, 10), ("b", -20, 5), ("a", 7, 90)):
        begun = slot.begin(name, "id", rss + between)
        rss += between + growth
        slot.end(begun, rss, rss)
    outer = slot.begin("a", "id", rss)
    inner = slot.begin("b", "id2", rss + 1000, inside=True)
    slot.end(inner, rss + 1200, rss + 1200)
    slot.end(outer, rss + 1250, rss + 1250)
    found, _ = table.tasks()
    a, b = found["a"], found["b"]
    assert (a.between, a.first, a.growth) == (307, 10, 90 + 1050)
    assert (b.between, b.first, b.growth) == (-20, 5, 200)
    assert sum(it.between + it.first + it.growth for it in found.values()) == (
        slot.rss - slot.start
    )


def test_a_table_in_a_file_is_shared_by_those_who_open_it(tmp_path):
    path = tmp_path / "table"
    path.write_bytes(bytes(table_bytes(9)))
    with path.open("r+b") as file:
        first = Table(9, file.fileno())
        first.describe("worker@host", 5)
        other = Table.of(file.fileno())
        run(taken(first, 7), "a", 10)
        copy = Table.of(file.fileno(), read_only=True)
    for table in (other, copy):
        assert figures_of(table, "a").first == 10
        assert (table.node, table.limit) == ("worker@host", 5)
    run(first.slot(7), "a", 10)
    assert figures_of(other, "a").runs == 2
    assert figures_of(copy, "a").runs == 1


@pytest.mark.parametrize("damage", [{}, {0: 1}, {1: 10}, {1: -1}, {1: 2**60}])
def test_what_is_no_table_is_refused(tmp_path, damage):
    path = tmp_path / "table"
    path.write_bytes(bytes(table_bytes(9)))
    with path.open("r+b") as file:
        if damage:
            table = Table(9, file.fileno())
            for word, value in damage.items():
                table._words[word] = value
        with pytest.raises(ValueError, match="table of tasks"):
            Table.of(file.fileno(), read_only=True)


def test_a_damaged_table_is_read_or_refused(tmp_path):
    """Whatever words it has: it may be anybody's."""
    table = Table(2)
    run(taken(table), "a", 10)
    for number in (5, 1 << 40, -1, -(1 << 62)):
        path = tmp_path / "table"
        path.write_bytes(table._words.tobytes())
        with path.open("r+b") as file:
            # Its own words, a role's, the heads, the first row.
            for word in (*range(2, 72), *range(table._heads, table._heads + 64)):
                damaged = Table.of(file.fileno())
                before, damaged._words[word] = damaged._words[word], number
                read = Table.of(file.fileno(), read_only=True)
                read.tasks(lambda pid: False)
                read.roles()
                assert [slot.running for slot in read.slots()]
                damaged._words[word] = before


def test_the_least_makes_room_for_another_name(table):
    slot = taken(table)
    run(slot, "large", 1 << 20)
    for number in range(3 * ROWS):
        run(slot, f"task{number}", 1 + number)
    found, hidden = table.tasks()
    assert len(found) == ROWS
    assert found["large"].first == 1 << 20
    assert f"task{3 * ROWS - 1}" in found
    assert found[OTHERS].runs == hidden == 2 * ROWS + 2
    assert sum(it.runs for it in found.values()) == 3 * ROWS + 1
    assert sum(it.first for it in found.values()) == slot.rss - slot.start
    # One that comes back makes others give way, and is not hidden twice.
    run(slot, "task0", 1 << 19)
    run(slot, "task0", 1 << 19)
    again, hidden_now = table.tasks()
    assert again["task0"].growth == 1 << 20
    assert hidden_now <= hidden + 1


def test_long_names_with_the_same_end_are_told_apart(table):
    slot = taken(table)
    for start in ("a", "b"):
        run(slot, start + "ä" * 500 + ".one")
        run(slot, start + "ä" * 500 + ".two")
    names = list(table.tasks()[0])
    assert sorted(name[-4:] for name in names) == [".one", ".one", ".two", ".two"]


def test_how_a_run_ends_is_counted(table):
    slot = taken(table)
    for end in (None, EXITED, REVOKED, None):
        run(slot, "a", end=end)
    figures = figures_of(table, "a")
    assert figures.runs == 2
    assert {end: n for end, n in figures.ends.items() if n} == {EXITED: 1, REVOKED: 1}


@pytest.mark.parametrize("noted_for", ["id", "another"])
def test_one_that_is_terminated_counts_as_what_it_was_terminated_for(table, noted_for):
    slot = taken(table)
    begun = slot.begin("a", "id", slot.rss)
    table.note_why(slot.pid, noted_for, TIME_LIMIT)
    slot.end(begun, slot.rss, slot.rss, TERMINATED)
    wanted = TIME_LIMIT if noted_for == "id" else TERMINATED
    for _ in range(2):
        figures = figures_of(table, "a")
        assert (figures.runs, sum(figures.ends.values())) == (0, 1)
        assert figures.ends[wanted] == 1
        assert slot.running is None
        table.slot(0).take(1, 1)


def test_one_that_survives_its_termination_is_counted_once(table):
    slot = taken(table)
    run(slot, "a", end=TERMINATED)
    run(slot, "b")
    run(slot, "b")
    assert figures_of(table, "a").ends[TERMINATED] == 1
    assert figures_of(table, "b").runs == 2


def test_a_run_whose_end_nobody_told_of_has_ended_when_the_next_one_begins(table):
    slot = taken(table)
    stale = slot.begin("a", "id", slot.rss)
    run(slot, "b", 5)
    slot.end(stale, slot.rss, slot.rss)
    table.slot(0).take(1, 1)
    assert figures_of(table, "a").runs == 1
    assert sum(figures_of(table, "a").ends.values()) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_killed_process_leaves_its_counts_to_the_next_one(table):
    """A child is killed in the middle of its third task; another takes its slot."""

    def child(last):
        slot = table.slot(1)
        slot.take(memprobe.rss(), 1)
        table.note_role("ForkPoolWorker-5")
        run(slot, "a", 10)
        run(slot, "b", 20)
        slot.begin("b", "id", memprobe.rss())
        held = bytearray(os.urandom(1 << 20)) * 60
        time.sleep(0.1)
        last(held)

    table.describe("worker", 0)
    for last in (
        lambda held: os.kill(os.getpid(), signal.SIGKILL),
        lambda held: os._exit(0),
    ):
        pid = os.fork()
        if pid == 0:
            child(last)
        os.waitpid(pid, 0)
        assert table.slot(1).pid == pid
        assert table.slot(1).running == "b"
    found, _ = table.tasks()
    assert {
        name: (it.runs, it.first, it.ends[KILLED]) for name, it in found.items()
    } == {
        "a": (2, 20, 0),
        "b": (2, 40, 1),
    }
    assert 55 << 20 < found["b"].peak < 90 << 20
    # Who looks at the table when all have ended knows of the last one, too.
    assert figures_of(table, "b", lives=lambda pid: False).ends[KILLED] == 2
    if os.path.exists("/proc/self/stat"):
        assert figures_of(table, "b", lives=table.living()).ends[KILLED] == 2
        table.slot(1).take(1, 1)
        table.note_role("ForkPoolWorker-6")
        table.slot(1).begin("b", "id", 1)
        assert figures_of(table, "b", lives=table.living()).ends[KILLED] == 2


def test_runs_that_overlap_are_counted_and_their_growth_is_left_out(table):
    slot = taken(table)
    first = slot.begin("a", "id", slot.rss)
    thread = threading.Thread(target=run, args=(slot, "b", 1 << 19))
    thread.start()
    thread.join()
    slot.end(first, slot.rss + (1 << 19), slot.rss)
    for name in "ab":
        figures = figures_of(table, name)
        assert (figures.runs, figures.overlapped) == (1, 1)
        assert (figures.growth, figures.first, figures.peak) == (0, 0, None)
    run(slot, "a", 7)
    assert figures_of(table, "a").growth == 7


def test_threads_count_exactly_and_leave_nothing_running(table):
    slot = taken(table)
    barrier = threading.Barrier(4)

    def work(name):
        barrier.wait()
        for _ in range(2000):
            run(slot, name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [figures_of(table, name).runs for name in "ab"] == [4000, 4000]
    assert slot.running is None


def test_of_tasks_inside_each_other_the_inner_one_runs(table):
    slot = taken(table)
    outer = slot.begin("outer", "id", 1)
    inner = slot.begin("inner", "id", 1, inside=True)
    assert slot.running == "inner"
    slot.end(inner, 1, 1)
    assert slot.running == "outer"
    slot.end(outer, 1, 1)
    assert slot.running is None


def test_the_roles_of_the_last_processes_are_known(table, monkeypatch):
    numbers = itertools.count(1)
    monkeypatch.setattr(os, "getpid", lambda: next(numbers))
    for number in range(1000):
        table.note_role(f"ForkPoolWorker-{number}")
    table.note_role("MainProcess")
    table.note_role("Beat")
    roles = set(table.roles().values())
    assert roles >= {"MainProcess", "Beat", "ForkPoolWorker-999"}


def test_to_ask_touches_no_memory_that_nobody_wrote(table):
    table.tasks()
    before = memprobe.rss()
    for _ in range(3):
        table.tasks()
        table.roles()
    assert memprobe.rss() - before < 256 << 10
