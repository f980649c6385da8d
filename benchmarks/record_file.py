"""What the observer's file costs: its size, a stored sample, and reading it.

    python benchmarks/record_file.py

A file for each length of a life with a sample a second, by the C writer that the tests
use. What a store costs includes its write. Times of reading are the least of many, of
CPU; the last line is about 1 000 files like the longest one.
"""

import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from imports import rss

from memprobe import _record_file

CHECKOUT = Path(__file__).resolve().parent.parent
LIVES = {  # and a bit: the newest block of the longer ones isn't full
    "a minute": 60,
    "an hour": 3677,
    "a day": 86_477,
    "a month": 30 * 86_400 + 77,
}
FILES = 1000


def compile_writer(folder):
    writer = Path(folder) / "writer"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    source = CHECKOUT / "src"
    files = [CHECKOUT / "tests/observer/record_writer.c", source / "record_file.c"]
    subprocess.run([*compiler, "-O2", f"-I{source}", *files, "-o", writer], check=True)
    return writer


def write(writer, path, count):
    """Write a life that ended well; return the ns of CPU of each sample."""
    lines = "begin\nsample 1000000000 20000 500\n"
    lines += f"many {count - 1} 1000000000 0\nsummary 13 1\nend\n"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [writer, path], input=lines.encode(), check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return used / count * 1e9


def least(function, seconds=0.5):
    """Return the least CPU time of a call, in ms."""
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or not times:
        start = time.process_time_ns()
        function()
        times.append(time.process_time_ns() - start)
    return min(times) / 1e6


def lives(writer, folder):
    print("life         slots     KiB   ns a store   ms: read  again  all samples")
    for name, count in LIVES.items():
        path = str(Path(folder) / "1-1-00000000.memprobe")
        Path(path).unlink(missing_ok=True)
        cost = write(writer, path, count)
        record = _record_file.read(path)
        if record.count != count or record.state != "exited":
            sys.exit(f"{path} has {record.count} samples and is {record.state}")
        size = os.path.getsize(path)
        read = least(lambda path=path: _record_file.read(path))
        again = least(lambda path=path, r=record: _record_file.read(path, r))
        samples = least(lambda r=record: sum(1 for _ in r.samples()))
        print(
            f"{name:10}  {size // 4096:6}  {size // 1024:6}  {cost:10.0f}"
            f"  {read:8.2f} {again:6.2f} {samples:8.1f}"
        )
    return path


def many(path, folder):
    copies = Path(folder) / "many"
    copies.mkdir()
    for pid in range(FILES):
        shutil.copy(path, copies / f"{pid}-1-00000000.memprobe")
    before = rss()
    start = time.process_time()
    records = [_record_file.read(str(copies / n)) for n in _record_file.names(copies)]
    seconds = time.process_time() - start
    print(
        f"{len(records)} files of {records[0].count} samples:"
        f" {seconds:.2f} s of CPU, {(rss() - before) / 2**20:.1f} MB kept"
    )


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = lives(compile_writer(folder), folder)
        many(path, folder)


if __name__ == "__main__":
    main()
