"""Any order of calls, against a model: a deque, and a list of what the totals cover."""

import collections
import gc
import io
import statistics

import pytest

import memprobe

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

HOUR = 3600


class Writer(io.StringIO):
    """Calls `meanwhile` at the first write; raises at write `fails_at`, from 0."""

    def __init__(self, fails_at=None, meanwhile=lambda: None):
        super().__init__()
        self.fails_at = fails_at
        self.meanwhile = meanwhile
        self.writes = 0

    def write(self, text):
        if self.writes == 0:
            self.meanwhile()
        if self.writes == self.fails_at:
            raise OSError(28, "No space left on device")
        self.writes += 1
        return super().write(text)


class Model:
    """What memprobe promises, in plain Python. A sample is a row of snapshot()."""

    def __init__(self):
        self.stored = collections.deque(maxlen=65536)
        self.overwritten = 0
        self.summed = []
        self.min_interval = 0

    def push(self, row):
        self.overwritten += len(self.stored) == self.stored.maxlen
        self.stored.append(row)
        self.summed.append(row)

    def resize(self, capacity):
        self.overwritten += max(0, len(self.stored) - capacity)
        self.stored = collections.deque(self.stored, maxlen=capacity)

    def forget(self, later):
        """All but the `later` newest; what is overwritten of these stays counted."""
        if later == len(self.stored) + self.overwritten:
            return
        kept = min(later, len(self.stored))
        self.stored = collections.deque(
            list(self.stored)[len(self.stored) - kept :], maxlen=self.stored.maxlen
        )
        self.overwritten = later - kept
        self.summed = list(self.stored)

    def lines(self, samples):
        """What memdump() prints, but for the end line."""
        rows = list(self.stored)
        if samples == 0 or not rows:
            return []
        if samples == 1:
            picked = rows[-1:]
        elif samples >= len(rows):
            picked = rows
        else:
            last = len(rows) - 1
            picked = [rows[i * last // (samples - 1)] for i in range(samples)]
        lines = ["- rss (sample):"]
        lines += [f"-    > {memprobe.humanbytes(rss)}," for _, rss in picked]
        if self.overwritten:
            lines.append(f"- rss (overwritten): {self.overwritten} older samples.")
        return lines

    def stats(self):
        count = len(self.stored) + self.overwritten
        if not self.summed:
            return (count, 0, self.overwritten, *(None,) * 6)
        values = [rss for _, rss in self.summed]
        return (
            *(count, len(self.stored), self.overwritten, values[0], values[-1]),
            *(min(values), max(values), statistics.mean(values)),
            (self.summed[-1][0] - self.summed[0][0]) / 1e9,
        )


class Samples(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        memprobe.configure(capacity=65536, min_interval=0)
        memprobe.clear()
        self.model = Model()
        self.grown = []

    @rule(times=st.integers(1, 5), grow=st.booleans())
    def sample_mem(self, times, grow):
        for _ in range(times):
            if grow:
                self.grown.append(bytearray(200_000))
            text = memprobe.sample_mem()
            if self.model.min_interval == 0 or not self.model.stored:
                self.model.push(memprobe.snapshot().tolist()[-1])
            assert text == memprobe.humanbytes(self.model.stored[-1][1])

    @rule(capacity=st.integers(1, 12) | st.just(65536))
    def resize(self, capacity):
        memprobe.configure(capacity=capacity)
        self.model.resize(capacity)

    @rule(capacity=st.sampled_from([0, -1, 2**50, 2**64, 2**64 - 1, 2**100, "x"]))
    def resize_in_vain(self, capacity):
        with pytest.raises((ValueError, MemoryError, TypeError)):
            memprobe.configure(capacity=capacity, min_interval=HOUR)

    @rule(seconds=st.sampled_from([0, HOUR]))
    def min_interval(self, seconds):
        memprobe.configure(min_interval=seconds)
        self.model.min_interval = seconds

    @rule(samples=st.integers(0, 14))
    def memdump(self, samples):
        out = Writer()
        memprobe.memdump(samples, file=out)
        lines = out.getvalue().splitlines()
        assert lines[:-1] == self.model.lines(samples)
        assert lines[-1].startswith("- rss (end): ")
        self.model.forget(later=0)

    @rule(samples=st.integers(0, 14), times=st.integers(1, 15))
    def memdump_while_sampling(self, samples, times):
        lines = self.model.lines(samples)
        before = memprobe.stats().count

        def meanwhile():
            self.sample_mem(times, grow=False)

        out = Writer(meanwhile=meanwhile)
        memprobe.memdump(samples, file=out)
        assert out.getvalue().splitlines()[:-1] == lines
        # Within the interval nothing was stored, unless it was the first.
        later = len(self.model.stored) + self.model.overwritten - before
        self.model.forget(later)

    @rule(samples=st.integers(0, 14), fails_at=st.integers(0, 20))
    def memdump_that_may_fail(self, samples, fails_at):
        lines = [*self.model.lines(samples), "end"]
        out = Writer(fails_at=fails_at)
        if fails_at < len(lines):  # each of them is one write
            with pytest.raises(OSError, match="No space"):
                memprobe.memdump(samples, file=out)
        else:
            memprobe.memdump(samples, file=out)
            self.model.forget(later=0)

    @rule()
    def memdump_inside_memdump(self):
        lines = self.model.lines(10)
        inner = Writer()
        outer = Writer(meanwhile=lambda: memprobe.memdump(file=inner))
        memprobe.memdump(file=outer)
        for out in (inner, outer):
            assert out.getvalue().splitlines()[:-1] == lines
        self.model.forget(later=0)

    @rule()
    def clear(self):
        memprobe.clear()
        self.model.forget(later=0)

    @invariant()
    def snapshot_is_the_models(self):
        view = memprobe.snapshot()
        assert view.shape == (len(self.model.stored), 2)
        assert view.tolist() == list(self.model.stored)
        times = [ns for ns, _ in self.model.stored]
        assert times == sorted(times)

    @invariant()
    def stats_are_the_models(self):
        assert memprobe.stats() == self.model.stats()


def test_any_order_of_calls():
    gc.freeze()  # each dump collects, which takes a hundred times as long otherwise
    try:
        run_state_machine_as_test(
            Samples,
            settings=settings(
                max_examples=60,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        gc.unfreeze()


@settings(deadline=None)
@given(
    st.one_of(
        st.lists(st.integers()),
        st.text(),
        st.binary(),
        st.builds(range, st.integers(0, 500)),
    ),
    st.integers(0, 600),
    st.integers(0, 600),
)
def test_sample_is_its_definition_for_any_sequence(x, n, k):
    result = memprobe.sample(x, n, k)
    if n >= len(x):
        assert result == list(x)[k:]
    else:
        indices = [k + i * len(x) // n for i in range(n)]
        assert result == [x[i] for i in indices if i < len(x)]
    assert len(result) <= max(n, 0)


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_humanbytes_is_the_nearest_text_of_five_digits(number):
    text = memprobe.humanbytes(number)
    unit = text.lstrip("0123456789.")
    power = ["b", "KB", "MB", "GB", "TB"].index(unit)
    digits = text[: -len(unit)]
    whole, _, decimals = digits.partition(".")
    assert power == 4 or number < 1024 ** (power + 1)
    assert power == 0 or number >= 1024**power
    if number % 1024**power == 0:
        assert digits == str(number // 1024**power)
        return
    # Off by half of the last of five digits at most; zeros at the end are left out.
    places = max(0, 5 - len(str(number // 1024**power)))
    assert len(decimals) <= places
    shown = int(whole + decimals.ljust(places, "0"))
    assert abs(shown * 1024**power - number * 10**places) * 2 <= 1024**power
