"""What a call costs while other threads call too; for a Python without a GIL.

    python3.13t benchmarks/threads.py

Prints calls a second of all threads together: the best of many short rounds, each from
the first start to the last end. threads.c beside this file has the same for the bare
readings.
"""

import os
import sys
import sysconfig
import threading
import time

import memprobe

CALLS = 3000
ROUNDS = 200


def measure(call, threads):
    """Calls a microsecond."""
    starts, ends = [], []
    start = threading.Barrier(threads)

    def work():
        start.wait()
        starts.append(time.perf_counter_ns())
        for _ in range(CALLS):
            call()
        ends.append(time.perf_counter_ns())

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return 1e3 * threads * CALLS / (max(ends) - min(starts))


def nothing_read():
    return memprobe.humanbytes(5)


def main():
    without_gil = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors,", end=" ")
    print("no GIL" if without_gil else "GIL")
    calls = [memprobe.rss, memprobe.sample_mem, nothing_read]
    print("threads", *(f"{call.__name__:>12}" for call in calls), "(million a second)")
    for threads in (1, 2, 4):
        best = [max(measure(call, threads) for _ in range(ROUNDS)) for call in calls]
        print(f"{threads:7}", *(f"{rate:12.2f}" for rate in best))


if __name__ == "__main__":
    main()
