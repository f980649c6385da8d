"""What it costs to be recorded, and what the observer costs.

    python benchmarks/observer.py [record | samples | family]

Where a program is measured with and without it, the two do the same rounds in turn, and
printed is the ratio of their least times. Linux.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = 5
ROUNDS = 1500
SAMPLES = 200  # in a round: 0.3 ms, shorter than a time slice
CHILDREN = 100
SECONDS = 30

SAMPLER = """
import sys, timeit
import memprobe
if len(sys.argv) > 1:
    memprobe.record(sys.argv[1])
timer = timeit.Timer(memprobe.sample_mem)
timer.timeit(100_000)
for line in sys.stdin:
    print(timer.timeit(int(line)), flush=True)
"""

# Prints the milliseconds that record() took, beside so many GB that it holds.
BESIDE = """
import mmap, sys, tempfile, time
import memprobe
size = int(float(sys.argv[1]) * 2**30)
if size:
    held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, size, mmap.PAGESIZE):
        held[at] = 1
for _ in range(20):
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        memprobe.record(folder)
        print((time.perf_counter() - began) * 1e3)
        memprobe.stop_recording()
        time.sleep(0.05)
"""

FAMILY = """
import os, sys, time
import memprobe
memprobe.record(sys.argv[1])
for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        time.sleep(1000)
        os._exit(0)
print(flush=True)
time.sleep(1000)
"""


def record():
    """record() until it returns, beside nothing and beside gigabytes."""
    for gigabytes in (0, 2, 5):
        command = [sys.executable, "-c", BESIDE, str(gigabytes)]
        printed = subprocess.check_output(command, text=True)
        times = sorted(map(float, printed.split()))
        middle = statistics.median(times)
        print(
            f"record() beside {gigabytes} GB: least {times[0]:.2f} ms, median "
            f"{middle:.2f} ms"
        )


def sample_times():
    """Return the nanoseconds of a sample, without and with: two lists of rounds."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SAMPLER, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    bufsize=1,
                    cwd=folder,
                )
            )
            for arguments in ([], [folder])
        ]
        times = [[], []]
        for number in range(ROUNDS):
            for which in (number % 2, 1 - number % 2):
                process = processes[which]
                process.stdin.write(f"{SAMPLES}\n")
                times[which].append(float(process.stdout.readline()) / SAMPLES * 1e9)
        return times


def samples():
    """sample_mem(), recorded and not."""
    ratios = []
    for _ in range(RUNS):
        plain, recorded = map(min, sample_times())
        ratios.append(recorded / plain)
        print(
            f"sample_mem(): {plain:.0f} ns, "
            f"recorded {recorded:.0f} ns, {ratios[-1]:.3f}"
        )
    print(f"median of the ratios: {statistics.median(ratios):.3f}")


def observer_of(pid):
    """Find the observer that was started for this process."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline") as file:
            command = file.read().split("\0")
            if command[0] == "_observer" and str(pid) in command[4:]:
                return int(name)
    raise SystemExit("no observer was found")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def peak_rss(pid):
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["VmHWM"].split()[0]) * 1024


def observe(children, seconds):
    """What the observer of so many processes takes that stand still.

    It looks ten times a second, and stores each second.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", FAMILY, folder, str(children)]
        options = {"stdout": subprocess.PIPE, "start_new_session": True}
        with subprocess.Popen(command, **options) as process:
            process.stdout.readline()
            time.sleep(min(11, seconds))  # until they are no longer new
            observer = observer_of(process.pid)
            before, began = cpu_seconds(observer), time.monotonic()
            time.sleep(seconds)
            used = cpu_seconds(observer) - before
            share = used / (time.monotonic() - began)
            found = {"cpu_percent": share * 100, "rss": peak_rss(observer)}
            os.killpg(process.pid, 9)
        time.sleep(0.5)  # until it has ended
    return found


def family():
    """The observer alone, and with children."""
    for children in (0, CHILDREN):
        found = observe(children, SECONDS)
        print(
            f"{children} children, looked at ten times a second: "
            f"{found['cpu_percent']:.2f} % of a CPU, {found['rss'] / 2**20:.1f} MB"
        )


def figure(seconds):
    """For run.py, as JSON."""
    json.dump(observe(CHILDREN, float(seconds)), sys.stdout)


def main():
    if sys.argv[1:2] == ["figure"]:
        return figure(sys.argv[2])
    named = sys.argv[1:] or ["record", "samples", "family"]
    for name in named:
        {"record": record, "samples": samples, "family": family}[name]()


if __name__ == "__main__":
    main()
