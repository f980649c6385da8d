"""A wrong argument: TypeError or ValueError, naming the argument and the value."""

import pytest

import memprobe

pytestmark = pytest.mark.calls_c

NOT_INTS = ["ten", 1.5, None, [3]]


class Broken:
    def __index__(self):
        raise ZeroDivisionError

    __float__ = __index__


@pytest.mark.parametrize("value", NOT_INTS)
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("s", memprobe.humanbytes),
        ("samples", memprobe.memdump),
        ("n", lambda value: memprobe.sample([1], value)),
        ("k", lambda value: memprobe.sample([1], 1, value)),
        ("capacity", lambda value: memprobe.configure(capacity=value or "none")),
    ],
)
def test_what_is_no_int_is_a_type_error(name, call, value):
    with pytest.raises(TypeError) as caught:
        call(value)
    shown = "'none'" if name == "capacity" and value is None else repr(value)
    assert str(caught.value) == f"{name} must be an int, not {shown}"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: memprobe.memdump(-1), "samples must be 0 or more, not -1"),
        (
            lambda: memprobe.memdump(-(10**30)),
            f"samples must be 0 or more, not -{10**30}",
        ),
        (lambda: memprobe.sample([1], -2), "n must be 0 or more, not -2"),
        (lambda: memprobe.sample([1], 1, -3), "k must be 0 or more, not -3"),
        (lambda: memprobe.humanbytes(-1), "s must be from 0 to 2**64 - 1, not -1"),
        (
            lambda: memprobe.humanbytes(2**64),
            f"s must be from 0 to 2**64 - 1, not {2**64}",
        ),
        (lambda: memprobe.configure(capacity=0), "capacity must be 1 or more, not 0"),
        (lambda: memprobe.configure(capacity=-5), "capacity must be 1 or more, not -5"),
    ],
)
def test_what_is_out_of_range_is_a_value_error(call, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, -5, 10**400])
def test_an_interval_is_finite_and_not_negative(value):
    with pytest.raises(
        ValueError, match="min_interval must be a finite number"
    ) as caught:
        memprobe.configure(min_interval=value)
    assert str(caught.value).endswith(f", not {value!r}")


@pytest.mark.parametrize("value", ["soon", [1], 1j])
def test_an_interval_is_a_number(value):
    with pytest.raises(TypeError) as caught:
        memprobe.configure(min_interval=value)
    assert (
        str(caught.value) == f"min_interval must be a number of seconds, not {value!r}"
    )


@pytest.mark.parametrize("value", [5, None, {1: 2}, {3}, iter([1])])
def test_sample_takes_a_sequence(value):
    with pytest.raises(TypeError) as caught:
        memprobe.sample(value, 1)
    assert str(caught.value) == f"x must be a sequence, not {value!r}"


@pytest.mark.parametrize("value", [5, "path", b"path"])
def test_memdump_takes_a_file(value):
    memprobe.sample_mem()
    with pytest.raises(TypeError) as caught:
        memprobe.memdump(file=value)
    assert str(caught.value) == f"file must have a write() method, not {value!r}"
    assert memprobe.stats().count == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: memprobe.humanbytes(Broken()),
        lambda: memprobe.configure(capacity=Broken()),
        lambda: memprobe.configure(min_interval=Broken()),
        lambda: memprobe.memdump(Broken()),
    ],
)
def test_an_exception_of_the_argument_passes_through(call):
    with pytest.raises(ZeroDivisionError):
        call()


def test_configure_takes_keywords_only():
    with pytest.raises(TypeError):
        memprobe.configure(5)
    with pytest.raises(TypeError):
        memprobe.configure(size=5)
