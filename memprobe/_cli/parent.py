"""The parent of the program that `memprobe run` runs, on POSIX.

The program is to find all that it would without a parent in between, and whoever
started us is to see of us what the program does: its stops, its end, its signal.
"""

from __future__ import annotations

# Not `signal`: it needs enum, and by that 3 ms before the program starts.
import _signal as signal  # type: ignore[import-not-found]
import errno
import os
import sys
import time

from memprobe._memprobe import rss

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_ALL = signal.valid_signals()
# Without sigwaitinfo() it isn't known who sent a signal. The terminal sends these, to
# the program as well.
_OF_TERMINALS = {
    getattr(signal, name)
    for name in "SIGINT SIGQUIT SIGTSTP SIGTTIN SIGTTOU SIGWINCH".split()
}


class Child:
    """The program, and what its parent does. From now on all signals are blocked."""

    def __init__(
        self, file: str, argv: list[str], environment: dict[bytes, bytes]
    ) -> None:
        """Start it. Raises OSError if that can't be done."""
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
        # With SIGCHLD ignored nothing would be left of the program to be waited for.
        children = signal.signal(signal.SIGCHLD, self._note_end)
        _hold_low_descriptors()
        self._rss = rss()
        failure, fail = os.pipe()
        self.began = self.ended = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                # None: a handler that isn't Python's, which doesn't survive exec.
                signal.signal(signal.SIGCHLD, children or signal.SIG_DFL)
                self._become(file, argv, environment)
            except (OSError, ValueError) as error:
                # ValueError: the empty name.
                os.write(fail, b"%d" % (getattr(error, "errno", None) or errno.ENOENT))
            finally:
                os._exit(127)
        os.close(fail)
        self._guard = self._waker = 0
        self._usage: Any = None
        self._renew_guard()
        reason = os.read(failure, 16)
        os.close(failure)
        if reason:
            os.waitpid(self.pid, 0)
            self._kill_guard()
            raise OSError(int(reason), os.strerror(int(reason)), file)
        self.number = number_of(self.pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    def _note_end(self, *_: object) -> None:
        """Until wait() is called, its caller has other things to do."""
        self.ended = time.monotonic()

    def _become(
        self, file: str, argv: list[str], environment: dict[bytes, bytes]
    ) -> None:
        parent = b"%d" % os.getppid()
        for name, value in environment.items():
            # LISTEN_PID, WATCHDOG_PID, … or what a shell script made of $$.
            if value == parent and name.endswith(b"PID"):
                environment[name] = b"%d" % os.getpid()
        for number in _ALL:
            # A signal that comes before exec must not end in a handler of Python's.
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        # Python ignores these as it starts.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        try:
            os.execvpe(file, argv, environment)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without a first line that says by what: the shell is to run it.
            os.execve("/bin/sh", ["sh", error.filename, *argv[1:]], environment)

    def let_go(self, keep: set[int]) -> None:
        """Leave the program alone with what it was given, but for descriptor 2.

        What reads its pipe sees the end when the program closes it, and what it writes
        to, or listens on, is nobody else's. *keep* are descriptors to leave.
        """
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in {0, 1} - keep:
            os.dup2(null, descriptor, inheritable=False)
        os.close(null)
        _close_inherited(keep | {0, 1, 2})

    def wait(self) -> int:
        """Return the program's wait status once it has ended; it stays a zombie.

        Meanwhile signals are passed on, and where the program stops this process does.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
        status = self._look()
        while status is None:
            number, by_process, sender = _next_signal()
            if number == signal.SIGCHLD:
                self._note_end()
                status = self._look()
            elif by_process and sender != self._waker:
                self._pass_on(number, sender)
        for _ in signal.sigpending():  # what it sent just before it ended
            number, by_process, sender = _next_signal()
            if by_process and sender == self.pid:
                self._pass_on(number, sender)
        self._kill_guard()
        return status

    def reap(self) -> int | None:
        """Let go of the zombie; return its highest RSS in bytes if it is its own.

        ru_maxrss has that of children that were waited for, too, of which the zombie's
        count of their page faults tells; and what this process had at the fork.
        """
        had_children = _stat(self.number)[8:9] != [b"0"]
        usage = self._usage or os.wait4(self.pid, 0)[2]
        bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return bytes if not had_children and bytes > self._rss else None

    def _look(self) -> int | None:
        """Return the program's wait status if it has ended."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            pid, status, usage = os.wait4(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return None
            if os.WIFSTOPPED(status):
                self._stop_by(os.WSTOPSIG(status))
                return None
            self._usage = usage
            return status
        self._reap_others()
        flags = os.WNOHANG | os.WEXITED | os.WSTOPPED
        info = os.waitid(os.P_PID, self.pid, flags | os.WNOWAIT)
        if info is None:
            return None
        if info.si_code == os.CLD_EXITED:
            return (info.si_status & 0xFF) << 8
        if info.si_code == os.CLD_KILLED:
            return info.si_status
        if info.si_code == os.CLD_DUMPED:
            return info.si_status | 0x80
        os.waitid(os.P_PID, self.pid, os.WNOHANG | os.WSTOPPED)
        self._stop_by(info.si_status)
        return None

    def _reap_others(self) -> None:
        """Reap guards, and as process 1 orphans, but not the program itself."""
        while True:
            flags = os.WNOHANG | os.WEXITED | os.WNOWAIT
            info = os.waitid(os.P_ALL, 0, flags)
            if info is None or info.si_pid == self.pid:
                return
            if info.si_pid == self._guard:  # somebody else has killed it
                self._kill_guard()
            os.waitpid(info.si_pid, 0)

    def _stop_by(self, number: int) -> None:
        """Stop as the program has; return when somebody continues us, or it."""
        if os.getpid() == 1 or signal.SIGCONT in signal.sigpending():
            return
        self._waker = os.fork()
        if self._waker == 0:
            try:
                self._wake_parent()
            finally:
                os._exit(0)
        if number != signal.SIGSTOP:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        # The signal that continued us is still to come, and is passed on like others.
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        os.kill(self._waker, signal.SIGKILL)
        os.waitpid(self._waker, 0)

    def _wake_parent(self) -> None:
        """Continue the parent, which is stopped, if the program alone is continued."""
        parent = os.getppid()
        while _stat(self.number)[:1] == [b"T"] and os.getppid() == parent:
            time.sleep(0.05)
        os.kill(parent, signal.SIGCONT)

    def _pass_on(self, number: int, sender: int) -> None:
        """Let a signal, which a process sent, reach the program unless it has."""
        try:
            if sender == self.pid:
                os.kill(os.getppid(), number)  # its parent, as far as it can know
            elif not self._group_got(number):
                os.kill(self.pid, number)
        except OSError:
            pass  # EPERM: the program has become another user

    # A signal to the whole process group, as timeout(1) and os.killpg() send it, gets
    # to the program without us. Nothing in it says so: that is what the guard is for, a
    # process in the group that blocks all signals and waits. If it was sent the signal
    # as well, all were. The kernel goes from a group's youngest to its oldest: to us
    # at last.

    def _group_got(self, number: int) -> bool:
        for wait in (0.0, 0.001):  # systemd goes from process to process, we come first
            time.sleep(wait)
            if self._guard and _is_pending(number_of(self._guard), number):
                self._renew_guard()
                return True
        return False

    def _renew_guard(self) -> None:
        self._kill_guard()
        alive, life = os.pipe()
        try:
            guard = os.fork()
        except OSError:
            os.close(alive)
            os.close(life)
            return
        if guard == 0:
            try:
                os.close(life)
                _close_inherited({alive})
                os.read(alive, 1)  # until its parent is gone, however
            finally:
                os._exit(0)
        os.close(alive)
        self._guard, self._life = guard, life

    def _kill_guard(self) -> None:
        """Whoever reaps it has time: its own end takes a millisecond."""
        if self._guard:
            os.close(self._life)
            os.kill(self._guard, signal.SIGKILL)
            self._guard = 0

    def unblock(self) -> None:
        """Let signals end this process again, but none that came meanwhile.

        Not Ctrl-C, which the impatient press more than once, nor that of a terminal
        which wants jobs in the background to be silent.
        """
        while pending := signal.sigpending():
            signal.sigwait(pending)
        blocked = {*self._mask, signal.SIGINT, signal.SIGTTOU}
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def end_as(status: int) -> NoReturn:
    """End this process as the program ended: that is what the shell asks for."""
    number, code = how_it_ended(status)
    if number is not None and os.getpid() != 1:
        import resource

        # The core is the program's. 1 is "none" also where a program takes them
        # (core(5)), which is started with 0.
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (int(hard != 0), hard))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os._exit(code)


def how_it_ended(status: int) -> tuple[int | None, int]:
    """Return the signal that ended a program, if one did, and what the shell says."""
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status), 128 + os.WTERMSIG(status)
    return None, os.WEXITSTATUS(status)


def _next_signal() -> tuple[int, bool, int]:
    """Wait for a signal; return it, whether a process sent it, and which."""
    if hasattr(signal, "sigwaitinfo"):
        info = signal.sigwaitinfo(_ALL)
        # Above 0 it is the kernel's (sigaction(2)): terminals send to all of a group.
        return info.si_signo, info.si_code <= 0, info.si_pid
    number = signal.sigwait(_ALL)
    return number, number not in _OF_TERMINALS, 0


def number_of(child: int) -> int:
    """Return the number that /proc has for a child of ours.

    It is another one where /proc is that of another PID namespace (unshare -pf).
    """
    try:
        if int(os.readlink("/proc/self")) == os.getpid():
            return child
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", "rb") as file:
                numbers = file.read().split()
            for number in map(int, numbers):
                with open(f"/proc/{number}/status", "rb") as file:
                    own = file.read().partition(b"NSpid:")[2].partition(b"\n")[0]
                if own.split()[-1:] == [b"%d" % child]:
                    return number
    except (OSError, ValueError):
        pass
    return child


def _stat(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from its state on (proc(5)), or nothing."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _is_pending(pid: int, number: int) -> bool:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    for line in lines:
        if line.startswith(b"ShdPnd:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def _close_inherited(keep: set[int]) -> None:
    """Close what whoever started us has handed down: ours aren't inheritable."""
    folder = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    try:
        descriptors = {int(name) for name in os.listdir(folder)}
    except OSError:
        return
    for descriptor in descriptors - keep:
        try:
            if os.get_inheritable(descriptor):
                os.close(descriptor)
        except OSError:
            continue  # what the folder was listed by


def _hold_low_descriptors() -> None:
    """Put /dev/null where 0 to 2 are closed, until exec, so that nothing of ours is."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
