"""Who sees a spike inside one C call, and what does the sampler cost?

The call holds the GIL and takes 200 MiB for 50 ms. Everybody samples every 5 ms; each
in a process of its own, ten spikes each. Needs a C compiler, psutil and
memory_profiler:

    pip install psutil memory_profiler && python benchmarks/spike.py
"""

import ctypes
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

import memprobe

MB = 2**20
HEIGHT = 200 * MB
INTERVAL = 0.005
SPIKES = 10

SOURCE = """
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
spike(size_t bytes, unsigned microseconds)
{
    char *block = malloc(bytes);
    if (block == NULL) {
        return -1;
    }
    memset(block, 1, bytes);
    usleep(microseconds);
    free(block);
    return 0;
}
"""


def compile_spike(folder):
    (folder / "spike.c").write_text(SOURCE)
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    library = folder / "spike.so"
    # -fno-builtin: or the compiler leaves out memory that nobody reads.
    flags = "-O1 -fno-builtin -shared -fPIC".split()
    command = [*compiler.split(), *flags, folder / "spike.c", "-o", library]
    subprocess.run(command, check=True)
    return library


def with_memprobe(spike):
    with memprobe.sampling(INTERVAL):
        spike()
    seen = [rss for _, rss in memprobe.snapshot().tolist()]
    memprobe.clear()
    return seen


def with_psutil_in_a_thread(spike):
    import psutil

    process = psutil.Process()
    seen, done = [], threading.Event()

    def sample():
        while not done.is_set():
            seen.append(process.memory_info().rss)
            done.wait(INTERVAL)

    thread = threading.Thread(target=sample)
    thread.start()
    spike()
    done.set()
    thread.join()
    return seen


def with_memory_profiler_in_a_thread(spike):
    from memory_profiler import memory_usage

    seen = []

    def sample():
        seen.extend(memory_usage(-1, interval=INTERVAL, timeout=0.4))

    thread = threading.Thread(target=sample)
    thread.start()
    spike()
    thread.join()
    return [int(mebibytes * MB) for mebibytes in seen]


def with_memory_profiler_in_a_process(spike):
    from memory_profiler import memory_usage

    seen = memory_usage((spike, ()), interval=INTERVAL)
    return [int(mebibytes * MB) for mebibytes in seen]


WAYS = {
    "memprobe.sampling()": with_memprobe,
    "psutil in a Python thread": with_psutil_in_a_thread,
    "memory_profiler in a Python thread": with_memory_profiler_in_a_thread,
    "memory_profiler in a process of its own": with_memory_profiler_in_a_process,
}


def measure_spikes(way, library):
    """Print, as JSON, of each spike: how high it was seen, by how many samples."""
    call = ctypes.PyDLL(library).spike  # PyDLL: with the GIL
    call.argtypes = [ctypes.c_size_t, ctypes.c_uint]

    def spike():
        time.sleep(0.1)
        assert call(HEIGHT, 50_000) == 0
        time.sleep(0.1)

    WAYS[way](spike)  # imports
    results = []
    for _ in range(SPIKES):
        before = memprobe.rss()
        seen = WAYS[way](spike)
        high = sum(rss - before > HEIGHT * 0.95 for rss in seen)
        results.append((max(seen) - before, high, len(seen)))
    print(json.dumps(results))


def measure_cost():
    """Print the sampler's CPU time, and what it costs a busy loop."""

    def cpu_of_sleeping(seconds):
        before = time.process_time_ns()
        time.sleep(seconds)
        return time.process_time_ns() - before

    asleep = min(cpu_of_sleeping(1) for _ in range(5))
    for hertz in (100, 1000):
        memprobe.clear()
        memprobe.start_sampling(1 / hertz)
        cpu = cpu_of_sleeping(10) - asleep
        memprobe.stop_sampling()
        count = memprobe.stats().count
        print(
            f"at {hertz:4} Hz: {count} samples in 10 s, {cpu / count / 1000:.1f} µs of "
            f"CPU each, {cpu / 10e9:.3%} of one CPU"
        )

    def busy():
        """Wall-clock time and the thread's own CPU time, in nanoseconds."""
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        total = 0
        for i in range(1_000_000):  # two samples or more
            total += i & 7
        return time.perf_counter_ns() - wall, time.thread_time_ns() - cpu

    off, on = [], []
    for _ in range(200):
        off.append(busy())
        with memprobe.sampling(0.01):
            on.append(busy())
    print("a busy Python loop, best of 200, with the sampler at 100 Hz to without:")
    for i, name in enumerate(("wall clock", "CPU of its thread")):
        without = min(times[i] for times in off)
        sampled = min(times[i] for times in on)
        print(
            f"    {name}: {sampled / 1e6:.2f} ms to {without / 1e6:.2f} ms, "
            f"ratio {sampled / without:.4f}"
        )


def main():
    if sys.argv[1:]:
        measure_spikes(*sys.argv[1:])
        return
    print(f"{SPIKES} spikes of 200 MiB and 50 ms in a C call, sampled every 5 ms\n")
    print("| | lowest | median | highest | samples of the spike |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        library = compile_spike(Path(folder))
        for way in WAYS:
            command = [sys.executable, __file__, way, library]
            results = json.loads(subprocess.check_output(command))
            heights = sorted(height / HEIGHT for height, _, _ in results)
            shown = heights[0], heights[SPIKES // 2], heights[-1]
            cells = " | ".join(f"{max(height, 0):.1%}" for height in shown)
            most = sum(high for _, high, _ in results)
            print(f"| {way} | {cells} | {most} |")
    print()
    measure_cost()


if __name__ == "__main__":
    main()
