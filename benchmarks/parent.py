"""What `memprobe run` costs a program: how much longer it takes, its own CPU time, and
how soon it is looked at.

python benchmarks/parent.py [ROUNDS]

prints JSON. Each is measured in turn with plain python, and where it is installed with
mprof; of times the least counts, of CPU times the ratio of the least.
"""

import csv
import datetime
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time

SHORT = "import time; time.sleep(0.035)"  # with python's own start about 50 ms
# A fixed amount of work, by its CPU time.
WORK = """
import resource, sys
kept = []
for i in range(9000):
    kept.append(b"x" * 100_000)
    sum(range(20_000))
    if len(kept) > 1000:
        kept.clear()
usage = resource.getrusage(resource.RUSAGE_SELF)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_utime + usage.ru_stime))
"""


def ways():
    """How a program can be run: by what comes before it."""
    python = [sys.executable]
    found = {
        "plain": python,
        "memprobe run": [*python, "-m", "memprobe", "run", "--quiet"],
    }
    script = os.path.join(os.path.dirname(sys.executable), "memprobe")
    if os.path.exists(script):
        found["memprobe run, by its script"] = [script, "run", "--quiet"]
    if importlib.util.find_spec("mprof"):
        found["mprof run"] = [*python, "-m", "mprof", "run", "-o", os.devnull, *python]
    return found


def run(command, **options):
    null = subprocess.DEVNULL
    options = {"stdin": null, "stdout": null, "stderr": null, **options}
    return subprocess.run(command, check=True, timeout=300, **options)


def wall(rounds):
    """Seconds that a short program takes, the least of each way."""
    least = dict.fromkeys(ways(), float("inf"))
    for _ in range(rounds):
        for name, before in ways().items():
            start = time.perf_counter()
            run([*before, "-c", SHORT])
            least[name] = min(least[name], time.perf_counter() - start)
    return least


def cpu(rounds, folder):
    """Seconds of CPU that the same work takes the program itself."""
    program = os.path.join(folder, "work.py")
    with open(program, "w") as file:
        file.write(WORK)
    told = os.path.join(folder, "told")
    least = dict.fromkeys(ways(), float("inf"))
    for _ in range(rounds):
        for name, before in ways().items():
            run([*before, program, told])
            with open(told) as file:
                least[name] = min(least[name], float(file.read()))
    return least


def first_sample(rounds):
    """Seconds from a program's first action to its first sample, the least and all."""
    command = [sys.executable, "-m", "memprobe", "run", "--csv", "-", "--quiet"]
    program = ["sh", "-c", "date +%s.%N; sleep 0.2"]
    found = []
    for _ in range(rounds):
        out = run([*command, *program], stdout=subprocess.PIPE).stdout.decode()
        began, *lines = out.splitlines()
        row = next(csv.DictReader(lines))
        started = datetime.datetime.fromisoformat(row["started"].replace("Z", "+00:00"))
        found.append(started.timestamp() + float(row["seconds"]) - float(began))
    return sorted(found)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        short = wall(rounds)
        work = cpu(max(rounds // 4, 3), folder)
    sooner = first_sample(rounds)
    figures = {
        "extra_ms": {k: (v - short["plain"]) * 1e3 for k, v in short.items()},
        "plain_ms": short["plain"] * 1e3,
        "cpu_ratio": {name: value / work["plain"] for name, value in work.items()},
        "cpu_seconds": work["plain"],
        "first_sample_ms": {
            "least": sooner[0] * 1e3,
            "median": sooner[len(sooner) // 2] * 1e3,
        },
    }
    json.dump(figures, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
