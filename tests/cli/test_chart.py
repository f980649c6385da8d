"""The chart in the terminal, the units of its axes, and the report around it."""

import math
import re
import sys

import pytest

from memprobe._cli.chart import chart, columns
from memprobe._cli.units import duration_text, size_unit, step, time_unit

MB = 2**20
RUN = [sys.executable, "-m", "memprobe", "run"]


def ramp(seconds, highest, count=1000):
    """Samples that grow evenly from nothing."""
    return [(i * seconds / count, i * highest // count) for i in range(count + 1)]


def bars(lines):
    """The bars of a chart, a string per column, from the bottom up."""
    at = max(line.find(axis) for line in lines[:-2] for axis in "┤│|" if axis in line)
    rows = [line[at + 1 :].ljust(300) for line in lines[:-2]]
    return ["".join(column).rstrip() for column in zip(*reversed(rows), strict=True)]


@pytest.mark.parametrize("width", [20, 39, 40, 79, 80, 133, 199, 200, 500])
@pytest.mark.parametrize("blocks", [True, False])
def test_no_line_is_wider_than_asked_for(width, blocks):
    for highest in (1, 1023, 999 * MB, 5 * 2**40, 2**63):
        for seconds in (1e-9, 0.3, 59, 6000, 90_000, 1e7):
            lines = chart(ramp(seconds, highest, 100), width, blocks=blocks)
            assert width - 1 <= max(map(len, lines)) <= width
            assert 8 <= len(lines) <= 20
            assert blocks or all(line.isascii() for line in lines)
            # Both axes say where they are: a unit at each label but the 0 below.
            assert re.search(r"[0-9](b|KB|MB|GB|TB) [┤|]", "\n".join(lines))
            assert re.search(r"[0-9] (ms|s|min|h|d)\b", lines[-1])


def test_a_bar_is_as_high_as_its_label_says():
    lines = chart([(0, 100 * MB), (10, 300 * MB)], 80, blocks=True)
    labels = {line.split("┤")[0].strip(): i for i, line in enumerate(lines)}
    # The last column reaches its label's row and fills it, and the row above is empty.
    row = labels["300MB"]
    assert lines[row].endswith("█")
    assert all(not line.endswith("█") for line in lines[:row])
    # All the others are at 100 MB.
    assert lines[labels["100MB"]].count("█") == 80 - len("100MB ┤")
    assert lines[labels["100MB"] - 1].count("█") == 1
    assert lines[-2].strip().startswith("0 └")


@pytest.mark.parametrize("blocks", [True, False])
def test_the_heights_follow_the_samples(blocks):
    lines = chart(ramp(100, 800 * MB), 80, blocks=blocks)
    heights = [len(column) for column in bars(lines) if column]
    assert heights == sorted(heights)
    assert heights[0] == 1
    full = heights[-1]
    middle = heights[len(heights) // 2]
    assert full >= 8
    assert abs(middle - full / 2) <= 1


def test_one_high_sample_among_many_is_seen():
    samples = [(i / 100, 100 * MB) for i in range(60_000)]
    samples[31_234] = (312.34, 900 * MB)
    found = columns(samples, 40)
    assert max(found) == 900 * MB
    assert sorted(found)[-2] == 100 * MB
    assert found.index(900 * MB) == int(312.34 / 599.99 * 40)


def test_between_two_samples_the_last_one_counts():
    # Its highest in the column, but its last in those without a sample.
    samples = [(0, 10), (0.1, 90), (0.2, 20), (5, 50), (9.99, 70), (10, 30)]
    assert columns(samples, 10) == [90, 20, 20, 20, 20, 50, 50, 50, 50, 70]


def test_a_chart_of_one_moment():
    lines = chart([(0.5, 300 * MB)], 80, blocks=False)
    assert {len(column) for column in bars(lines) if column} == {12}


def test_nothing_to_draw_and_no_room_are_no_lines():
    assert chart([], 80, blocks=True) == []
    assert chart([(0, 0)], 80, blocks=True) == []
    assert chart([(0, MB)], 12, blocks=True) == []


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0.5, "0 ms 100 ms 200 ms 300 ms 400 ms 500 ms"),
        (10, "0 s 2 s 4 s 6 s 8 s 10 s"),
        (119, "0 s 20 s 40 s 60 s 80 s 100 s"),
        (1800, "0 min 5 min 10 min 15 min 20 min 25 min"),
        (5 * 3600, "0 h 1 h 2 h 3 h 4 h 5 h"),
        (10 * 86400, "0 d 2 d 4 d 6 d 8 d 10 d"),
    ],
)
def test_the_time_axis_has_round_numbers(seconds, labels):
    lines = chart(ramp(seconds, 100 * MB), 80, blocks=True)
    expected = labels.split("  ")[0]
    shown = " ".join(lines[-1].split())
    assert expected.startswith(shown)
    assert len(shown.split()) // 2 >= len(expected.split()) // 2 - 1


def test_a_chart_may_start_late():
    lines = chart([(3600 * 9.3 + i, MB) for i in range(7200)], 80, blocks=True)
    assert lines[-1].split() == "9.5 h 10 h 10.5 h 11 h".split()
    for start in range(0, 100_000, 777):  # a label, wherever the narrow axis starts
        lines = chart([(start, MB), (start + 5000, MB)], 22, blocks=True)
        assert re.search(r"[0-9] (min|h|d)\b", lines[-1]), start


def test_units():
    assert [size_unit(n)[0] for n in (0, 1023, 1024, 5 * MB, 2**30, 2**50)] == [
        *("b", "b", "KB", "MB", "GB", "TB")
    ]
    assert [time_unit(s)[0] for s in (0, 0.9, 1, 119, 121, 7300, 2e5)] == [
        *("ms", "ms", "s", "s", "min", "h", "d")
    ]


def test_steps_are_the_least_that_suffice():
    for most in (1, 3, 9, 20):
        for exponent in range(-60, 61):
            length = 1.37**exponent
            by = step(length, most)
            assert length / by <= most
            mantissa = by / 10 ** math.floor(math.log10(by) + 1e-9)
            assert min(abs(mantissa - n) for n in (1, 2, 5)) < 1e-6
            assert by < 2.5001 * length / most


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0342, "34 ms"),
        (1, "1.0 s"),
        (119.94, "119.9 s"),
        (119.96, "2 min 00 s"),
        (3599.9, "60 min 00 s"),
        (7199.4, "119 min 59 s"),
        (7199.6, "2 h 00 min"),
        (47.9 * 3600, "47 h 54 min"),
        (50 * 3600, "2 d 2 h"),
    ],
)
def test_durations_as_text(seconds, text):
    assert duration_text(seconds) == text
