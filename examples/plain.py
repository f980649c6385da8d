"""The documented example, with a leak to look at. It needs nothing but memprobe."""

from memprobe import memdump, sample_mem

kept = []


def add(i, j):
    kept.append(f"{i} + {j} = {i + j}" * 20)  # never given back
    return i + j


try:
    for i in range(100):
        for j in range(100):
            add(i, j)
        sample_mem()
finally:
    memdump()
