"""Bytes that a stored sample takes, in memprobe's ring and in the list of Celery's
module, and the time that a copy of the full ring takes.

As a program, `storage.py memprobe|celery|snapshot COUNT` measures in this process and
prints JSON.
"""

import json
import sys
import time

from imports import rss


def bytes_per_sample(module, count):
    if module == "memprobe":
        import memprobe

        sample_mem = memprobe.sample_mem
    else:
        from celery.utils.debug import sample_mem

        sample_mem()
    rss()
    before = rss()
    if module == "memprobe":
        memprobe.configure(capacity=count)  # allocates, and touches, the whole ring
    for _ in range(count):
        sample_mem()
    return {"samples": count, "bytes_per_sample": (rss() - before) / count}


def snapshot(count):
    import memprobe

    for _ in range(count):
        memprobe.sample_mem()
    times = []
    for _ in range(500):
        start = time.perf_counter_ns()
        samples = memprobe.snapshot()
        times.append(time.perf_counter_ns() - start)
        if len(samples) != count:
            sys.exit(f"the ring holds {len(samples)} samples, not {count}")
        del samples
    return {"samples": count, "ns": min(times)}


if __name__ == "__main__":
    what, count = sys.argv[1], int(sys.argv[2])
    measured = snapshot(count) if what == "snapshot" else bytes_per_sample(what, count)
    json.dump(measured, sys.stdout)
