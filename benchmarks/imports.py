"""What an import costs: time, and the RSS that it and the first reading add.

As a program, `imports.py MODULE STATEMENT` measures in this process and prints JSON.
"""

import json
import sys
import time

# By module: its first reading.
FIRST_READINGS = {
    "memprobe": "memprobe.sample_mem()",
    "psutil": "psutil.Process().memory_info().rss",
    "celery.utils.debug": "celery.utils.debug.sample_mem()",
    "memory_profiler": "memory_profiler.memory_usage(-1, interval=0)",
}


def rss():
    """RSS in bytes, by Python's own means: none of the rivals measures itself."""
    from os import sysconf

    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * sysconf("SC_PAGESIZE")


def measure(module, first_reading):
    namespace = {}
    import_it = compile(f"import {module}", "import", "exec")
    read_it = compile(first_reading, "reading", "exec")
    rss()  # what it needs itself is loaded now
    before = rss()
    start = time.perf_counter_ns()
    exec(import_it, namespace)
    ns = time.perf_counter_ns() - start
    imported = rss()
    exec(read_it, namespace)
    return {
        "ns": ns,
        "rss_import": imported - before,
        "rss_first_reading": rss() - before,
    }


if __name__ == "__main__":
    json.dump(measure(*sys.argv[1:]), sys.stdout)
