"""Use of every kind; test_types.py has it checked as strictly as can be."""

import io
import json
import sys
from functools import cached_property

import memprobe


def size(view: memoryview) -> int:
    return view.nbytes


for ns, rss in memprobe.snapshot().tolist():
    print(ns + 1, rss + 1)

view = memprobe.snapshot()
with memprobe.snapshot() as same:
    print(size(same), same.shape)
one: int = view[0, 1]

items: list[str] = memprobe.sample(("a", "b"), 1)
memprobe.memdump(3, file=io.StringIO())
memprobe.memdump(file=sys.stderr)

count: int = memprobe.stats().count
mean: float | None = memprobe.stats().mean
figures: dict[str, int | float | None] = memprobe.stats().as_dict()
print(json.dumps(figures), json.dumps(memprobe.measure().as_dict()))

process = memprobe.ps()
if process is not None:
    print(process.pid)


class Job:
    @property
    @memprobe.measure()
    def part(self) -> int:
        return 1

    @memprobe.measure()
    @staticmethod
    def static(x: int) -> str:
        return str(x)

    @cached_property
    @memprobe.measure()
    def cached(self) -> bytes:
        return b""


part: int = Job().part
text: str = Job.static(1)
data: bytes = Job().cached


@memprobe.measure()
async def work(x: int) -> str:
    return str(x)


async def use_work() -> str:
    return await work(1)


with memprobe.measure() as m, memprobe.sampling(0.1):
    memprobe.sample_mem()
peak: int | None = m.peak
