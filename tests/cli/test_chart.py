"""The chart in the terminal, the units of its axes, and the report around it."""

import math
import os
import re
import subprocess
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


# The report


def report_of(stderr, title):
    """The lines of a report: (dump, figures, chart)."""
    assert stderr.startswith(f"memprobe: {title}\n")
    head, _, drawn = stderr.partition("\n\n")
    lines = head.splitlines()[1:]
    figures = [line for line in lines if not line.startswith("-    > ")]
    dump = [line for line in lines if line.startswith("-    > ")]
    return dump, figures, drawn.splitlines()


def run(tmp_path, code, *options):
    (tmp_path / "program.py").write_text(code)
    result = subprocess.run(
        [*RUN, *options, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return result.stderr


def bytes_of(text):
    number, unit = re.search(r"([0-9.]+)(KB|MB|GB)", text).groups()
    return float(number) * {"KB": 2**10, "MB": MB, "GB": 2**30}[unit]


def test_the_report_has_dump_peak_duration_and_chart(tmp_path):
    stderr = run(
        tmp_path,
        # Not bytes: allocators keep what is freed.
        "import mmap, time\nbig = mmap.mmap(-1, 200 << 20)\n"
        "for i in range(0, len(big), 4096): big[i] = 1\ntime.sleep(0.3)\n"
        "big.close()\ntime.sleep(0.3)\n",
    )
    dump, figures, drawn = report_of(stderr, "program.py")
    assert len(dump) == 10
    assert figures[0] == "- rss (sample):"
    assert re.fullmatch(r"- rss \(end\): [0-9.]+MB\.", figures[1])
    assert re.fullmatch(r"- rss \(peak\): [0-9.]+MB\.", figures[2])
    assert re.fullmatch(r"- duration: ([0-9.]+ s|[0-9]+ ms)\.", figures[3])
    assert len(figures) == 4
    end, peak = bytes_of(figures[1]), bytes_of(figures[2])
    assert end < 100 * MB
    assert 200 * MB < peak < 260 * MB
    assert max(map(bytes_of, dump)) <= peak
    # No terminal: 80 columns at most, and ASCII.
    assert max(map(len, drawn)) == 80
    assert all(line.isascii() for line in drawn)
    high = [len(column) for column in bars(drawn) if column]
    assert max(high) > 2 * high[-1]
    assert sum(map(len, bars(drawn))) > 200


def test_the_number_of_samples_printed_is_asked_for(tmp_path):
    code = "import time; time.sleep(0.5)"
    for count in (0, 1, 2, 7):
        dump, figures, _ = report_of(
            run(tmp_path, code, "--samples", str(count)), "program.py"
        )
        assert len(dump) == count
        assert ("- rss (sample):" in figures) == (count > 0)


def test_the_report_does_not_count_itself(tmp_path):
    """65 536 samples as Python objects would be 8 MiB in end and peak."""
    stderr = run(
        tmp_path,
        "import memprobe, time\n"
        "for i in range(70_000): memprobe.sample_mem()\n"
        "import os; print(memprobe.rss(), file=open('rss', 'w'))",
    )
    _, figures, _ = report_of(stderr, "program.py")
    at_the_end = int((tmp_path / "rss").read_text())
    for line in figures:
        if line.startswith(("- rss (end)", "- rss (peak)")):
            assert abs(bytes_of(line) - at_the_end) < 3 * MB


def test_a_report_says_what_it_cannot_show(tmp_path):
    stderr = run(
        tmp_path,
        "import memprobe, time\nmemprobe.configure(capacity=1000)\ntime.sleep(0.3)\n"
        "for i in range(5_000): memprobe.sample_mem()\n",
        "--csv",
        "out.csv",
    )
    _, figures, _ = report_of(stderr, "program.py")
    overwritten = next(line for line in figures if "overwritten" in line)
    count = int(re.search(r"\): ([0-9]+) older samples\.", overwritten).group(1))
    assert 4000 <= count < 5000
    assert re.search(r"- not shown: the first [0-9.]+ m?s; --interval keeps", stderr)
    rows = (tmp_path / "out.csv").read_text().splitlines()[2:]
    assert len(rows) == 1000


def test_csv_has_all_samples_and_the_start(tmp_path):
    import calendar
    import csv
    import time

    before = time.time()
    run(tmp_path, "import time; time.sleep(0.5)", "--csv", "out.csv")
    after = time.time()
    lines = (tmp_path / "out.csv").read_text().splitlines()
    stamp = re.fullmatch(r"# started (\S+)(\.[0-9]{6})Z", lines[0])
    start = calendar.timegm(time.strptime(stamp[1], "%Y-%m-%dT%H:%M:%S"))
    assert before - 1 < start + float(stamp[2]) < after
    assert lines[1] == "seconds,rss_bytes"
    rows = [(float(s), int(rss)) for s, rss in csv.reader(lines[2:])]
    assert len(rows) > 5
    times = [seconds for seconds, _ in rows]
    assert times == sorted(times)
    assert 0 <= times[0] < 0.2
    assert 0.5 <= times[-1] < after - before
    assert all(MB < rss < 2**30 for _, rss in rows)


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_in_a_terminal_the_chart_is_as_wide(tmp_path, width, encoding):
    import fcntl
    import pty
    import select
    import struct
    import termios

    (tmp_path / "p.py").write_text(
        "import time\nbig = bytearray(100 << 20)\ntime.sleep(0.3)\n"
    )
    leader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    process = subprocess.Popen(
        [*RUN, "p.py"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "17"},
    )
    os.close(terminal)
    written = b""
    with process:
        while select.select([leader], [], [], 60)[0]:
            try:
                part = os.read(leader, 65536)
            except OSError:  # EIO: nobody has it open any more
                break
            if not part:
                break
            written += part
        else:
            process.kill()
            pytest.fail("nothing for a minute")
        assert process.stdout.read() == b""
    os.close(leader)
    assert process.returncode == 0
    lines = written.decode(encoding).splitlines()
    assert lines[0] == "memprobe: p.py"
    drawn = lines[lines.index("") + 1 :]
    assert max(map(len, lines)) < width or width == 40
    assert max(map(len, drawn)) in (width - 2, width - 1)
    assert ("┤" in "".join(drawn)) == (encoding == "utf-8")
    assert "100MB" in "".join(drawn)
    assert sum(line.count("█" if encoding == "utf-8" else "#") for line in drawn) > 100
