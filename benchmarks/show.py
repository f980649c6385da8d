"""What memprobe show costs: against the number of files, of samples, and followed.

    python benchmarks/show.py

CPU seconds are the least of several runs, memory is the peak beyond that of a bare
interpreter. The files are those of processes with so many samples each; of one such
file there are hard links, so the disk isn't measured. What is followed are files that
are held and get a sample between any two looks, as those of the observer.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 3
LOOKS = 20
MB = 2**20
FULL = 76_000  # samples of a file that is full of them

HERE = Path(__file__).resolve().parent
WRITER = HERE.parent / "tests" / "observer" / "record_files.py"

# The peak that a child begins with is what its parent has: a small one starts it.
LAUNCHER = """
import os, sys
runs, *command = sys.argv[1:]
figures = []
nowhere = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
for _ in range(int(runs)):
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=nowhere)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, status
    figures.append((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
print([min(column) for column in zip(*figures)])
"""

FOLLOWING = """
import os, sys, time
from memprobe._cli.show import follow
folder, looks = sys.argv[1], int(sys.argv[2])
costs = []
def wait(seconds):
    costs.append(time.process_time() - begun[0])
    print(flush=True)
    sys.stdin.readline()
    begun[0] = time.process_time()
    return len(costs) == looks
begun = [time.process_time()]
follow([folder], open(os.devnull, "w"), wait=wait)
print(costs)
"""


def writer():
    spec = importlib.util.spec_from_file_location(WRITER.stem, WRITER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def samples_of(count):
    # Within an hour: the clock of the machine may not go back farther.
    step = min(1, 3000 / count)
    return [(i * step, (60 + i % 13) * MB, 20 * MB) for i in range(count)]


def least(command):
    """Return the least CPU seconds and peak MB of a command."""
    launcher = [sys.executable, "-c", LAUNCHER, str(RUNS), *command]
    done = subprocess.run(launcher, stdout=subprocess.PIPE, check=True, cwd="/")
    return json.loads(done.stdout)


def reading(files):
    """Print what it costs to show so many files of so many samples."""
    _, bare = least([sys.executable, "-c", "pass"])
    print("files  samples  output         CPU s      MB")
    for count, samples in [(1, 300), (1000, 300), (1, FULL), (100, FULL), (1000, FULL)]:
        with tempfile.TemporaryDirectory() as folder:
            first = files.write(folder, samples_of(samples), pid=1)
            for pid in range(2, count + 1):
                os.link(first, f"{folder}/{first.name.replace('1-', f'{pid}-', 1)}")
            for output in ("", "--json", "--openmetrics", "--csv -"):
                if output == "--csv -" and count > 1:
                    continue  # as long as there are samples
                command = [sys.executable, "-m", "memprobe", "show", folder]
                seconds, peak = least(command + output.split())
                print(
                    f"{count:5}  {samples:7}  {output or 'table':13}"
                    f"  {seconds:6.2f}  {peak - bare:6.1f}"
                )


def following(files):
    """Print what a look costs at 100 files of processes that are being recorded."""
    print("\nfollowed  samples  ms of CPU a look: least, median")
    for count in (100, 3000, 60_000):
        with tempfile.TemporaryDirectory() as folder:
            costs = sorted(follow(files, folder, count)[2:])
        print(
            f"{100:8}  {count:7}  {costs[0] * 1e3:6.1f}"
            f"  {costs[len(costs) // 2] * 1e3:6.1f}"
        )


def follow(files, folder, count):
    """Return what each look cost, in seconds."""
    samples = samples_of(count + LOOKS)
    seconds = samples[count - 1][0]
    facts = {
        "clock": time.clock_gettime(time.CLOCK_BOOTTIME) - seconds,
        "started": time.time() - seconds,
        "state": "running",
    }
    held = []
    for pid in range(1, 101):
        if pid == 1:
            path = files.write(folder, samples[:count], pid=pid, **facts)
            content = path.read_bytes()
        else:
            path = path.with_name(path.name.replace(f"{pid - 1}-", f"{pid}-", 1))
            path.write_bytes(content)
        held.append(files.hold(path))
    # The newest block is written to two places by turns.
    full = count // files.SAMPLES
    before = samples[: full * files.SAMPLES]
    newest = [
        files.block(
            samples[len(before) : count + 1 + look],
            number=full + 2 + look,
            before=before,
            page_bytes=4096,
            **facts,
        )
        for look in range(LOOKS)
    ]
    command = [sys.executable, "-c", FOLLOWING, folder, str(LOOKS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    ) as process:
        for look in range(LOOKS):
            process.stdout.readline()
            place = files.BLOCK * (full + 1 + (look + 1) % 2)
            for file in held:
                os.pwrite(file.fileno(), newest[look], place)
            process.stdin.write("\n")
            process.stdin.flush()
        return json.loads(process.stdout.readline())


def main():
    files = writer()
    reading(files)
    following(files)


if __name__ == "__main__":
    main()
