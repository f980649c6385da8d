"""What ``worker_max_memory_per_child`` means: the peak, or RSS after a task."""

from billiard import pool

from memprobe._memprobe import rss

_exempt = False


def use_rss() -> bool:
    """Let billiard compare RSS now. Return whether it asks where that can be told.

    Its name is private: a pool that doesn't look it up as this expects is left alone.
    """
    workloop = getattr(getattr(pool, "Worker", None), "workloop", None)
    names = getattr(getattr(workloop, "__code__", None), "co_names", ())
    if "mem_rss" not in names or not callable(getattr(pool, "mem_rss", None)):
        return False
    pool.mem_rss = _rss_in_kb
    return True


def exempt() -> bool:
    """Let this child have no limit. Return whether that could be had."""
    global _exempt
    _exempt = getattr(pool, "mem_rss", None) is _rss_in_kb
    return _exempt


def _rss_in_kb() -> int:
    return 1 if _exempt else rss() // 1024
