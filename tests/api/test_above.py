"""above(): is RSS above a limit, and was it for so long?"""

import time

import pytest

import memprobe

MIB = 2**20


@pytest.fixture(autouse=True)
def no_older_samples(fresh_ring):
    """Those of other tests are forgotten, which doesn't blind above()."""
    memprobe.configure(capacity=1)
    memprobe.sample_mem()
    memprobe.configure(capacity=65536)
    memprobe.clear()


def sample_for(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        memprobe.sample_mem()
        time.sleep(seconds / 20)


def test_now_alone_needs_no_samples():
    rss = memprobe.rss()
    assert memprobe.above(0) is True
    assert memprobe.above(rss - MIB) is True
    assert memprobe.above(rss + 50 * MIB) is False
    assert memprobe.above(limit=2**70, seconds=0.0) is False
    assert memprobe.stats().count == 0


def test_without_samples_that_reach_back_it_is_false():
    assert memprobe.above(1, 60) is False
    memprobe.sample_mem()
    assert memprobe.above(1, 60) is False
    sample_for(0.2)
    assert memprobe.above(1, 0.1) is True
    assert memprobe.above(1, 60) is False


def test_each_sample_of_the_time_has_to_be_above():
    limit = memprobe.rss() + 25 * MIB
    memprobe.sample_mem()
    kept = bytearray(b"x") * (50 * MIB)
    assert memprobe.above(limit) is True
    assert memprobe.above(limit, 1e-6) is False  # the last one known was below
    sample_for(0.7)
    assert memprobe.above(limit, 0.5) is True
    assert memprobe.above(limit, 60) is False
    del kept
    memprobe.sample_mem()
    kept = bytearray(b"x") * (50 * MIB)
    memprobe.sample_mem()
    assert memprobe.above(limit, 0.5) is False
    sample_for(0.7)
    assert memprobe.above(limit, 0.5) is True
    del kept
    assert memprobe.above(limit, 0.5) is False  # it isn't any more
    assert memprobe.above(limit) is False


def test_a_lone_older_sample_tells_if_there_is_none_within_the_time():
    limit = memprobe.rss() - MIB
    memprobe.sample_mem()
    time.sleep(0.05)
    assert memprobe.above(limit, 0.02) is True
    assert memprobe.above(limit, 60) is False


def test_forgetting_does_not_blind_it():
    sample_for(0.2)
    memprobe.clear()
    assert memprobe.stats().count == 0
    assert memprobe.above(1, 0.1) is True
    memprobe.sample_mem()
    memprobe.clear()
    assert memprobe.above(1, 0.1) is True


def test_a_ring_that_is_too_small_for_the_time_is_false():
    memprobe.configure(capacity=3)
    sample_for(0.2)
    assert memprobe.above(1, 0.1) is False
    assert memprobe.above(1, 0.001) is True


@pytest.mark.parametrize("capacity", [1, 255, 256, 257, 1000])
def test_a_low_sample_is_found_wherever_it_is(capacity):
    """Held or overwritten, both are a no: one is below, or they don't reach back."""
    limit = memprobe.rss() + 25 * MIB
    memprobe.configure(capacity=capacity)
    kept = bytearray(b"x") * (50 * MIB)
    memprobe.sample_mem()
    time.sleep(0.01)
    since = time.monotonic() - 0.005
    del kept
    memprobe.sample_mem()
    kept = bytearray(b"x") * (50 * MIB)
    assert kept[0] == ord("x")
    for taken in range(1, 2 * capacity):
        memprobe.sample_mem()
        if taken in (1, capacity - 2, capacity - 1, capacity):
            assert memprobe.above(limit, time.monotonic() - since) is False
            assert memprobe.above(limit) is True
    assert memprobe.above(limit, 1e-6) is True


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("x",), TypeError, "limit must be an int, not 'x'"),
        ((1.5e9,), TypeError, "limit must be an int, not 1500000000.0"),
        ((None,), TypeError, "limit must be an int, not None"),
        ((-1,), ValueError, "limit must be 0 or more, not -1"),
        ((-(2**80),), ValueError, f"limit must be 0 or more, not {-(2**80)}"),
        ((1, "x"), TypeError, "seconds must be a number of seconds, not 'x'"),
        ((1, None), TypeError, "seconds must be a number of seconds, not None"),
        (
            (1, -1),
            ValueError,
            "seconds must be a finite number of seconds, 0 or more, not -1",
        ),
        (
            (1, float("inf")),
            ValueError,
            "seconds must be a finite number of seconds, 0 or more, not inf",
        ),
        (
            (1, float("nan")),
            ValueError,
            "seconds must be a finite number of seconds, 0 or more, not nan",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(arguments, error, message):
    with pytest.raises(error) as caught:
        memprobe.above(*arguments)
    assert str(caught.value) == message
