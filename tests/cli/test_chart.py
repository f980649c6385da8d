"""The chart in the terminal, the units of its axes, and what is drawn in it."""

import math
import random
import re

import pytest

from memprobe._cli.chart import chart
from memprobe._cli.series import columns, thinned, total
from memprobe._units import duration_text, size_text, size_unit, step, time_unit

MB = 2**20


def ramp(seconds, highest, count=1000):
    """Samples that grow evenly from nothing."""
    return [(i * seconds / count, i * highest // count) for i in range(count + 1)]


def bars(lines):
    """The bars of a chart, a string per column, from the bottom up."""
    at = max(line.find(axis) for line in lines[:-2] for axis in "┤│|" if axis in line)
    rows = [line[at + 1 :].ljust(300) for line in lines[:-2] if "peak" not in line]
    return ["".join(column).rstrip() for column in zip(*reversed(rows), strict=True)]


@pytest.mark.parametrize("blocks", [True, False])
def test_no_chart_is_larger_than_asked_for(blocks):
    randoms = random.Random(7)
    for width in [*range(1, 201), 1000]:
        highest = randoms.choice([1, 1023, 999 * MB, 5 * 2**40, 2**63])
        seconds = randoms.choice([1e-9, 0.3, 59, 6000, 90_000, 1e7])
        height = randoms.randrange(0, 30)
        peak = randoms.choice([None, 0, highest, highest + 1, highest * 3])
        lines = chart(
            ramp(seconds, highest, 100), width, blocks=blocks, height=height, peak=peak
        )
        if width < 18 or height < 4:
            assert len(lines) <= height
            continue
        assert width - 1 <= max(map(len, lines)) <= width
        assert height / 2 <= len(lines) <= height
        assert blocks or all(line.isascii() for line in lines)
        # Both axes say where they are: a unit at each label but the 0 below.
        assert re.search(r"[0-9](b|KB|MB|GB|TB) [┤|]", "\n".join(lines))
        assert re.search(r"[0-9] (ms|s|min|h|d)\b", lines[-1])


def test_a_bar_is_as_high_as_its_label_says():
    lines = chart([(0, 100 * MB), (10, 300 * MB)], 80, blocks=True, height=15)
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


def test_the_highest_sample_is_marked_above_its_column():
    for at in range(0, 60, 3):
        samples = [(t, 100 * MB + 50 * MB * (t == at)) for t in range(60)]
        lines = chart(samples, 80, blocks=True)
        (line,) = [line for line in lines if "▼" in line]
        assert "peak 150MB" in line
        below = lines[lines.index(line) + 1]
        assert below[line.index("▼")] in "▁▂▃▄▅▆▇█"
        assert len(re.findall("[▁-█]", below)) <= 3
    assert "▼ peak" not in chart(samples, 20, blocks=True)[0]  # no room for it


def test_a_peak_between_two_samples_is_a_line_that_the_axis_reaches():
    samples = [(t, 100 * MB) for t in range(60)]
    lines = chart(samples, 80, blocks=True, peak=320 * MB)
    tops = {
        line.split("┤")[0].strip(): n for n, line in enumerate(lines) if "┤" in line
    }
    (at,) = [
        n for n, line in enumerate(lines) if "peak 320MB between two samples" in line
    ]
    assert lines[at].count("╌") > 30
    assert "350MB" in tops
    assert tops["350MB"] <= at <= tops["300MB"]
    assert "peak" in "".join(chart(samples, 80, blocks=False, peak=101 * MB))
    assert "between" not in "".join(chart(samples, 80, blocks=False, peak=101 * MB))


def test_one_high_sample_among_many_is_seen():
    samples = [(i / 100, 100 * MB) for i in range(60_000)]
    samples[31_234] = (312.34, 900 * MB)
    found = columns(samples, 40)
    assert max(found) == 900 * MB
    assert sorted(found)[-2] == 100 * MB
    assert found.index(900 * MB) == int(312.34 / 599.99 * 40)


def test_what_is_thinned_draws_the_same():
    randoms = random.Random(3)
    for count in (1, 2, 3, 50, 20_000):
        times = sorted(randoms.uniform(50, 950) for _ in range(count))
        samples = [(t, randoms.randrange(1, 2**40)) for t in times]
        kept = thinned(iter(samples), times[0], times[-1], 100)
        assert set(kept) <= set(samples)
        assert kept == sorted(kept)
        assert len(kept) <= 3 * 101 + 1
        for part in (1, 2, 20, 50, 100):
            assert columns(kept, part) == columns(samples, part)
            inverse = [
                [(t, 2**40 - rss) for t, rss in some] for some in (kept, samples)
            ]
            assert columns(inverse[0], part) == columns(inverse[1], part)


class Process:
    """What total() asks of a record."""

    def __init__(self, samples, state="exited", ended=None):
        self.started = samples[0][0]
        self.state = state
        self.ended = ended
        self._samples = samples
        self.open = 0

    def samples(self):
        self.open += 1
        yield from self._samples
        self.open -= 1


def test_a_total_counts_shared_pages_once():
    one = Process([(0, 100, 30), (10, 120, 30)], ended=20)
    two = Process([(5, 80, 60), (15, 50, None)], state="running")
    three = Process([(30, 7, 7)], ended=31)
    assert list(total([two, three, one])) == [
        (0, 100),
        (5, 70 + 20 + 60),
        (10, 90 + 20 + 60),
        (15, 90 + 50 + 30),
        (20, 50),
        (30, 57),
        (31, 50),
    ]


def test_a_total_is_what_a_plain_sum_says():
    randoms = random.Random(5)
    processes = []
    for _ in range(20):
        times = sorted(randoms.sample(range(1000), 30))
        samples = [
            (t, *sorted(randoms.choices(range(1, 99), k=2))[::-1]) for t in times
        ]
        processes.append(Process(samples, ended=times[-1] + randoms.randrange(30)))
    most = 0
    at = {}
    for time, bytes in total(processes):
        at[time] = bytes
        most = max(most, sum(process.open for process in processes))
    for time, bytes in at.items():
        now = [
            [s for s in process._samples if s[0] <= time][-1]
            for process in processes
            if process.started <= time < process.ended
        ]
        assert bytes == sum(rss - shared for _, rss, shared in now) + max(
            shared for _, _, shared in now
        )
    assert most <= 20


def test_a_total_reads_files_only_while_their_processes_live():
    processes = [
        Process([(t, 50, 0), (t + 5, 60, 0)], ended=t + 6) for t in range(0, 900, 9)
    ]
    for _ in total(processes):
        assert sum(process.open for process in processes) <= 2


def test_between_two_samples_the_last_one_counts():
    # Its highest in the column, but its last in those without a sample.
    samples = [(0, 10), (0.1, 90), (0.2, 20), (5, 50), (9.99, 70), (10, 30)]
    assert columns(samples, 10) == [90, 20, 20, 20, 20, 50, 50, 50, 50, 70]


def test_a_chart_of_one_moment():
    lines = chart([(0.5, 300 * MB)], 80, blocks=False)
    assert {len(column) for column in bars(lines) if column} == {6}


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


def test_sizes_have_three_digits():
    sizes = [0, 1023, 1024, 10_234, 99.96 * 1024, 999 * 1024, 9.996 * MB, 2**60]
    texts = "0b 1023b 1.00KB 9.99KB 100KB 999KB 10.0MB 1048576TB"
    assert " ".join(map(size_text, sizes)) == texts


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
