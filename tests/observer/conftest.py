import fcntl
import os
import socket
import time
from pathlib import Path

import pytest

import memprobe
from memprobe import _record_file


@pytest.fixture(scope="session", autouse=True)
def can_be_started(orphans):
    """Nearly all here start an observer."""


PROGRAM = Path(memprobe.__file__).parent / "_observer"

# What the programs that are recorded begin with.
PRELUDE = """
import os, signal, subprocess, sys, time
import memprobe

MIB = 2**20

def fork(work, *arguments):
    pid = os.fork()
    if pid == 0:
        try:
            work(*arguments)
        finally:
            os._exit(99)
    return pid

def observer():
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline") as file:
                command = file.read().split("\\0")
        except OSError:
            continue
        if command[0] == "_observer" and str(os.getpid()) in command[4:]:
            return int(name)

def hold(mib, seconds):
    held = bytearray(b"x") * (mib * MIB)
    time.sleep(seconds)
    return held

"""


@pytest.fixture(autouse=True)
def no_recorder():
    yield
    memprobe.stop_recording()


@pytest.fixture
def read_all(trail):
    """Read all records of the folder `trail`, or of another, by their process."""

    def read(folder=trail):
        records = {}
        for name in _record_file.names(folder):
            try:
                record = _record_file.read(os.path.join(folder, name))
            except _record_file.NotWrittenYet:
                continue
            records[record.pid] = record
        return records

    return read


@pytest.fixture
def wait_for():
    def wait(condition, seconds=30):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.005)
        return found

    return wait


@pytest.fixture
def recorded(run_python, trail, read_all, wait_for):
    """Run Python code that records into the folder `trail`; return its records.

    The code prints numbers of processes; their records come back in this order, None
    for one without a file.
    """

    def run(code, interval=0.2, **options):
        start = f"memprobe.record({str(trail)!r}, {interval})\n"
        printed = run_python(PRELUDE + start + code, **options)
        wait_for(lambda: not is_observed(trail))
        records = read_all()
        return [records.get(int(pid)) for pid in printed.split()]

    return run


def is_observed(folder):
    """Return whether an observer holds a file of the folder."""
    for name in os.listdir(folder):
        with open(folder / name, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


class Program:
    """The observer's program, started without the package, as a child of this one."""

    def __init__(self, folder, pids, interval, keep, flags, environment, descriptors):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptor = os.open(folder, os.O_RDONLY)
        # Out of the way of the numbers that they get.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (descriptor, theirs)]
        arguments = [str(int(interval * 1e9)), str(keep), str(flags), *map(str, pids)]
        command = ["_observer", *arguments]
        program = PROGRAM
        if descriptors:
            limit = f'ulimit -n {descriptors}; exec "$0" "$@"'
            command, program = ["sh", "-c", limit, PROGRAM, *arguments], "/bin/sh"
        self.pid = os.posix_spawn(
            program,
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, high[0], 3),
                (os.POSIX_SPAWN_DUP2, high[1], 4),
            ],
        )
        for fd in (descriptor, *high):
            os.close(fd)
        theirs.close()
        self.socket = ours
        ours.settimeout(30)

    def hear(self):
        return self.socket.recv(256).decode().rstrip("\n")

    def ask(self, request):
        self.socket.send(request.encode() + b"\n")
        return self.hear()

    def wait(self, seconds=30):
        """Wait for its end; return its exit code, negative for a signal."""
        end = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = None
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < end, "it goes on"
            time.sleep(0.005)

    def end(self):
        self.socket.close()
        if self.pid is not None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)


@pytest.fixture
def start_program(trail):
    """Start the observer's program itself; it is ended with the test."""
    programs = []

    def start(
        *pids,
        folder=trail,
        interval=0.2,
        keep=-1,
        flags=0,
        environment=None,
        descriptors=0,
    ):
        program = Program(
            folder, pids, interval, keep, flags, environment or {}, descriptors
        )
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.end()
