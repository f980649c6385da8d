"""The reader of the observer's files, against what the C writer wrote, and damage."""

import errno
import itertools
import os
import random
import re
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from memprobe import _record_file
from memprobe._record_file import NotARecord, NotWrittenYet, names, read

HERE = Path(__file__).resolve().parent
PAGE = 4096
SECOND = 10**9
WALL = 1_700_000_000 * SECOND  # what the writer's dates are later than its clock
WRITTEN, WALL_AT, PEAK, SWAP, PSS, USS, CGROUP, LIMIT, OOM_KILLS = range(9)
STATUS, SHORT_LIVED, SHORT_LIVED_PEAK, MISSED, STATE, CAUSE = range(9, 15)

linux = pytest.mark.skipif(sys.platform != "linux", reason="what /proc says")


class Writer:
    """The C writer, which does one thing after the other to a file."""

    def __init__(self, program, path):
        self.path = str(path)
        self._process = subprocess.Popen(
            [program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, *lines):
        """Do this, each without an error, and return what is printed."""
        answers = [self.attempt(line) for line in lines]
        assert all(answer[-1] == "ok" for answer in answers)
        return answers[-1][:-1]

    def attempt(self, line):
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = [self._process.stdout.readline().strip()]
        while answer[-1] != "ok" and not answer[-1].isdigit():
            answer.append(self._process.stdout.readline().strip())
        return answer

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def program(compile_c, tmp_path_factory):
    source = HERE.parent.parent / "src"
    if not source.is_dir():
        pytest.skip("no sources beside the tests")
    target = tmp_path_factory.mktemp("writer") / "record_writer"
    files = [HERE / "record_writer.c", source / "record_file.c"]
    return compile_c(target, "-I", source, *files)


@pytest.fixture
def new_writer(program, tmp_path):
    writers = []

    def new(path=tmp_path / "4242-1234567-6a97d127.memprobe", first="begin"):
        writers.append(Writer(program, path))
        writers[-1].do(first)
        return writers[-1]

    yield new
    for writer in writers:
        writer.close()


@pytest.fixture
def full_file(new_writer):
    """A file of five levels, its process ended: 250 000 samples, a spike in them."""
    writer = new_writer()
    writer.do(
        f"sample {100 * SECOND} 20000 500",
        f"many 150000 {SECOND} 0",
        f"sample {150_101 * SECOND} 900000 500",
        f"sample {150_102 * SECOND} 20000 500",
        f"many 99997 {SECOND} 1",
        f"summary {STATE} 1",
        f"summary {STATUS} 3",
        "end",
    )
    return writer.path


def row_of(path):
    """The blocks that the reader takes for sound, as the writer prints them."""
    return [f"{block.first} {block.last} {block.level}" for _, block in blocks_of(path)]


def blocks_of(path):
    """The slots of these blocks, and what they say of themselves."""
    file = _record_file._open(path)
    try:
        row, _ = _record_file._Heads(file).row(thorough=True)
        whole = [_record_file._whole(_record_file._read_block(file, i)) for i in row]
    finally:
        os.close(file)
    return [(i, found.block) for i, found in zip(row, whole, strict=True) if found]


def change_block(path, slot, offset, raw, seal=True):
    """Write over a part of a block, and make its checksums right again."""
    with open(path, "r+b") as file:
        file.seek(slot * 4096)
        block = bytearray(file.read(4096))
        block[offset : offset + len(raw)] = raw
        if seal:
            reseal(block, is_head=slot == 0)
        file.seek(slot * 4096)
        file.write(block)


def reseal(block, is_head):
    def put(at, first, last):
        total = _record_file.checksum(bytes(block[first:last]))
        block[at : at + 8] = total.to_bytes(8, "little")

    if is_head:
        put(16, 24, 2048)
        put(2048, 2056, 3072)
        put(3072, 3080, 4096)
    else:
        (count,) = struct.unpack_from("<I", block, 44)
        put(8, 496, 496 + 12 * min(count, 300))
        put(0, 8, 496)


# -- What the writer wrote ------------------------------------------------------------


def test_each_field_that_was_written_is_read(new_writer):
    writer = new_writer()
    numbers = {
        **{PEAK: 10**9, SWAP: 1, PSS: 2, USS: 3, CGROUP: 4, LIMIT: 5, OOM_KILLS: 6},
        **{SHORT_LIVED: 7, SHORT_LIVED_PEAK: 8, MISSED: 9},
    }
    writer.do(
        *(f"summary {field} {value}" for field, value in numbers.items()),
        f"sample {100 * SECOND} 1000 100",
        f"sample {101 * SECOND} 3000 -1",
        f"sample {102 * SECOND + 5} 2000 200",
        "change 1 gunicorn: worker [app]",
        f"summary {STATE} 2",
        f"summary {STATUS} 9",
        f"summary {CAUSE} 1",
        "end",
    )
    record = read(writer.path)
    told = {name: value for name, value in vars(record).items() if name[0] != "_"}
    date = WALL / SECOND + 102.000000005
    assert told == {
        "path": writer.path,
        **{"pid": 4242, "parent": 1, "recorder": 4001, "pid_namespace": 4026531836},
        "command": ["python", "app.py", "\udcff"],
        "title": "gunicorn: worker [app]",
        **{"uid": 33, "user": "www-data", "host": "somewhere"},
        "boot": "6a97d127-2497-4b6e-add0-f98d22665e22",
        **{"page_size": PAGE, "interval": 1.5, "count": 3, "seconds": 2.000000005},
        **{"state": "died", "signal": 9, "cause": "out of memory"},
        **{"started": WALL / SECOND + 90, "ended": date},
        **{"recorded_until": date, "last_seen": date},
        **{"first": 1000 * PAGE, "last": 2000 * PAGE, "mean": 2000 * PAGE},
        **{"min": 1000 * PAGE, "max": 3000 * PAGE, "peak": 10**9, "shared": 200 * PAGE},
        **{"swap": 1, "pss": 2, "uss": 3, "cgroup_memory": 4, "memory_limit": 5},
        "cgroup_growth_per_hour": None,
        **{"oom_kills": 6, "short_lived": 7, "short_lived_peak": 8, "missed": 9},
    }
    assert record.status is None
    assert record.growth_per_hour is None  # of so short a life
    start = WALL / SECOND + 100
    assert list(record.samples()) == [
        (start, 1000 * PAGE, 100 * PAGE),
        (start + 1, 3000 * PAGE, None),
        (start + 2.000000005, 2000 * PAGE, 200 * PAGE),
    ]


def test_what_is_not_known_is_none(new_writer):
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 1000 -1", f"summary {STATE} 1", "end")
    record = read(writer.path)
    assert record.state == "exited"
    unknown = "status signal cause swap pss uss cgroup_memory memory_limit oom_kills"
    unknown += " short_lived short_lived_peak missed shared title growth_per_hour"
    assert {getattr(record, name) for name in unknown.split()} == {None}
    assert record.peak == 1000 * PAGE


def test_before_the_first_sample_there_is_the_head(new_writer):
    record = read(new_writer().path)
    assert (record.pid, record.count, record.seconds) == (4242, 0, 0)
    assert record.started == WALL / SECOND
    assert record.first is record.peak is record.mean is record.last_seen is None
    assert list(record.samples()) == record.envelope() == []


def test_a_long_life_is_read_back_in_order_with_its_spike(full_file):
    record = read(full_file)
    assert (record.state, record.status) == ("exited", 3)
    assert (record.count, record.seconds) == (250_000, 249_999)
    assert record.min == 20000 * PAGE
    assert record.max == record.peak == 900000 * PAGE
    total = 150_001 * 20000 + 900000 + sum(range(20000, 20000 + 99998))
    assert record.mean == total * PAGE / 250_000
    samples = list(record.samples())
    assert os.path.getsize(full_file) // 4096 * 300 > len(samples) > 20_000
    assert [date for date, _, _ in samples] == sorted({date for date, _, _ in samples})
    ((date, _, _),) = [sample for sample in samples if sample[1] == 900000 * PAGE]
    assert date == pytest.approx(WALL / SECOND + 150_101, abs=0.001)
    for date, rss, _ in samples:
        second = round(date - WALL / SECOND)
        pages = 20000 + max(0, second - 150_102)
        assert rss == (900000 if second == 150_101 else pages) * PAGE
    assert samples[-1][0] == pytest.approx(WALL / SECOND + 250_099)


def test_the_envelope_has_the_extremes_where_they_were(full_file):
    record = read(full_file)
    for most in (1, 7, 30, 66, 1000):
        spans = record.envelope(most)
        assert len(spans) == min(most, 66)
        assert [date for date, _, _ in spans] == sorted(d for d, _, _ in spans)
        assert min(low for _, low, _ in spans) == record.min
        assert max(high for _, _, high in spans) == record.max
        (spiked,) = [k for k, (_, _, high) in enumerate(spans) if high == record.max]
        assert spiked == 150_001 * len(spans) // 250_000
    dates = [date for date, _, _ in record.envelope(2)]
    assert [date - WALL / SECOND for date in dates] == pytest.approx(
        [62_600, 187_600], abs=9
    )


def test_pages_that_do_not_fit_32_bits_are_left_out_but_in_the_totals(new_writer):
    writer = new_writer()
    writer.do(
        f"sample {100 * SECOND} 5 -1",
        f"sample {101 * SECOND} {2**32 + 5} {2**32}",
        f"sample {102 * SECOND} {2**32 - 2} {2**32 - 2}",
    )
    record = read(writer.path)
    assert record.max == (2**32 + 5) * PAGE
    assert record.mean == (5 + 2**32 + 5 + 2**32 - 2) * PAGE / 3
    assert [rss for _, rss, _ in record.samples()] == [5 * PAGE, (2**32 - 2) * PAGE]
    assert record.envelope(1)[0][1:] == (5 * PAGE, (2**32 + 5) * PAGE)


def test_a_stepped_clock_tears_no_record(new_writer):
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 5 5", f"many 600 {SECOND} 0")
    # As if the clock had been an hour slow until the last sample.
    change_block(writer.path, 2, 200, struct.pack("<q", WALL + (701 + 3600) * SECOND))
    for slot in range(1, os.path.getsize(writer.path) // 4096):
        change_block(
            writer.path, slot, 200, struct.pack("<q", WALL + (700 + 3600) * SECOND)
        )
    record = read(writer.path)
    dates = [date for date, _, _ in record.samples()]
    assert dates[0] == WALL / SECOND + 3700
    assert dates[-1] == WALL / SECOND + 4300
    assert record.started == WALL / SECOND + 3690


def test_the_module_that_makes_files_for_tests_makes_sound_ones(
    record_files, program, tmp_path, new_writer
):
    samples = [(i * 0.5, (50 << 20) + i * PAGE, 3 * PAGE) for i in range(1000)]
    path = record_files.write(tmp_path, samples, host="there", **WRITERS_OWN)
    record = read(str(path))
    assert (record.state, record.status, record.host) == ("exited", 0, "there")
    assert [rss for _, rss, _ in record.samples()] == [rss for _, rss, _ in samples]
    writer = new_writer(path, "continue")
    assert writer.do("row") == row_of(str(path))
    writer.do("many 1 1 0")
    assert read(str(path)).count == 1001


WRITERS_OWN = {
    "pid": 4242,
    "start": 1234567,
    "boot": "6a97d127-2497-4b6e-add0-f98d22665e22",
}


def test_docs_have_each_field_where_it_is(compile_c, tmp_path):
    checkout = HERE.parent.parent
    docs = (checkout / "docs" / "file-format.md").read_text(encoding="utf-8")
    header = (checkout / "src" / "record_file.h").read_text(encoding="utf-8")
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    fields = set(re.findall(r"^ +\w+ (\w+)(?:\[\w+\])?; *$", code, re.M))
    checks = []
    for struct_name, begin, end in [
        ("head", "## The head", "At 2 048"),
        ("changing", "At 2 048", "## Data blocks"),
        ("block", "**The range**", "**The summary**"),
        ("block", "**The summary**", "**A sample**"),
    ]:
        prefix = "summary." if begin == "**The summary**" else ""
        table = docs.partition(begin)[2].partition(end)[0]
        for at, field in re.findall(r"^\| (\d+) \|[^|]+\| `(\w+)` \|", table, re.M):
            fields.discard(field)
            place = (
                f"struct mp_record_{struct_name}, {prefix * (field != 'later')}{field}"
            )
            checks.append(f"_Static_assert(offsetof({place}) == {at}, {field!r});")
    source = tmp_path / "checks.c"
    lines = ['#include "record_file.h"', *checks]
    source.write_text("\n".join(lines).replace("'", '"'))
    compile_c(tmp_path / "checks.o", "-c", "-I", checkout / "src", source)
    # Those of samples have sentences, a writer's lie in memory.
    of_samples, of_writers = (
        "time pages shared",
        "unwritten newest_slot full slot written",
    )
    assert fields == {*of_samples.split(), *of_writers.split()}


# -- Damage ---------------------------------------------------------------------------


def test_a_torn_newest_block_falls_back_on_the_one_before(new_writer):
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 5 5", f"many 99 {SECOND} 1")
    whole = Path(writer.path).read_bytes()
    newest = blocks_of(writer.path)[-1][0] * 4096
    for cut in (0, 8, 40, 100, 496, 500, 4095):
        data = bytearray(whole)
        data[newest + cut] ^= 1
        Path(writer.path).write_bytes(data)
        record = read(writer.path)
        if cut < 496 + 100 * 12:
            assert (record.count, record.last) == (99, 103 * PAGE)
            assert len(list(record.samples())) == 99
        else:
            assert record.count == 100  # behind the samples


def test_a_damaged_block_lacks_and_nothing_else(full_file):
    row = row_of(full_file)
    blocks = blocks_of(full_file)
    all_samples = list(read(full_file).samples())
    change_block(full_file, blocks[7][0], 3000, b"\xff\xff", seal=False)
    assert row_of(full_file) == row[:7] + row[8:]
    samples = list(read(full_file).samples())
    assert samples == all_samples[: 7 * 300] + all_samples[8 * 300 :]
    assert read(full_file).count == 250_000


def test_reader_and_writer_agree_on_what_is_damaged(full_file, new_writer):
    """So nobody goes on in a file that another one reads otherwise."""
    rng = random.Random(5)
    whole = Path(full_file).read_bytes()
    slots = len(whole) // 4096
    writer = new_writer(Path(full_file).with_name("copy"))
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 8)):
            at = rng.randrange(1, slots) * 4096 + int(4096 * rng.random() ** 4)
            if rng.random() < 0.5:
                data[at] ^= 1 << rng.randrange(8)
            else:  # half of another block
                other = rng.randrange(1, slots) * 4096
                end = at - at % 4096 + 4096
                data[at:end] = data[other + at % 4096 : other + 4096]
        Path(writer.path).write_bytes(data)
        writer.do("continue")
        assert writer.do("row") == row_of(writer.path)


def hostile_numbers():
    for offset in range(0, 304, 8):
        for number in (0, 300, 2**63, 2**64 - 1):
            yield offset, struct.pack("<Q", number)
        yield offset + 4, struct.pack("<I", 2**32 - 1)


def test_numbers_that_cannot_be_do_no_harm(new_writer):
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 5 5", f"many 400 {SECOND} 1")
    whole = Path(writer.path).read_bytes()
    outcomes = set()
    for slot in (0, 1, 2, 3):
        for offset, raw in hostile_numbers():
            block = bytearray(whole[slot * 4096 : slot * 4096 + 4096])
            where = offset + 1800 if slot == 0 and offset > 200 else offset
            block[where : where + len(raw)] = raw
            change_block(writer.path, slot, 0, block)
            try:
                record = read(writer.path)
            except NotARecord as error:
                outcomes.add(str(error))
                continue
            samples = list(record.samples())
            assert samples == sorted(samples, key=lambda sample: sample[0])
            assert len(samples) <= 401
            record.envelope()
            outcomes.add(record.count)
        change_block(writer.path, slot, 0, whole[slot * 4096 : slot * 4096 + 4096])
    assert 401 in outcomes
    assert "its first block says what can't be" in outcomes


def test_ranges_that_contain_each_other_are_read_once(new_writer):
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 5 5", f"many 1499 {SECOND} 1")
    row = row_of(writer.path)
    slots = os.path.getsize(writer.path) // 4096
    data = Path(writer.path).read_bytes()
    # A copy of each block: the same range, an older number.
    for slot in range(1, slots):
        place = slots + slot - 1
        Path(writer.path).write_bytes(
            Path(writer.path).read_bytes() + data[slot * 4096 : slot * 4096 + 4096]
        )
        change_block(writer.path, place, 32, struct.pack("<Q", 1))
    assert row_of(writer.path) == row
    assert len(list(read(writer.path).samples())) == 1500
    # A sound block that says it stands for everything.
    change_block(writer.path, slots, 16, struct.pack("<QQ", 0, 1498))
    assert row_of(writer.path)[0] == "0 1498 0"
    record = read(writer.path)
    assert len(list(record.samples())) <= 600


def test_levels_that_cannot_be_lack(new_writer):
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 5 5", f"many 899 {SECOND} 1")
    row = row_of(writer.path)
    blocks = blocks_of(writer.path)
    for level in (1, 55, 56, 64, 2**32 - 1):
        change_block(writer.path, blocks[1][0], 40, struct.pack("<I", level))
        assert row_of(writer.path) == [row[0], row[2]]
        assert len(list(read(writer.path).samples())) == 600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "nothing is written in it yet"),
        (b"hello", "not a file of memprobe's recorder"),
        (b"memprobe", "the file ends within its first block"),
        (b"memprobe" + bytes(4088), "version 0 of the format; this reads 2"),
        (
            b"memprobe" + struct.pack("<II", 1, 4096) + bytes(4096 + 65535 * 16),
            "version 1 of the format; this reads 2",
        ),
        (
            b"memprobe" + struct.pack("<I", 2) + bytes(4084),
            "its first block is damaged",
        ),
    ],
)
def test_what_is_no_file_of_ours(content, message, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(NotARecord) as caught:
        read(str(path))
    assert str(caught.value) == message
    assert isinstance(caught.value, NotWrittenYet) == (content == b"")


def test_what_is_no_file_at_all(tmp_path):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(NotARecord, match="not a regular file"):
            read(str(tmp_path / "fifo"))
    with pytest.raises(NotARecord, match="not a regular file"):
        read(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "nothing"))


def test_a_file_of_any_size_is_refused_unread(new_writer):
    writer = new_writer()
    os.truncate(writer.path, 1 << 20)
    assert read(writer.path).count == 0
    os.truncate(writer.path, 1 << 40)
    with pytest.raises(NotARecord, match="larger than"):
        read(writer.path)


def test_a_head_cut_short_while_it_changed_keeps_the_older_part(new_writer):
    writer = new_writer()
    writer.do("change 7 a title", "change 8 another title")
    whole = Path(writer.path).read_bytes()
    assert (read(writer.path).parent, read(writer.path).title) == (8, "another title")
    data = bytearray(whole)
    data[2048 + 1000] ^= 1
    Path(writer.path).write_bytes(data)
    assert read(writer.path).parent in (7, 8)
    data[3072 + 1000] ^= 1
    Path(writer.path).write_bytes(data)
    with pytest.raises(NotARecord, match="its first block is damaged"):
        read(writer.path)


# -- While it is written --------------------------------------------------------------


def test_reading_while_it_is_written(new_writer):
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 1000 1")
    done = threading.Event()

    def write():
        while not done.is_set():
            writer.do(f"many 500 {SECOND} 1")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        count, record = 0, None
        end = time.monotonic() + 2
        while time.monotonic() < end:
            record = read(writer.path, record)
            assert record.count >= count
            count = record.count
            assert record.last == (1000 + count - 1) * PAGE
            before = None
            for date, rss, _ in record.samples():
                second = round(date - WALL / SECOND) - 100
                assert rss == (1000 + second) * PAGE
                assert before is None or second > before
                before = second
            # What is torn meanwhile falls back on the write before.
            assert before + 300 >= count
    finally:
        done.set()
        thread.join()
    assert count > 10_000


def test_samples_go_on_behind_what_was_merged_meanwhile(new_writer):
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 1000 1", f"many 4999 {SECOND} 1")
    samples = read(writer.path).samples()
    seen = [next(samples) for _ in range(700)]
    writer.do(f"many 20000 {SECOND} 1")
    seen += samples
    dates = [date for date, _, _ in seen]
    assert dates == sorted(set(dates))
    gaps = [later - date for date, later in itertools.pairwise(dates)]
    assert max(gaps) < 40  # merged, and none left out


def test_a_second_reading_reads_only_what_changed(new_writer, monkeypatch):
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 1000 1", f"many 6000 {SECOND} 1")
    sizes = []
    pread = _record_file._pread

    def counted(file, count, offset):
        sizes.append(count)
        return pread(file, count, offset)

    monkeypatch.setattr(_record_file, "_pread", counted)
    record = read(writer.path)
    blocks = os.path.getsize(writer.path) // 4096
    assert sum(sizes) < blocks * 120 + 40_000  # heads, and few blocks
    for i in range(600):
        writer.do(f"many 1 {SECOND} 1", "change 9 later")
        sizes.clear()
        record = read(writer.path, record)
        assert record.count == 6002 + i
        assert record.title == "later"
        if i % 300 not in (298, 299, 0, 1, 2):  # where a block ends
            assert sum(sizes) <= 3 * 4096 * 2
    # Growth and spread are made anew with each block.
    assert record.envelope(1)[0][2] > 6300 * PAGE


def test_a_reading_says_the_same_with_and_without_an_earlier_one(new_writer):
    rng = random.Random(3)
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 1000 1")
    record = None
    for i in range(300):
        writer.do(f"many {rng.choice([1, 1, 2, 3, 50, 300, 700])} {SECOND} 1")
        if rng.random() < 0.2:
            writer.do("continue")
        if rng.random() < 0.2:
            writer.do(f"change {i} x")
        record = read(writer.path, record)
        fresh = read(writer.path)
        for name in ("count", "last", "mean", "parent", "state", "recorded_until"):
            assert getattr(record, name) == getattr(fresh, name)


def test_a_reading_long_after_the_earlier_one_finds_what_is_newest(new_writer):
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 1000 1", f"many 5297 {SECOND} 1")
    for later in range(5300, 5600, 7):  # its slots are used for other blocks by then
        record = read(writer.path)
        writer.do(f"many {later} {SECOND} 1")
        assert read(writer.path, record).count == read(writer.path).count


def test_a_newest_block_in_another_slot_is_found(new_writer):
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 1000 1", f"many 5 {SECOND} 1")
    record = read(writer.path)
    newest, _ = blocks_of(writer.path)[-1]
    data = Path(writer.path).read_bytes()
    with open(writer.path, "ab") as file:
        file.write(data[newest * 4096 : newest * 4096 + 4096])
    ended = struct.pack("<I", 1)
    change_block(writer.path, len(data) // 4096, 32, struct.pack("<Q", 99))
    change_block(writer.path, len(data) // 4096, 296, ended)
    assert read(writer.path, record).state == "exited"


def test_records_are_small(full_file):
    read(full_file)
    tracemalloc.start()
    try:
        records = [read(full_file) for _ in range(20)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(records) < 12_000


# -- States ---------------------------------------------------------------------------


@pytest.fixture
def living(record_files, tmp_path):
    """Make the file of a process that ran when it was written, by default this one."""

    def write(ago=0.1, pid=None, start=None, **facts):
        clock = time.clock_gettime(time.CLOCK_BOOTTIME) - 100 - ago
        pid = pid or os.getpid()
        start = start or record_files.this_start(pid)
        samples = [(0, 50 << 20), (100, 60 << 20)]
        return record_files.write(
            *(tmp_path, samples),
            **{"pid": pid, "start": start, "clock": clock},
            **{"started": time.time() - 100 - ago, "state": "running", **facts},
        )

    return write


@linux
def test_what_is_held_is_running(living, record_files):
    path = living()
    with record_files.hold(path):
        record = read(str(path))
        assert (record.state, record.recorded_until, record.ended) == (
            "running",
            None,
            None,
        )
        assert record.last_seen == pytest.approx(time.time(), abs=2)


@linux
def test_what_is_held_but_not_written_says_since_when(living, record_files):
    path = living(ago=4.5)
    with record_files.hold(path):
        record = read(str(path))
    assert record.state == "running"
    assert record.recorded_until == record.last_seen
    assert record.last_seen == pytest.approx(time.time() - 4.5, abs=2)
    path = living(ago=4.5, interval=5)
    with record_files.hold(path):
        assert read(str(path)).recorded_until is None


@linux
def test_a_living_process_that_nobody_records_is_running(living):
    record = read(str(living()))
    assert (record.state, record.ended) == ("running", None)
    assert record.recorded_until == record.last_seen is not None


@linux
def test_a_process_that_is_gone_has_ended(living):
    process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    process.wait()
    record = read(str(living(pid=process.pid, start=7)))
    assert record.state == "ended"
    assert record.ended == record.last_seen == record.recorded_until
    assert (record.status, record.signal, record.cause) == (None, None, None)


@linux
def test_a_number_that_was_given_away_again_is_not_the_process(living):
    assert read(str(living(start=7))).state == "ended"


@linux
def test_a_zombie_has_ended(living, record_files):
    process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    stat = Path(f"/proc/{process.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    path = living(pid=process.pid)
    assert read(str(path)).state == "ended"
    process.wait()


@linux
@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({"pid_namespace": 5}, "unknown"),
        ({"boot": "11111111-2222"}, "ended"),
        ({"boot": "11111111-2222", "host": "elsewhere"}, "unknown"),
        ({"host": "elsewhere"}, "running"),  # the boot's id says more than a name
    ],
)
def test_without_a_lock_it_is_judged_by_boot_namespace_and_host(living, facts, state):
    record = read(str(living(**facts)))
    assert record.state == state
    assert record.recorded_until == record.last_seen is not None
    assert (record.ended is None) == (state != "ended")


@linux
def test_where_there_are_no_locks_a_process_never_died(
    living, monkeypatch, record_files
):
    import fcntl

    def no_locks(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    path = living()
    monkeypatch.setattr(fcntl, "flock", no_locks)
    record = read(str(path))
    assert (record.state, record.recorded_until) == ("running", None)
    record = read(str(living(ago=5)))
    assert record.state == "running"
    assert record.recorded_until == record.last_seen
    record = read(str(living(pid_namespace=5)))
    assert (record.state, record.ended) == ("unknown", None)
    assert record.last_seen == pytest.approx(time.time(), abs=2)


@linux
def test_an_end_that_was_written_is_believed_whoever_holds_the_file(
    living, record_files
):
    path = living(state="exited", status=4)
    with record_files.hold(path):
        record = read(str(path))
    assert (record.state, record.status) == ("exited", 4)
    assert record.ended == record.last_seen


@linux
def test_an_end_written_just_before_the_lock_goes_is_seen(living, monkeypatch):
    """The observer writes it, then lets go: between reading and asking for the lock."""
    path = living()
    is_held = _record_file._is_held

    def ends_meanwhile(name, file):
        living(state="died", status=9)
        return is_held(name, file)

    monkeypatch.setattr(_record_file, "_is_held", ends_meanwhile)
    record = read(str(path))
    assert (record.state, record.signal) == ("died", 9)


def test_names_are_those_of_the_oldest_processes_first(record_files, tmp_path):
    wanted = []
    for day, boot in enumerate(["ffffffff-1", "00000000-1"]):
        for start, pid in [(5, 900), (60, 7), (60, 8), (700, 1)]:
            path = record_files.write(
                tmp_path, [(0, 1 << 20)], pid=pid, start=start, boot=boot
            )
            os.utime(path, (1000 + day, 1000 + day + start))
            wanted.append(path.name)
    wanted.insert(-1, wanted[-1].replace(".memprobe", "-4026532290.memprobe"))
    wanted.append("1-2.memprobe")  # of version 1
    others = ("x.memprobe", "1-2-abc.memprobe", "1-2-00000000.tmp", "1-2--3.memprobe")
    for name in (wanted[-3], wanted[-1], *others):
        (tmp_path / name).touch()
    assert names(str(tmp_path)) == wanted


# -- Growth ---------------------------------------------------------------------------


def growth_of(record_files, folder, rss_at, seconds, step=1.0):
    rng = random.Random(1)
    samples = [
        (i * step, int(rss_at(i * step) + rng.gauss(0, 1e6)))
        for i in range(int(seconds / step))
    ]
    return read(str(record_files.write(folder, samples))).growth_per_hour


@pytest.mark.parametrize(
    ("seconds", "step"), [(7200, 1), (3600, 1), (36000, 2), (20000, 30)]
)
def test_a_leak_of_20_mb_an_hour_reads_19_to_21(record_files, tmp_path, seconds, step):
    def leak(t):
        return 100e6 + 20e6 * t / 3600

    growth = growth_of(record_files, tmp_path, leak, seconds, step)
    assert 19e6 < growth < 21e6


@pytest.mark.parametrize(
    "shape",
    {
        "flat": lambda t: 100e6,
        "step": lambda t: 100e6 if t < 4000 else 300e6,
        "plateau": lambda t: 100e6 + min(t, 1200) * 1e5,
        "spike": lambda t: 600e6 if 3000 < t < 3300 else 100e6,
        "late spikes": lambda t: 500e6 if t > 6500 and t % 3 == 0 else 100e6,
        "start-up": lambda t: min(t, 20) * 5e6,
        "end": lambda t: 100e6 if t < 7100 else 10e6,
    }.items(),
    ids=lambda shape: shape[0],
)
def test_what_is_no_leak_reads_0(record_files, tmp_path, shape):
    growth = growth_of(record_files, tmp_path, shape[1], 7200)
    assert abs(growth) < 0.5e6


def test_growth_that_slows_down_is_what_it_is_at_its_slowest(record_files, tmp_path):
    def filling(t):
        return 100e6 + 100e6 * min(t, 2400) / 3600 + 10e6 * t / 3600

    growth = growth_of(record_files, tmp_path, filling, 7200)
    assert growth == pytest.approx(10e6, rel=0.2)


def test_growth_of_less_than_a_minute_is_not_told(record_files, tmp_path):
    def leak(t):
        return 100e6 + 1e6 * t

    assert growth_of(record_files, tmp_path, leak, 60, 0.5) is None
    assert growth_of(record_files, tmp_path, leak, 62) == pytest.approx(3600e6, rel=0.2)


def test_growth_of_a_merged_life(new_writer):
    """Where a block stands for hours and spikes are what is left of many samples."""
    writer = new_writer()
    writer.do(f"sample {100 * SECOND} 20000 1")
    pages = 0
    for hour in range(100):
        writer.do(
            f"many 3 {300 * SECOND} 0",
            f"sample {(1300 + hour * 3600) * SECOND} 90000 1",
            f"sample {(1301 + hour * 3600) * SECOND} {20000 + pages} 1",
            f"many 2199 {SECOND} 0",
        )
        pages += 20
    growth = read(writer.path).growth_per_hour
    assert growth == pytest.approx(20 * PAGE, rel=0.05)
