"""Two timers in turn, so that whatever slows the machine down slows both."""

# More than a millisecond, so that no round is without memprobe's verification of its
# descriptor; hardly more, because the shorter a round, the likelier one is undisturbed.
ROUND_NS = 1_200_000


def calls_per_round(timer):
    """How often the timed thing can be called in a round."""
    count = 1
    # The least of five: a first call, or one that lost the CPU, says nothing.
    while (ns := min(timer(count) for _ in range(5))) < ROUND_NS / 10:
        count *= 2
    return max(1, round(count * ROUND_NS / ns))


def interleave(floor, timer, rounds, counts=None, before=None):
    """Time the floor and another thing in turn; the least nanoseconds a call of each.

    A timer takes a number of calls and returns nanoseconds. *counts* are the calls a
    round of both, ROUND_NS each if it is None. *before* runs before each timing of the
    other thing, untimed.
    """
    floor_count, count = counts or (calls_per_round(floor), calls_per_round(timer))
    floor_ns, ns = [], []
    for _ in range(rounds):
        floor_ns.append(floor(floor_count) / floor_count)
        if before is not None:
            before()
        ns.append(timer(count) / count)
    return {
        "rounds": rounds,
        "floor_calls": floor_count,
        "calls": count,
        "floor_ns": min(floor_ns),
        "ns": min(ns),
        "ratio": min(ns) / min(floor_ns),
    }
