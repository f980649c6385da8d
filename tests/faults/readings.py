"""For the scripts of the fault tests: what is right, what is refused, and growth."""

import io
import os
import resource

import memprobe

MIB = 2**20
PAGE = os.sysconf("SC_PAGESIZE")
STATM = "/proc/self/statm"
STATUS = "/proc/self/status"


def truth():
    """RSS of this process by a file that was opened for this one reading."""
    with open("/proc/thread-self/statm") as statm:
        return int(statm.read().split()[1]) * PAGE


def grow(mib=60):
    return bytearray(b"x") * (mib * MIB)


def outgrow():
    """Grow past what ru_maxrss began with: the RSS of whoever started this process."""
    return grow((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10) + 10)


def assert_right(reading=None, expected=None):
    """The reading, or one made now, is this process's RSS: to 3 MiB, for noise.

    Processes that could be mistaken for one another differ by 50 MiB and more.
    """
    if reading is None:
        reading = memprobe.rss()
    if expected is None:
        expected = truth()
    assert abs(reading - expected) < 3 * MIB, (reading, expected)


def assert_refused(call, *errnos, file=STATM):
    """The call raises OSError with one of the errnos and that file."""
    caught = None
    try:
        result = call()
    except OSError as error:
        caught = error
    assert caught is not None, f"{call.__name__} returned {result!r}"
    assert caught.errno in errnos, caught
    assert caught.filename == file, caught
    assert caught.strerror == os.strerror(caught.errno), caught


def assert_all_refused(*errnos):
    """No reading succeeds, and a failed one neither stores nor loses samples."""
    before = memprobe.snapshot().tolist()
    stats = memprobe.stats()
    printed = io.StringIO()

    def memdump():
        memprobe.memdump(file=printed)

    for call in (memprobe.rss, memprobe.mem_rss, memprobe.sample_mem, memdump):
        assert_refused(call, *errnos)
    assert memprobe.snapshot().tolist() == before
    assert memprobe.stats() == stats
    assert "rss (end)" not in printed.getvalue()
