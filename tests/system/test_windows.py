"""Windows: the numbers against its own API, and its errors."""

import json
import mmap
import re
import subprocess
import sys

import pytest

import memprobe

if sys.platform != "win32":
    pytest.skip("the Windows API", allow_module_level=True)

import ctypes
from ctypes import wintypes

MIB = 2**20
ERROR_ACCESS_DENIED = 5
ERROR_INVALID_HANDLE = 6
ERROR_INVALID_DATA = 13


class Counters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS"""

    _fields_ = (
        ("cb", wintypes.DWORD),
        ("PageFaultCount", wintypes.DWORD),
        ("PeakWorkingSetSize", ctypes.c_size_t),
        ("WorkingSetSize", ctypes.c_size_t),
        ("rest", ctypes.c_size_t * 6),
    )


kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
signature = wintypes.BOOL, wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD


def oracle():
    read = ctypes.WINFUNCTYPE(*signature)(("K32GetProcessMemoryInfo", kernel32))
    counters = Counters()
    process = wintypes.HANDLE(-1)
    assert read(process, ctypes.byref(counters), ctypes.sizeof(counters))
    return counters


def touch(size):
    block = mmap.mmap(-1, size)
    for page in range(0, size, mmap.PAGESIZE):
        block[page] = 1
    return block


def imported_address(module, name):
    """Where a module that is loaded keeps the address of a function that it imports."""
    kernel32.GetModuleHandleW.restype = ctypes.c_void_p
    kernel32.GetModuleHandleW.argtypes = (wintypes.LPCWSTR,)
    base = kernel32.GetModuleHandleW(module)
    assert base, module

    def number(offset, size):
        return int.from_bytes(ctypes.string_at(base + offset, size), "little")

    def text(offset):
        return ctypes.string_at(base + offset).decode("ascii")

    # The second data directory of the optional header of a 64-bit PE file.
    descriptor = number(number(0x3C, 4) + 24 + 112 + 8, 4)
    while number(descriptor + 12, 4) != 0:
        names, addresses = number(descriptor, 4), number(descriptor + 16, 4)
        while (entry := number(names, 8)) != 0:
            if not entry >> 63 and text(entry + 2) == name:
                return base + addresses
            names += 8
            addresses += 8
        descriptor += 20
    raise LookupError(name)


@pytest.fixture
def answer_with():
    """Let K32GetProcessMemoryInfo fail with an error, or (with 0) tell zeros."""
    slot = imported_address(
        sys.modules["memprobe._memprobe"].__file__, "K32GetProcessMemoryInfo"
    )
    honest = ctypes.string_at(slot, 8)
    kept = []

    def put(address):
        before = wintypes.DWORD()
        page_readwrite = 4
        assert kernel32.VirtualProtect(
            ctypes.c_void_p(slot),
            ctypes.c_size_t(8),
            page_readwrite,
            ctypes.byref(before),
        )
        ctypes.memmove(slot, address, 8)
        assert kernel32.VirtualProtect(
            ctypes.c_void_p(slot), ctypes.c_size_t(8), before, ctypes.byref(before)
        )

    def lie(error):
        # Swaps its copy of the last error for the true one when the function ends.
        @ctypes.WINFUNCTYPE(*signature, use_last_error=True)
        def lying(process, counters, size):
            ctypes.memset(counters, 0, size)
            ctypes.set_last_error(error)
            return error == 0

        kept.append(lying)
        put(bytes(ctypes.c_void_p.from_address(ctypes.addressof(lying))))

    yield lie
    put(honest)


def test_rss_rises_by_what_is_touched_as_windows_says():
    before, before_there = memprobe.rss(), oracle().WorkingSetSize
    kept = touch(50 * MIB)
    after, after_there = memprobe.rss(), oracle().WorkingSetSize
    assert after - before == pytest.approx(len(kept), rel=0.03)
    assert after == pytest.approx(after_there, abs=MIB)
    assert before == pytest.approx(before_there, abs=MIB)


def test_peak_is_what_windows_says():
    kept = touch(100 * MIB)
    high = memprobe.rss()
    del kept
    assert memprobe.rss() < high - 50 * MIB
    assert memprobe.peak_rss() == pytest.approx(oracle().PeakWorkingSetSize, abs=MIB)
    assert memprobe.peak_rss() >= high


READINGS = [memprobe.rss, memprobe.mem_rss, memprobe.sample_mem, memprobe.peak_rss]


@pytest.mark.parametrize("read", READINGS)
@pytest.mark.parametrize(
    ("error", "kind"),
    [(ERROR_ACCESS_DENIED, PermissionError), (ERROR_INVALID_HANDLE, OSError)],
)
def test_a_reading_that_fails_is_an_oserror_with_what_windows_says(
    answer_with, read, error, kind
):
    answer_with(error)
    with pytest.raises(kind) as caught:
        read()
    raised = caught.value
    assert raised.winerror == error
    assert raised.errno == OSError(0, "", None, error).errno
    assert raised.strerror == ctypes.FormatError(error).rstrip(".")
    assert raised.filename == "K32GetProcessMemoryInfo"
    assert f"[WinError {error}]" in str(raised)
    assert memprobe.stats().count == 0


@pytest.mark.parametrize("read", READINGS[:3])
def test_a_reading_of_nothing_is_an_oserror(answer_with, read):
    answer_with(0)
    with pytest.raises(OSError, match="K32GetProcessMemoryInfo") as caught:
        read()
    assert caught.value.winerror == ERROR_INVALID_DATA
    assert memprobe.stats().count == 0


# The observer

KEEP = "import time; kept = bytearray(b'x') * (60 << 20); time.sleep(2)"


def memprobe_command(*words):
    command = [sys.executable, "-m", "memprobe", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_process_and_its_child_are_recorded(run_python, tmp_path):
    """Also while the observer has the files open."""
    (tmp_path / "trail").mkdir()
    run_python(f"""
import subprocess, sys
import memprobe
memprobe.record("trail", 0.1)
command = [sys.executable, "-c", {KEEP!r}]
assert subprocess.call(command) == 0
show = [sys.executable, "-m", "memprobe", "show", "--json", "trail"]
with open("shown.json", "wb") as file:
    file.write(subprocess.check_output(show))
memprobe.stop_recording()
""")
    me, child, *_ = json.loads((tmp_path / "shown.json").read_text())
    assert (me["parent"] or 0) != me["pid"] == child["parent"]
    assert (me["state"], child["state"], child["status"]) == ("running", "exited", 0)
    assert 60 * MIB < child["peak"] < 100 * MIB


def test_run_tells_the_peak_and_the_status():
    done = memprobe_command("run", "--interval", 0.1, "-c", f"{KEEP}; exit(3)")
    assert done.returncode == 3
    peak = float(re.search(r"rss \(peak\): (\S+)MB", done.stderr)[1])
    assert 60 < peak < 100
    assert "exited (status 3)" in done.stderr


def test_watch_stays_until_the_end():
    with subprocess.Popen([sys.executable, "-c", KEEP + "; time.sleep(4)"]) as process:
        done = memprobe_command("watch", process.pid, "--interval", 0.1)
    assert done.returncode == 0
    assert "exited" in done.stderr
    assert 60 < float(re.search(r"rss \(peak\): (\S+)MB", done.stderr)[1]) < 100
