"""What a reading costs while RSS stands still, moves, and rises, as in a leak.

As a program, `states.py LIBRARY ROUNDS` measures in this process; it prints JSON.
"""

import ctypes
import gc
import json
import sys

import memprobe

STATES = ("still", "moving", "rising")
PREAD, LEAST, CALL = range(3)
CALLS = 500  # a round; while RSS rises, each keeps a page


def load(library):
    """Return measure(state, call, rounds): the least nanoseconds of one *call*, and the
    ratios to a pread and to the least that such a call can cost (pread, clock, call).
    """
    states = ctypes.PyDLL(library)
    states.state_ns.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.py_object]
    states.state_ns.argtypes += [ctypes.c_long]
    states.state_ns.restype = ctypes.c_int64

    def time(state, timed, call):
        ns = states.state_ns(STATES.index(state), timed, call, CALLS)
        if ns < 0:
            raise OSError("a reading failed")
        return ns / CALLS

    def measure(state, call, rounds):
        if states.begin_state(STATES.index(state)) != 0:
            raise OSError("no memory to begin with")
        call()
        timed = [(PREAD, gc.isenabled), (LEAST, gc.isenabled), (CALL, call)]
        # In turn, so that whatever slows the machine down slows all.
        turns = [[time(state, *one) for one in timed] for _ in range(rounds)]
        pread, least, ns = map(min, zip(*turns, strict=True))
        return {"ns": ns, "ratio": ns / pread, "of_least": ns / least}

    return measure


if __name__ == "__main__":
    library, rounds = sys.argv[1:]
    measure = load(library)
    calls = {"rss()": memprobe.rss, "sample_mem()": memprobe.sample_mem}
    result = {
        name: {state: measure(state, call, int(rounds)) for state in STATES}
        for name, call in calls.items()
    }
    json.dump(result, sys.stdout)
