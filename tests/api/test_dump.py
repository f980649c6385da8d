"""memdump() and sample(): what people see first."""

import builtins
import gc
import io
import re
import sys
import threading

import pytest

import memprobe

pytestmark = [pytest.mark.calls_c, pytest.mark.threads]


def dump(*args, **kwargs):
    out = io.StringIO()
    memprobe.memdump(*args, file=out, **kwargs)
    return out.getvalue().splitlines()


def take(count):
    """Take samples; return their texts, most of them different."""
    texts = []
    grown = []
    for _ in range(count):
        texts.append(memprobe.sample_mem())
        grown.append(bytearray(64 * 1024))
    return texts


def test_documented_example_prints_ten_samples_with_both_ends_and_the_end_line(capsys):
    texts = take(100)
    memprobe.memdump()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert lines[0] == "- rss (sample):"
    picked = [texts[i * 99 // 9] for i in range(10)]
    assert lines[1:11] == [f"-    > {text}," for text in picked]
    assert picked[0] == texts[0]
    assert picked[-1] == texts[-1]
    assert re.fullmatch(r"- rss \(end\): [\d.]+MB\.", lines[11])


def test_all_samples_are_printed_if_they_fit():
    texts = take(7)
    assert dump(7)[1:-1] == [f"-    > {text}," for text in texts]
    texts = take(3)
    assert dump(10**30)[1:-1] == [f"-    > {text}," for text in texts]


@pytest.mark.parametrize("samples", range(2, 25))
def test_spread_is_even_with_both_ends_and_nothing_twice(samples):
    memprobe.configure(capacity=23)
    take(40)
    stored = [rss for _, rss in memprobe.snapshot().tolist()]
    count = min(samples, 23)
    indices = [i * 22 // (count - 1) for i in range(count)]
    assert len(set(indices)) == count
    printed = dump(samples)[1 : count + 1]
    assert printed == [f"-    > {memprobe.humanbytes(stored[i])}," for i in indices]


def test_one_sample_is_the_newest():
    texts = take(30)
    lines = dump(1)
    assert lines[:2] == ["- rss (sample):", f"-    > {texts[-1]},"]
    assert len(lines) == 3


def test_no_samples_is_the_end_line_alone_and_forgets():
    memprobe.configure(capacity=5)
    take(9)
    (line,) = dump(0)
    assert line.startswith("- rss (end): ")
    assert memprobe.stats() == (0, 0, 0, None, None, None, None, None, None)


def test_empty_ring_prints_the_end_line_alone():
    (line,) = dump()
    assert line.startswith("- rss (end): ")


def test_overwritten_samples_are_counted_before_the_end_line():
    memprobe.configure(capacity=10)
    take(1244)
    lines = dump()
    assert lines[-2] == "- rss (overwritten): 1234 older samples."
    assert len(lines) == 13
    take(10)
    assert not any("overwritten" in line for line in dump())


def test_file_none_is_the_stdout_of_that_moment(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    memprobe.memdump()
    assert out.getvalue().startswith("- rss (end): ")


def test_without_stdout_nothing_is_forgotten(monkeypatch):
    take(3)
    monkeypatch.setattr(sys, "stdout", None)
    memprobe.memdump()
    assert memprobe.stats().count == 3


def test_a_print_that_the_program_has_replaced_is_not_asked(monkeypatch):
    monkeypatch.setattr(builtins, "print", lambda *args, **kwargs: None)
    take(3)
    assert len(dump()) == 5
    assert memprobe.stats().count == 0


def test_each_line_is_one_write_whatever_that_returns():
    class Cutting:
        """As a log that strips what it gets, and says how much it took."""

        def write(self, text):
            lines.append(text)
            return len(text.strip()) - 5

    lines = []
    take(2)
    memprobe.memdump(file=Cutting())
    assert len(lines) == 4
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines)


def test_any_object_with_write_will_do():
    class Writer:
        text = ""

        def write(self, text):
            self.text += text

    writer = Writer()
    take(2)
    memprobe.memdump(file=writer)
    assert writer.text.count("\n") == 4


def test_a_file_that_raises_at_any_write_loses_no_sample():
    class Full:
        def __init__(self, writes):
            self.writes = writes

        def write(self, text):
            if self.writes == 0:
                raise OSError(28, "No space left on device")
            self.writes -= 1

    take(4)
    writes = 0
    while True:
        try:
            memprobe.memdump(file=Full(writes))
            break
        except OSError:
            pass
        assert memprobe.stats().count == 4
        writes += 1
    assert writes == 6
    assert memprobe.stats().count == 0


def test_samples_that_come_while_it_prints_stay():
    class Sampling(io.StringIO):
        def write(self, text):
            if "sample" in text:
                late.extend(take(2))
            return super().write(text)

    late = []
    take(3)
    memprobe.memdump(file=Sampling())
    assert memprobe.stats().count == 2
    assert dump()[1:-1] == [f"-    > {text}," for text in late]


def test_a_dump_inside_a_dump():
    class Dumping(io.StringIO):
        def write(self, text):
            if "sample" in text:
                inner.extend(dump())
            return super().write(text)

    inner = []
    texts = take(3)
    outer = Dumping()
    memprobe.memdump(file=outer)
    assert inner[1:-1] == [f"-    > {text}," for text in texts]
    assert outer.getvalue().splitlines()[1:-1] == inner[1:-1]
    assert memprobe.stats().count == 0


def test_the_end_line_comes_after_a_collection():
    class Cycle:
        def __init__(self):
            self.me = self

        def __del__(self):
            collected.append(True)

    collected = []
    gc.disable()
    try:
        Cycle()
        dump()
    finally:
        gc.enable()
    assert collected == [True]


def test_sampling_from_threads_during_dumps_loses_nothing():
    """Every sample is printed exactly once, or still there at the end."""
    threads, each = 4, 2000
    memprobe.configure(capacity=threads * each)
    printed = 0

    def work():
        for _ in range(each):
            memprobe.sample_mem()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        printed += sum(line.startswith("-    > ") for line in dump(10**9))
    printed += sum(line.startswith("-    > ") for line in dump(10**9))
    assert printed == threads * each


# sample(x, n, k)


def test_sample_gives_every_tenth():
    assert memprobe.sample(list(range(100)), 10) == list(range(0, 100, 10))
    assert memprobe.sample(list(range(100)), 10, 5) == list(range(5, 100, 10))
    assert memprobe.sample(range(100), 10, k=95) == [95]
    assert memprobe.sample("abcdef", 3) == ["a", "c", "e"]


def test_sample_by_its_definition():
    for length in range(25):
        x = list(range(length))
        for n in range(27):
            for k in range(28):
                result = memprobe.sample(x, n, k)
                if n >= length:
                    expected = x[k:]
                else:
                    expected = []
                    for i in range(n):
                        if k + i * length // n >= length:
                            break
                        expected.append(x[k + i * length // n])
                assert result == expected
                assert len(set(result)) == len(result) <= n or n >= length


def test_sample_is_an_even_spread_that_reaches_the_latest_part():
    for length in range(11, 20):
        result = memprobe.sample(list(range(length)), 10)
        assert len(set(result)) == 10
        assert result[-1] >= length - 2
    assert memprobe.sample([1, 2, 3], 10) == [1, 2, 3]
    assert memprobe.sample([1, 2, 3], 0) == []
    assert memprobe.sample([], 5) == []
