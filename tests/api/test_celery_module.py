"""Celery's own module beside ours, in the same process, with the same readings."""

import io
import random
import re
import types

import pytest

import memprobe

debug = pytest.importorskip("celery.utils.debug")


@pytest.fixture
def same_readings(monkeypatch):
    """Let Celery's module read what memprobe has read."""
    monkeypatch.setattr(debug, "_mem_sample", [])
    read = debug._process_memory_info

    def last_reading(process):
        last = memprobe.stats().last
        return read(process) if last is None else types.SimpleNamespace(rss=last)

    monkeypatch.setattr(debug, "_process_memory_info", last_reading)


def both_dumps(*args):
    ours, theirs = io.StringIO(), io.StringIO()
    debug.memdump(*args, file=theirs)
    memprobe.memdump(*args, file=ours)
    return ours.getvalue().splitlines(), theirs.getvalue().splitlines()


@pytest.mark.parametrize("count", range(1, 11))
@pytest.mark.usefixtures("same_readings")
def test_same_lines_up_to_ten_samples(count):
    grown = []
    for _ in range(count):
        assert memprobe.sample_mem() == debug.sample_mem()
        grown.append(bytearray(64 * 1024))
    ours, theirs = both_dumps()
    assert ours[:-1] == theirs[:-1]
    assert len(ours) == count + 2
    end_line = re.compile(r"- rss \(end\): [0-9.]+MB\.")
    assert end_line.fullmatch(ours[-1])
    assert end_line.fullmatch(theirs[-1])


@pytest.mark.usefixtures("same_readings")
def test_documented_example_prints_ten_samples_where_celery_prints_none():
    for _ in range(100):
        memprobe.sample_mem()
        debug.sample_mem()
    ours, theirs = both_dumps()
    assert len(ours) == 12
    assert ours[0] == "- rss (sample):"
    printed_by_celery = [line for line in theirs if line.startswith("-    > ")]
    if printed_by_celery:
        pytest.skip("this Celery has been fixed")
    assert len(theirs) <= 2


def test_humanbytes_is_celerys_near_the_bounds():
    values = set(range(3000))
    for power in range(54):
        base = 2**power
        values.update(base + step for step in range(-50, 51))
        values.update(base * tenths // 10 for tenths in range(10, 20))
        for digits in range(1, 6):
            # Half a unit in the last of five digits: where rounding is decided.
            half = base // (2 * 10**digits)
            values.update(
                base * n + half + step for n in (1, 9, 99) for step in (-1, 0, 1)
            )
    for value in sorted(value for value in values if 0 <= value <= 2**53):
        assert memprobe.humanbytes(value) == debug.humanbytes(value)


def test_humanbytes_is_celerys_for_random_numbers():
    seed = random.randrange(2**32)
    numbers = random.Random(seed)
    for _ in range(200_000):
        value = numbers.randrange(2 ** numbers.randrange(54) + 1)
        assert memprobe.humanbytes(value) == debug.humanbytes(value), (seed, value)


def test_celerys_own_tests_pass():
    """What Celery's t/unit/utils/test_debug.py asserts about the two pure functions."""
    x = list(range(100))
    assert list(memprobe.sample(x, 10)) == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert list(memprobe.sample(x, 91)) != []
    assert [memprobe.humanbytes(2**power) for power in (20, 22, 16, 8)] == [
        *("1MB", "4MB", "64KB", "256b")
    ]
