"""For the scripts of the fault tests: blocks of known size and length.

As a program it is the campaign: python tests/faults/peaks.py [blocks]
"""

import mmap
import random
import sys
import time

import memprobe

MIB = 2**20


def hold(size, seconds):
    block = mmap.mmap(-1, size)
    block[:: mmap.PAGESIZE] = b"x" * (size // mmap.PAGESIZE)
    time.sleep(seconds)
    block.close()


def measure_blocks(peak, blocks, seconds=1e9, seed=None):
    """Measure random blocks; return by how many bytes each peak is off.

    A higher past lies behind them, which the kernel's mark remembers. What is watched
    is held for some looks: a thread of a busy system comes late.
    """
    choice = random.Random(seed)
    hold(700 * MIB, 0)
    memprobe.rss()
    end = time.monotonic() + seconds
    off = []
    m = memprobe.measure(peak=peak)
    while len(off) < blocks and time.monotonic() < end:
        size = choice.randrange(MIB, 500 * MIB) & -mmap.PAGESIZE
        with m:
            time.sleep(choice.random() * 0.08)
            hold(size, 0.03 if peak == "watch" else 0)
            time.sleep(choice.random() * 0.01)
        off.append(m.peak - m.before - size)
    return sorted(off)


if __name__ == "__main__":
    for way in ("watch", "kernel"):
        errors = measure_blocks(way, int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
        exact = sum(abs(error) < 2 * MIB for error in errors)
        print(
            f"{way}: {len(errors)} blocks, off by {errors[0]} to {errors[-1]} bytes; "
            f"{exact} of them by less than 2 MiB"
        )
