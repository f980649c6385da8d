"""@measure(): what is decorated is measured as what it is, or refused."""

import abc
import asyncio
import functools
import inspect
import json
import pickle
import re
import sys
import time
import types
from unittest import mock

import pytest

from memprobe import measure


def plain(x, *, y: int = 0) -> int:
    """Twice."""
    time.sleep(0.01)
    return 2 * x + y


async def asynchronous(x):
    await asyncio.sleep(0.01)
    return 2 * x


def generator(x):
    yield x
    time.sleep(0.01)
    yield 2 * x


async def async_generator(x):
    yield x
    await asyncio.sleep(0.01)
    yield 2 * x


@types.coroutine
def iterable_coroutine(x):
    yield from asyncio.sleep(0.01).__await__()
    return 2 * x


def logged(function):
    """A decorator that doesn't care whether its function is async."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


def marked(x):
    """As inspect.markcoroutinefunction() marks it, from 3.12 on."""
    return asynchronous(x)


if hasattr(inspect, "markcoroutinefunction"):
    inspect.markcoroutinefunction(marked)


class Host:
    def method(self, x):
        return plain(x)

    async def coroutine(self, x):
        return await asynchronous(x)

    @classmethod
    def of_class(cls, x):
        return plain(x)


async def collect(iterator):
    return [item async for item in iterator]


def use(call):
    """What the call comes to, whatever way it has to be used."""
    result = call(21)
    if inspect.isawaitable(result):
        return asyncio.run(awaiting(result))
    if inspect.isgenerator(result):
        return list(result)[-1]
    if inspect.isasyncgen(result):
        return asyncio.run(collect(result))[-1]
    return result


async def awaiting(awaitable):
    return await awaitable


def told_by_inspect(thing):
    return (
        inspect.iscoroutinefunction(thing),
        inspect.isgeneratorfunction(thing),
        inspect.isasyncgenfunction(thing),
        inspect.ismethod(thing),
        str(inspect.signature(thing)),
    )


CALLABLES = [
    plain,
    asynchronous,
    generator,
    async_generator,
    iterable_coroutine,
    marked,
    logged(plain),
    logged(asynchronous),
    functools.partial(plain, y=0),
    functools.partial(asynchronous),
    functools.partial(generator),
    functools.partial(async_generator),
    Host().method,
    Host().coroutine,
    Host.of_class,
]


@pytest.mark.parametrize("function", CALLABLES, ids=str)
def test_what_can_be_called_is_measured_from_its_start_to_its_end(function):
    m = measure()
    decorated = m(function)
    assert told_by_inspect(decorated) == told_by_inspect(function)
    assert use(decorated) == 42
    assert m.seconds >= 0.01
    assert m.peak >= m.before


def test_a_function_keeps_all_that_can_be_seen_of_it():
    plain.attribute = "seen"
    decorated = measure()(plain)
    assert decorated.__wrapped__ is plain
    assert decorated.attribute == "seen"
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        assert getattr(decorated, name) == getattr(plain, name)
    assert decorated.__annotations__ == plain.__annotations__


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters")
def test_a_function_keeps_its_type_parameters():
    namespace = {}
    exec("def function[T](x: T) -> T: return x", namespace)
    function = namespace["function"]
    assert measure()(function).__type_params__ == function.__type_params__ != ()


@measure()
def pickled(x):
    return x


def test_a_decorated_function_can_be_pickled():
    assert pickle.loads(pickle.dumps(pickled)) is pickled


def test_a_coroutine_that_a_function_returns_keeps_its_name():
    coroutine = measure()(logged(asynchronous))(1)
    assert coroutine.__name__ == coroutine.__qualname__ == "asynchronous"
    assert asyncio.run(coroutine) == 2


def test_a_task_that_a_function_returns_is_that_task():
    async def work():
        def start():
            task = asyncio.ensure_future(asynchronous(21))
            tasks.append(task)
            return task

        tasks = []
        assert measure()(start)() is tasks[0]
        return await tasks[0]

    assert asyncio.run(work()) == 42


def test_a_property_stays_a_property_with_its_value():
    m = measure()

    class Job:
        value = 0

        @m
        @property
        def empty(self):
            """Doc."""
            time.sleep(0.01)
            return self.value

        @empty.setter
        def empty(self, value):
            self.value = value

    job = Job()
    assert job.empty == 0
    assert m.seconds >= 0.01
    job.empty = 5
    assert job.empty == 5
    assert isinstance(Job.__dict__["empty"], property)
    assert Job.empty.__doc__ == "Doc."


def test_a_property_is_measured_when_it_is_read_set_and_deleted():
    calls = []
    m = measure()

    def called(name):
        def accessor(self, *value):
            calls.append((name, *value))
            time.sleep(0.01)

        return accessor

    class Job:
        part = m(property(called("get"), called("set"), called("delete"), "Doc."))

    assert Job.part.__doc__ == "Doc."
    job = Job()
    for use_it in (
        lambda: job.part,
        lambda: setattr(job, "part", 1),
        lambda: delattr(job, "part"),
    ):
        m.seconds = None
        use_it()
        assert m.seconds >= 0.01
    assert calls == [("get",), ("set", 1), ("delete",)]


def test_an_abstract_property_stays_abstract():
    class Abstract(abc.ABC):
        @measure()
        @property
        @abc.abstractmethod
        def part(self): ...

    with pytest.raises(TypeError, match="abstract"):
        Abstract()


def test_a_cached_property_is_measured_once():
    m = measure()

    class Job:
        calls = 0

        @m
        @functools.cached_property
        def part(self):
            """Doc."""
            time.sleep(0.01)
            self.calls += 1
            return []

    job = Job()
    assert job.part is job.part
    assert job.calls == 1
    assert m.seconds >= 0.01
    assert isinstance(Job.part, functools.cached_property)
    assert Job.part.__doc__ == "Doc."


def test_a_cached_property_that_has_its_name_already():
    class Job:
        @functools.cached_property
        def part(self):
            return []

    Job.part = measure()(Job.part)
    job = Job()
    assert job.part is job.part


def test_static_and_class_methods_in_either_order():
    m = measure()

    class Job:
        @m
        @staticmethod
        def static_above(x):
            return plain(x)

        @staticmethod
        @m
        def static_below(x):
            return plain(x)

        @m
        @classmethod
        def class_above(cls, x):
            assert cls in (Job, Child)
            return plain(x)

        @classmethod
        @m
        def class_below(cls, x):
            assert cls in (Job, Child)
            return plain(x)

        @m
        @staticmethod
        async def static_async(x):
            return await asynchronous(x)

    class Child(Job):
        pass

    names = ["static_above", "static_below", "class_above", "class_below"]
    for name in [*names, "static_async"]:
        for owner in (Job, Job(), Child, Child()):
            m.seconds = None
            assert use(getattr(owner, name)) == 42
            assert m.seconds >= 0.01
    assert type(Job.__dict__["static_above"]) is staticmethod
    assert type(Job.__dict__["class_above"]) is classmethod
    assert inspect.iscoroutinefunction(Job.static_async)


def test_partialmethods_bind_as_they_did():
    m = measure()

    class Job(list):
        def add(self, x, y):
            return self, x, y

        @staticmethod
        def add_static(x, y):
            return x, y

        one = m(functools.partialmethod(add, 1))
        one_static = m(functools.partialmethod(add_static, 1))
        length = m(functools.partialmethod(len))
        text = m(functools.partialmethod(str.join, "-"))

    job = Job("ab")
    assert job.one(2) == (job, 1, 2)
    assert job.one_static(2) == (1, 2)
    assert job.length() == 2
    assert type(Job.__dict__["one"]) is functools.partialmethod
    with pytest.raises(TypeError):
        job.text()


@pytest.mark.parametrize(
    ("what", "call", "expected"),
    [
        (len, lambda job: job.part("abc"), 3),
        (json.loads, lambda job: job.part.__func__ is not None, True),
        ("abc".__len__, lambda job: job.part(), 3),
        (re.compile("x").sub, lambda job: job.part("y", "x"), "y"),
        (str.upper, lambda job: type(job).part("abc"), "ABC"),
        (Host().method, lambda job: job.part(21), 42),
        (functools.partial(max, 5), lambda job: type(job).part(7), 7),
        (classmethod(len), lambda job: job.part(), 2),
    ],
)
def test_in_a_class_each_binds_as_it_did(what, call, expected):
    m = measure()

    class Meta(type):
        def __len__(cls):
            return 2

    class Job(metaclass=Meta):
        part = m(what)

    class Plain(metaclass=Meta):
        part = what

    assert call(Plain()) == call(Job()) == expected


def test_a_builtin_function_outside_of_a_class():
    m = measure()
    loads = m(json.loads)
    assert loads("[1]") == [1]
    length = m(len)
    assert length("abc") == 3
    assert (length.__name__, length.__wrapped__.__wrapped__) == ("len", len)


class CalledAsync:
    async def __call__(self, x):
        return 2 * x


class LazyProperty(property):
    pass


@pytest.mark.parametrize(
    "what",
    [
        Host,
        int,
        CalledAsync(),
        functools.lru_cache(plain),
        functools.singledispatchmethod(plain),
        functools.partial(CalledAsync()),
        LazyProperty(plain),
        staticmethod(Host),
        mock.Mock(),
        mock.MagicMock(spec=plain),
        mock.AsyncMock(),
        measure(),
        5,
        None,
    ],
    ids=str,
)
def test_what_would_become_something_else_is_a_type_error_that_says_what_to_do(what):
    with pytest.raises(TypeError, match=r"measure\(\) can't decorate .*: (put|deco)"):
        measure()(what)


def test_the_call_of_an_object_can_be_decorated():
    m = measure()
    call = m(CalledAsync().__call__)
    assert inspect.iscoroutinefunction(call)
    assert use(call) == 42
    assert m.seconds is not None


def test_figures_as_a_dict_are_json():
    m = measure()
    assert set(m.as_dict().values()) == {None}
    with m:
        pass
    assert json.loads(json.dumps(m.as_dict())) == {
        "before": m.before,
        "after": m.after,
        "delta": m.delta,
        "peak": m.peak,
        "seconds": m.seconds,
    }
