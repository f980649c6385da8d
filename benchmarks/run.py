"""All figures of the docs by one command, from a checkout with memprobe installed:

python benchmarks/run.py

measures for some minutes, writes results/figures.json, and from that file the pages'
tables and results/readings.svg (which report.py does alone, too). Other programs that
run meanwhile cost time, hardly accuracy: what is compared is measured in turn, and only
the least times count.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

import chart
import imports
import machine
import readings
import report
import tables
from floor import build

HERE = os.path.dirname(os.path.abspath(__file__))
MILLION = 1_000_000


def run_script(script, *arguments):
    """Run one of these files in a process of its own; return what it prints as JSON."""
    command = [sys.executable, os.path.join(HERE, script), *map(str, arguments)]
    result = subprocess.run(command, stdout=subprocess.PIPE, timeout=300, check=True)
    return json.loads(result.stdout)


def show(text):
    print(text, file=sys.stderr, flush=True)


def measure_readings(library, processes, rounds):
    """Each reading in so many processes. All readings take turns, so that a busy minute
    of the machine doesn't fall on one of them.
    """
    results = {}
    for name, reading in readings.READINGS.items():
        results[name] = {**reading._asdict(), "processes": []}
        if readings.missing(reading):
            results[name]["skipped"] = f"{reading.module} is not installed"
            show(f"{name}: {results[name]['skipped']}")
    for _ in range(processes):
        for name, result in results.items():
            if "skipped" not in result:
                measured = run_script("readings.py", name, library, rounds)
                result["processes"].append(measured)
    for name, result in results.items():
        if "skipped" not in result:
            ratios = [measured["ratio"] for measured in result["processes"]]
            result["ratio"] = statistics.median(ratios)
            result["least_ratio"] = min(ratios)
            result["ns"] = min(measured["ns"] for measured in result["processes"])
            show(f"{name}: {result['ratio']:.3f}")
    return results


def measure_imports(processes):
    results = {}
    for module, first_reading in imports.FIRST_READINGS.items():
        # The first process only writes the bytecode files.
        measured = [
            run_script("imports.py", module, first_reading)
            for _ in range(processes + 1)
        ][1:]
        results[module] = {
            "ns": min(one["ns"] for one in measured),
            "rss_import": statistics.median(one["rss_import"] for one in measured),
            "rss_first_reading": statistics.median(
                one["rss_first_reading"] for one in measured
            ),
            "processes": measured,
        }
        show(f"import {module}: {results[module]['ns'] / 1e6:.2f} ms")
    return results


def measure(quick):
    """All figures; quickly: that everything runs, not what it costs."""
    figures = {"machine": machine.describe()}
    with tempfile.TemporaryDirectory() as folder:
        library = build("floor.c", folder)
        states = build("states.c", folder)
        processes, rounds = (1, 5) if quick else (5, 300)
        figures["readings"] = measure_readings(library, processes, rounds)
        figures["states"] = run_script("states.py", states, rounds)
        figures["imports"] = measure_imports(1 if quick else 15)
        few = 10_000 if quick else None
        figures["storage"] = {
            "memprobe": run_script("storage.py", "memprobe", few or MILLION),
            "celery": run_script("storage.py", "celery", few or 100_000),
        }
        figures["snapshot"] = run_script("storage.py", "snapshot", 65_536)
        many = few or 10 * MILLION
        figures["flatness"] = [
            run_script("flatness.py", capacity, many, library, states, rounds * 10)
            for capacity in (1_000, many)
        ]
    figures["observer"] = run_script("observer.py", "figure", 1 if quick else 30)
    figures["machine"]["load_average_at_end"] = list(os.getloadavg())
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only see that everything runs: the figures mean nothing and aren't kept",
    )
    options = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("The floor is a pread of /proc/self/statm: this needs Linux.")
    figures = measure(options.quick)
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            chart.draw(figures, os.path.join(folder, "readings.svg"))
        print(tables.markdown(figures))
        return
    with open(report.FIGURES, "w") as file:
        json.dump(figures, file, indent=1)
        file.write("\n")
    report.main()


if __name__ == "__main__":
    main()
