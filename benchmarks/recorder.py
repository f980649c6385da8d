"""What sample_mem() costs while the recorder runs, beside what it costs without.

    python benchmarks/recorder.py

Two processes, one of which records, do the same rounds of samples in turn. Printed are
the ratios of their least and of their median times, in each of several runs.
"""

import contextlib
import statistics
import subprocess
import sys
import tempfile

RUNS = 5
ROUNDS = 1500
SAMPLES = 200  # in a round: 0.3 ms, shorter than a time slice

PROCESS = """
import sys, timeit
import memprobe
if len(sys.argv) > 1:
    memprobe.record(sys.argv[1])
timer = timeit.Timer(memprobe.sample_mem)
timer.timeit(100_000)
for line in sys.stdin:
    print(timer.timeit(int(line)), flush=True)
"""


def one_run():
    """Return the nanoseconds of a sample, without and with: two lists of rounds."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PROCESS, *arguments],
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


def main():
    print("run  without  recorded  ratio  ratio of medians")
    ratios = []
    for run in range(RUNS):
        plain, recorded = one_run()
        ratios.append(min(recorded) / min(plain))
        medians = statistics.median(recorded) / statistics.median(plain)
        print(
            f"{run + 1:3}  {min(plain):4.0f} ns  {min(recorded):5.0f} ns"
            f"  {ratios[-1]:5.3f}  {medians:5.3f}"
        )
    print(f"median of the ratios: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
