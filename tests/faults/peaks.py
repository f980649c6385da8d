"""For the scripts of the fault tests: blocks of known size and length.

As a program it is the campaign: python tests/faults/peaks.py [blocks]
"""

import mmap
import random
import sys
import time

import memprobe

MIB = 2**20


def spike(size, seconds):
    """Hold so many bytes for so long; return the highest RSS, as memprobe reads it."""
    block = mmap.mmap(-1, size)
    block[:: mmap.PAGESIZE] = b"x" * (size // mmap.PAGESIZE)
    highest = memprobe.rss()
    time.sleep(seconds)
    block.close()
    return highest


def check_blocks(peak, blocks, seconds=None, seed=None):
    """Measure random blocks. Returns the largest errors: too low, too high, in bytes.

    What is known of each: its highest reading, which is in no ring and not in the block
    if that watches nothing; and that of the spike alone no sampler's thread misses what
    is held for 25 ms, two looks of the longest distance and some.
    """
    seed = random.randrange(2**32) if seed is None else seed
    choice = random.Random(seed)
    spike(700 * MIB, 0)
    end = time.monotonic() + (seconds or 1e9)
    lowest = highest = 0
    m = memprobe.measure(peak=peak)
    for number in range(blocks):
        size = choice.randrange(MIB, 500 * MIB) & -mmap.PAGESIZE
        before, after = choice.random() * 0.08, choice.random() * 0.01
        held = 0 if peak == "kernel" else 0.025 if before > 0.05 else 0.005
        with m:
            time.sleep(before)
            block = mmap.mmap(-1, size)
            block[:: mmap.PAGESIZE] = b"x" * (size // mmap.PAGESIZE)
            time.sleep(held)
            block.close()
            time.sleep(after)
        off = m.peak - m.before - size
        lowest, highest = min(lowest, off), max(highest, off)
        # The kernel's mark lags by CPUs * 32 pages and more: see docs/measure.md.
        assert -2 * MIB < off < 2 * MIB, (peak, seed, number, size, before, held, m)
        if time.monotonic() > end:
            break
    return lowest, highest


if __name__ == "__main__":
    for way in ("watch", "kernel"):
        wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
        low, high = check_blocks(way, wanted)
        print(f"{way}: {wanted} blocks, off by {low} to {high} bytes")
