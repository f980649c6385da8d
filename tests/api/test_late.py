"""Once memprobe is imported it imports nothing, prints nothing and encodes nothing."""

import os
import sys

import pytest

# What a program may replace, and an importer that has gone, as after a chroot.
HOSTILE = """
import sys
sys.modules["multiprocessing"] = None
import memprobe
import builtins, functools, gc, io, os, time

def refuse(*args, **kwargs):
    raise AssertionError(f"asked for {args}")

class Refusing:
    find_spec = refuse

class Writer:
    text = ""

    def write(self, text):
        self.text += text

def rely_on_nothing():
    sys.meta_path[:] = [Refusing]
    sys.path[:] = []
    builtins.print = builtins.open = builtins.input = io.open = refuse
    for clock in ("time", "monotonic", "perf_counter", "time_ns", "monotonic_ns"):
        setattr(time, clock, lambda: 12345)
    time.sleep = refuse
    gc.collect = os.open = os.getpid = refuse

class Job:
    @property
    def part(self):
        return 1

    @functools.cached_property
    def cached(self):
        return 2

async def work():
    return 3

def use_everything():
    memprobe.sample_mem()
    readings = memprobe.rss(), memprobe.peak_rss(), memprobe.mem_rss()
    assert all(readings)
    if sys.platform == "linux":
        assert memprobe.rss_anon() > 0
    assert memprobe.above(1)
    memprobe.start_sampling(0.001)
    with memprobe.measure() as block:
        work_a_while()
    memprobe.stop_sampling()
    assert 0 < block.seconds < 60
    with memprobe.sampling(0.001):
        pass
    for part in (Job.part, Job.__dict__["cached"], work, work_a_while, len):
        assert memprobe.measure()(part) is not None
    memprobe.measure()(work_a_while)()
    assert memprobe.measure()(len)("abc") == 3
    try:
        memprobe.measure()(Job)
    except TypeError:
        pass
    assert memprobe.stats().as_dict()["count"] == len(memprobe.snapshot().tolist())
    assert memprobe.sample([1, 2, 3], 2) == [1, 2]
    out = Writer()
    memprobe.memdump(file=out)
    assert out.text.endswith("B.\\n")
    memprobe.configure(capacity=10, min_interval=0)
    memprobe.sample_mem()
    memprobe.clear()
    assert memprobe.get_include()

def work_a_while():
    return sum(range(100_000))
"""

AT_THE_END = """
memprobe.start_sampling(0.001)
memprobe.measure().__enter__()
"""


def test_nothing_is_imported_and_nothing_replaced_is_asked_once_it_is_there(run_python):
    run_python(
        f"{HOSTILE}\nrely_on_nothing()\nuse_everything()\n{AT_THE_END}",
        env={"PYTHONWARNDEFAULTENCODING": "1"},
    )


@pytest.mark.no_sanitizer  # LeakSanitizer needs /proc, and its thread
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork")
def test_nothing_is_imported_in_a_forked_child(run_python):
    run_python(
        f"""{HOSTILE}
memprobe.start_sampling(0.001)
rely_on_nothing()
pid = os.fork()
use_everything()
if pid != 0:
    assert os.waitpid(pid, 0)[1] == 0
{AT_THE_END}""",
        env={"PYTHONWARNDEFAULTENCODING": "1"},
    )


@pytest.mark.no_sanitizer  # LeakSanitizer needs /proc, and its thread
@pytest.mark.skipif(sys.platform != "linux", reason="chroot")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="no root")
def test_everything_goes_on_after_a_chroot(run_python, tmp_path):
    run_python(
        f"""{HOSTILE}
os.chroot({str(tmp_path)!r})
os.chdir("/")
use_everything()
{AT_THE_END}""",
        env={"PYTHONWARNDEFAULTENCODING": "1"},
    )
