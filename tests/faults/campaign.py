"""Every system call that memprobe makes fails, one in each run.

    python campaign.py [--seconds S] [--seed N] [PART ...]

A part is one of a run's name, SCENARIO/PHASE/WHO/CALL/NTH/FAULT, as it is printed: only
such runs are made.

Each run is a forked child of this process, so that it costs no start of Python. It does
what a scenario says; inject.c, a library of its parent's, lets one call of memprobe's
fail. A run without any fault tells which calls there are.
"""

import argparse
import ctypes
import errno
import fcntl
import glob
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import scenarios

FIRST_TIMES = 3  # how many occurrences of a call fail, each in a run
LONGEST = 4.0  # seconds that a run may take

MODES = ["LIST", "FAIL", "LIE", "SHORT", "FREEZE"]
MOST_COUNTS = 1024

ERRNOS = ["EINTR", "EIO", "EAGAIN", "ENOMEM", "EPERM", "ENOSYS", "EBADF"]
OWN_ERRNOS = {
    "openat": ["EMFILE", "ENFILE", "ENOENT", "EACCES", "ELOOP"],
    "fcntl": ["EMFILE", "EINVAL"],
    "pread64": ["ESRCH"],
    "read": ["ESRCH"],
    "madvise": ["EINVAL"],
    "mprotect": ["EACCES"],
    "write": ["ENOSPC", "EPIPE"],
    "execve": ["ENOENT", "EACCES", "ETXTBSY"],
    "wait4": ["ECHILD"],
    "recvfrom": ["ECONNRESET"],
    "sendto": ["EPIPE", "ECONNRESET"],
    "socketpair": ["EMFILE", "EAFNOSUPPORT"],
    "getrusage": ["EINVAL"],
}
# What such calls can meet at all: for other errors the C library aborts, or believes
# what no kernel does.
ONLY = {
    "clone": ["EAGAIN", "ENOMEM", "EPERM"],
    "vfork": ["EAGAIN", "ENOMEM"],
    "clone3": ["EAGAIN", "ENOMEM", "EPERM", "ENOSYS"],
    "mprotect": ["ENOMEM", "EACCES"],
    "futex": ["EINTR", "EAGAIN"],
    "mmap": ["ENOMEM", "EPERM", "EAGAIN"],
}
# A thread or a mapping that is there, and said not to be, would be freed twice.
NO_LIES = {"clone", "clone3", "vfork", "execve", "mmap", "munmap", "mprotect", "futex"}
CAN_BE_SHORT = {"pread64", "read", "write", "recvfrom", "sendto"}
LEAVE_OPEN = {"close", "close_range", "fstat", "newfstatat"}
# Never fail, or the C library relies on them, or Python makes them in a forked child.
NEVER = {
    "getrandom",
    *("getpid", "gettid", "getppid", "getuid", "brk", "exit", "exit_group", "rseq"),
    *("rt_sigreturn", "rt_sigprocmask", "set_robust_list", "set_tid_address", "fork"),
}
# The numbers on (x86_64, aarch64).
NUMBERS = {
    **{"read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80)},
    **{"lseek": (8, 62), "rt_sigaction": (13, 134)},
    **{"mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214)},
    **{"rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67)},
    **{"sched_yield": (24, 124), "madvise": (28, 233), "getpid": (39, 172)},
    **{"clone": (56, 220), "fork": (57, -1), "exit": (60, 93), "fcntl": (72, 25)},
    **{"getrusage": (98, 165), "getuid": (102, 174), "getppid": (110, 173)},
    **{"statfs": (137, 43), "fstatfs": (138, 44), "prctl": (157, 167)},
    **{"gettid": (186, 178), "futex": (202, 98), "set_tid_address": (218, 96)},
    **{"getdents64": (217, 61), "clock_nanosleep": (230, 115), "exit_group": (231, 94)},
    **{"tgkill": (234, 131), "openat": (257, 56), "newfstatat": (262, 79)},
    **{"readlinkat": (267, 78), "set_robust_list": (273, 99), "dup3": (292, 24)},
    **{
        "getrandom": (318, 278),
        "prlimit64": (302, 261),
        "rseq": (334, 293),
        "clone3": (435, 435),
    },
    **{"close_range": (436, 436), "poll": (7, -1), "ppoll": (271, 73)},
    **{"recvfrom": (45, 207), "sendto": (44, 206), "socketpair": (53, 199)},
    **{"vfork": (58, -1), "execve": (59, 221), "wait4": (61, 260)},
    **{"dup2": (33, -1), "setsid": (112, 157), "getsid": (124, 156)},
}
MACHINES = ["x86_64", "aarch64"]


class Plan(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("mode", "forever", "phase", "process")),
        *((name, ctypes.c_int) for name in ("thread", "call", "occurrence", "value")),
        ("seconds", ctypes.c_double),
        ("begin", ctypes.c_uint64),
        ("end", ctypes.c_uint64),
    ]


class Count(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("phase", "process", "thread", "call")),
        ("number", ctypes.c_int),
    ]


class Outcome(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("status", "hits", "timed_out", "fatal")),
        *((name, ctypes.c_int) for name in ("phase", "call", "counts")),
        ("count", Count * MOST_COUNTS),
    ]


def call_names():
    column = MACHINES.index(platform.machine())
    return {numbers[column]: name for name, numbers in NUMBERS.items()}


def load_injector(folder):
    library = Path(folder, "inject.so")
    source = Path(__file__).with_name("inject.c")
    compiler = os.environ.get("CC", "cc").split()
    options = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*compiler, *options, source, "-o", library], check=True)
    return ctypes.CDLL(str(library), use_errno=True)


def code_of_memprobe():
    """Where memprobe's code is; it is loaded for that, but not imported."""
    folder = os.path.dirname(find_spec("memprobe").origin)
    (path,) = glob.glob(f"{folder}/_memprobe*.so")
    ctypes.CDLL(path)
    with open("/proc/self/maps") as maps:
        for line in maps:
            if re.search(r" r-xp .*" + re.escape(path), line):
                begin, end = line.split()[0].split("-")
                return int(begin, 16), int(end, 16)
    raise RuntimeError(f"{path} is not mapped")


class Run:
    """One run of a scenario: what it said, and what is wrong with it."""

    def __init__(self, scenario, plan, injector):
        self.outcome = Outcome()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            self.watch(scenario, plan, injector, folder)

    def watch(self, scenario, plan, injector, folder):
        report, noise = (os.memfd_create(name) for name in ("report", "noise"))
        sys.stdout.flush()
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            watched(scenario, plan, injector, report, noise, folder)
        failed = injector.inject_watch(
            pid, ctypes.byref(plan), ctypes.byref(self.outcome)
        )
        self.seconds = time.monotonic() - start
        said, self.noise = (read_and_close(file) for file in (report, noise))
        if failed:
            raise OSError(failed, os.strerror(failed), "ptrace")
        self.said = [json.loads(line) for line in said.splitlines()]
        self.phases = {0: "a thread"}
        for kind, text in self.said:
            if kind == "phase":
                number, name = text.split(" ", 1)
                self.phases[int(number)] = name

    def refusals(self):
        return [[kind, text] for kind, text in self.said if kind == "refused"]

    def problems(self, descriptors=None):
        found = []
        for kind, text in self.said:
            if kind == "descriptors":
                if descriptors is not None and text > descriptors:
                    found.append(["left behind", f"{text - descriptors} descriptors"])
            elif kind not in ("phase", "refused"):
                found.append([kind, text])
        where = f"in {self.phases.get(self.outcome.phase)!r}"
        if self.outcome.timed_out:
            found.append(["hang", f"{where}, system call {self.outcome.call}"])
        elif self.outcome.fatal or self.outcome.status:
            status = os.waitstatus_to_exitcode(self.outcome.status)
            found.append(["crash", f"{where}: {status}, signal {self.outcome.fatal}"])
        if self.noise:
            found.append(["noise", self.noise.decode(errors="replace")[-600:]])
        return found


def watched(scenario, plan, injector, report, noise, folder):
    """In the child. It ends as Python does, so that the end is tested as well."""
    number = fcntl.fcntl(report, fcntl.F_DUPFD, 900)
    os.dup2(noise, 2)
    os.closerange(3, number)
    signal.alarm(60)  # should whoever watches have gone
    if injector.inject_begin() != 0:
        os._exit(3)
    mode = {"mode": MODES[plan.mode], "forever": plan.forever, "value": plan.value}
    scenarios.run(scenario, number, mode, folder)
    sys.exit(0)


def read_and_close(file):
    os.lseek(file, 0, os.SEEK_SET)
    data = b"".join(iter(lambda: os.read(file, 65536), b""))
    os.close(file)
    return data


def faults_of(call, is_thread):
    """The (mode, forever, value) that this call is to meet."""
    if is_thread:
        yield from (("FREEZE", 0, 0), ("FREEZE", 0, 300))
    if call in NEVER:
        return
    for name in ONLY.get(call, [*ERRNOS, *OWN_ERRNOS.get(call, [])]):
        value = getattr(errno, name)
        yield "FAIL", 0, value
        if call != "futex":
            yield "FAIL", 1, value
        if call not in NO_LIES:
            yield "LIE", 0, value
    if call in CAN_BE_SHORT:
        for value in (0, 1, 5, 9, 13):
            yield "SHORT", 0, value
            # A whole smaps in bytes is thousands of calls: the tracer's time, not ours.
            if call != "read":
                yield "SHORT", 1, value


class Campaign:
    def __init__(self, injector, seconds, seed, only):
        self.injector = injector
        self.code = code_of_memprobe()
        self.names = call_names()
        self.end = time.monotonic() + seconds
        self.random = random.Random(seed)
        self.only = only
        self.descriptors = {}
        self.table = Counter()  # by (mode, what came of it)
        self.found = []

    def plan(self, **fields):
        begin, end = self.code
        return Plan(seconds=LONGEST, begin=begin, end=end, **fields)

    def list(self):
        """All faults, by the call that they are of. Those of one call are shuffled."""
        groups = []
        for scenario in scenarios.SCENARIOS:
            for _ in range(3):
                run = Run(scenario, self.plan(mode=0), self.injector)
                problems = [*run.problems(), *run.refusals()]
                if not problems:
                    break
            for problem in problems:
                self.found.append([f"{scenario}, without a fault", *problem])
            said = dict(run.said)
            self.descriptors[scenario] = said.get("descriptors")
            for count in run.outcome.count[: run.outcome.counts]:
                name = self.names.get(count.call, str(count.call))
                for nth in range(1, min(count.number, FIRST_TIMES) + 1):
                    faults = list(faults_of(name, count.thread > 0))
                    self.random.shuffle(faults)
                    where = (scenario, run.phases[count.phase], count, name, nth)
                    groups.append([(where, fault) for fault in faults])
        self.random.shuffle(groups)
        return groups

    def go(self):
        groups = self.list()
        total = sum(map(len, groups))
        # One fault of each call, then a second one of each.
        for turn in range(max(map(len, groups), default=0)):
            for group in groups:
                if turn < len(group) and time.monotonic() < self.end:
                    self.attempt(*group[turn])
        return total

    def attempt(self, where, fault):
        scenario, phase, count, call, nth = where
        mode, forever, value = fault
        what = errno.errorcode[value] if mode in ("FAIL", "LIE") else str(value)
        name = (
            f"{scenario}/{phase}/p{count.process}t{count.thread}/{call}/{nth}/"
            f"{mode} {what}{' from then on' if forever else ''}"
        )
        if self.only and not any(part in name for part in self.only):
            return
        plan = self.plan(
            mode=MODES.index(mode),
            forever=forever,
            value=value,
            phase=count.phase,
            process=count.process,
            thread=count.thread,
            call=count.call,
            occurrence=nth,
        )
        # What happens once in three times may be this machine's doing.
        problems = []
        for _ in range(3):
            run = Run(scenario, plan, self.injector)
            before, problems = problems, self.problems_of(run, scenario, mode, call)
            if not problems or before:
                break
        kinds = {kind for kind, _ in problems}
        if run.outcome.hits == 0:
            kinds.add("not met")
        if run.refusals():
            kinds.add("refused")
        self.table.update((mode, kind) for kind in {"runs", *kinds})
        for problem in problems:
            self.found.append([name, *problem])

    def problems_of(self, run, scenario, mode, call):
        # A file that was opened, or not closed, and said to be otherwise, stays open;
        # so does one of which nobody can say whose it is.
        stays = mode in ("LIE", "FREEZE") or call in LEAVE_OPEN
        return run.problems(None if stays else self.descriptors[scenario])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("only", nargs="*")
    options = parser.parse_args()
    if platform.machine() not in MACHINES:
        sys.exit(f"the system calls of {platform.machine()} are not known here")
    with tempfile.TemporaryDirectory() as folder:
        injector = load_injector(folder)
    campaign = Campaign(injector, options.seconds, options.seed, options.only)
    start = time.monotonic()
    total = campaign.go()
    shown = Counter()
    for name, kind, text in campaign.found:
        call = name.rpartition("/")[0]
        shown[kind, call] += 1
        if shown[kind, call] == 1:
            print(f"{kind}: {name}: {text}")
    for (kind, call), number in shown.items():
        if number > 1:
            print(f"{kind}: {call}: {number} in all")
    print(f"{total} faults are there to try; {time.monotonic() - start:.0f} s:")
    for mode in MODES[1:]:
        row = {kind: n for (of, kind), n in campaign.table.items() if of == mode}
        rest = [f"{kind} {n}" for kind, n in sorted(row.items()) if kind != "runs"]
        print(f"  {mode:6} {row.get('runs', 0):5} runs  {', '.join(rest)}")
    sys.exit(bool(campaign.found))


if __name__ == "__main__":
    main()
