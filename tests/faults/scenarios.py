"""What the watched process of campaign.py does, and what must be true whatever failed.

Each call of memprobe's has a phase, by which inject.c knows it; in phase 0, the test's
own, nothing fails.
"""

import contextlib
import io
import json
import mmap
import os
import re
import signal
import threading
import time
import warnings

MIB = 2**20
PAGE = os.sysconf("SC_PAGESIZE")
NOISE = 5 * MIB // 2  # of RSS, between two readings that should be the same
HANGS = 1.2  # seconds; record() waits one for its observer's first word
FIRST_PHASE = 0x70000000

# What a call may raise when a system call has failed.
REFUSALS = (OSError, MemoryError)


def set_phase(phase):
    if phase > 0:
        signal.raise_signal(signal.SIGURG)
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(FIRST_PHASE + phase)


def touch(size):
    block = mmap.mmap(-1, size)
    block[::PAGE] = b"x" * (size // PAGE)
    return block


def statm():
    """RSS and its anonymous part, by a file that was opened for this one reading."""
    file = os.open("/proc/thread-self/statm", os.O_RDONLY)
    try:
        numbers = [int(number) * PAGE for number in os.pread(file, 300, 0).split()]
    finally:
        os.close(file)
    return numbers[1], numbers[1] - numbers[2]


def truth():
    return statm()[0]


def marked_peak():
    with open("/proc/thread-self/status", "rb") as file:
        return int(re.search(rb"VmHWM:\s+(\d+)", file.read())[1]) * 1024


def thread_count():
    return len(os.listdir("/proc/self/task"))


class Scenario:
    """Calls of memprobe's, one after the other, and what is wrong with them."""

    def __init__(self, report, plan, folder):
        self.report = report  # a descriptor
        self.folder = folder
        self.once = not plan["forever"]
        self.frozen = plan["mode"] == "FREEZE"
        self.frozen_for_good = self.frozen and plan["value"] == 0
        self.phase = 0
        self.stored = 0
        self.highest = 0  # RSS, by the kernel's mark, which is reset now and then
        self.memprobe = None

    def say(self, kind, text):
        os.write(self.report, (json.dumps([kind, text]) + "\n").encode())

    def wrong(self, kind, text):
        self.say(kind, text)

    def call(self, name, function, check=None):
        """Make the call in a phase of its own. Returns its result, None if refused."""
        self.phase += 1
        self.say("phase", f"{self.phase} {name}")
        self.highest = max(self.highest, marked_peak())
        result = error = None
        start = time.monotonic()
        set_phase(self.phase)
        try:
            result = function()
        except REFUSALS as refusal:
            error = refusal
        except Exception as other:
            error = other
            set_phase(0)
            self.wrong("wrong exception", f"{name}: {other!r}")
        set_phase(0)
        seconds = time.monotonic() - start
        if seconds > HANGS:
            self.wrong("hang", f"{name}: {seconds:.1f} s")
        if error is not None:
            self.say("refused", f"{name}: {error!r}")
            return None
        if check is not None:
            found = check(result)
            if found:
                self.wrong("wrong number", f"{name}: {found}")
        return result

    def import_memprobe(self):
        """Import it; what follows makes no sense where that is refused."""

        def import_it():
            import memprobe

            return memprobe

        self.memprobe = self.call("import", import_it)
        if self.memprobe is None:
            raise SystemExit

    def sample(self):
        if self.call("sample_mem", self.memprobe.sample_mem, self.near_text):
            self.stored += 1

    def check_stored(self):
        count = self.memprobe.stats().count
        if count != self.stored:
            self.wrong("lost", f"{count} samples, not {self.stored}")
        rows = self.memprobe.snapshot().tolist()
        if len(rows) != count or rows != sorted(rows, key=lambda row: row[0]):
            self.wrong("lost", f"{count} samples, and {rows}")

    # Checks, which return what is wrong

    def near(self, number):
        expected = truth()
        if abs(number - expected) > NOISE:
            return f"{number}, not {expected}"
        return None

    def near_text(self, text):
        number = float(re.match(r"[\d.]+", text)[0])
        unit = text.lstrip("0123456789.")
        return self.near(number * 1024 ** ["b", "KB", "MB", "GB"].index(unit))

    def at_peak(self, number):
        if not truth() - NOISE < number < self.highest + NOISE:
            return f"{number}; now {truth()}, the highest {self.highest}"
        return None

    # The sampler

    def samples_come(self, seconds=0.4):
        """Do two samples more come within that time?"""
        wanted = self.memprobe.stats().count + 2
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.memprobe.stats().count >= wanted:
                return True
            time.sleep(0.001)
        return False

    def check_sampled(self):
        rows = self.memprobe.snapshot().tolist()
        expected = truth()
        far = [rss for _, rss in rows if abs(rss - expected) > NOISE]
        if far:
            self.wrong("wrong number", f"sampled {far[:3]}, not {expected}")
        if rows != sorted(rows, key=lambda row: row[0]):
            self.wrong("wrong number", "time goes backwards")

    def start(self, name="start_sampling"):
        """Start the sampler. Returns whether it runs, as far as it says."""
        refused = []

        def start():
            try:
                self.memprobe.start_sampling(0.002)
            except REFUSALS:
                refused.append(True)
                raise

        self.call(name, start)
        return not refused

    def come_then_stop(self, name):
        """Samples come, or stop_sampling() says why not; after it none come."""
        come = self.samples_come()
        if come:
            self.check_sampled()
        said = []

        def stop():
            try:
                self.memprobe.stop_sampling()
            except REFUSALS:
                said.append(True)
                raise

        self.call(f"stop_sampling {name}", stop)
        if not come and not said:
            self.wrong("silent end", f"{name}: no samples, and no reason")
        if not come and self.once and not self.frozen:
            self.wrong("silent end", f"{name}: no samples after a single fault")
        if self.samples_come(0.01):
            self.wrong("goes on", f"{name}: samples after the sampler has stopped")


def readings(s):
    """Import, everything that reads or stores, and the end."""
    s.import_memprobe()
    m = s.memprobe
    s.call("rss", m.rss, s.near)
    s.sample()
    s.call("mem_rss", m.mem_rss, s.near_text)
    s.call("rss again", m.rss, s.near)
    if hasattr(m, "rss_anon"):
        s.call(
            "rss_anon",
            m.rss_anon,
            lambda value: abs(value - statm()[1]) > NOISE and f"{value}, {statm()}",
        )
        s.call("above", lambda: m.above(truth() // 2), lambda value: not value)
        s.call("not above", lambda: m.above(truth() * 2), lambda value: value)
    first = s.call("peak_rss", m.peak_rss, s.at_peak) or 0
    s.sample()
    block = touch(6 * MIB)
    s.call("rss of more", m.rss, s.near)
    block.close()
    s.call("peak_rss again", m.peak_rss, s.at_peak)
    s.call("peak_rss once more", m.peak_rss, lambda value: value < first and "it fell")
    s.call("configure", lambda: m.configure(capacity=1000))
    s.sample()
    s.check_stored()
    s.call("snapshot", m.snapshot, lambda view: len(view) != s.stored)
    s.call("stats", m.stats, lambda stats: stats.count != s.stored)
    blocks(s)
    s.call("breakdown", lambda: m.breakdown().rss, s.near)
    s.call("trim", m.trim, lambda value: value > s.highest and f"{value}")
    lost_descriptors(s)
    s.check_stored()
    out = io.StringIO()
    s.call("memdump", lambda: m.memdump(file=out) or True)
    printed = out.getvalue()
    if printed.count("    > ") != s.stored:
        s.wrong("lost", f"{s.stored} samples, printed: {printed!r}")
    if "end" in printed:
        s.stored = 0
    s.check_stored()
    s.sample()
    s.call("clear", m.clear)


def blocks(s):
    touch(12 * MIB).close()  # a higher peak than theirs, of the past
    for peak in ("ends", "kernel", "watch"):
        try:
            block = s.memprobe.measure(peak=peak)
        except TypeError:
            continue
        measured(s, peak, block)


def measured(s, peak, block):
    grown = 6 * MIB
    before = truth()
    if s.call(f"measure {peak}", block.__enter__) is None:
        return
    more = touch(grown)
    highest = truth()
    if peak == "watch":
        time.sleep(0.02)
    more.close()
    figures = s.call(
        f"measured {peak}", lambda: block.__exit__(None, None, None) or block
    )
    if figures is None:
        return
    if abs(figures.before - before) > NOISE or abs(figures.after - truth()) > NOISE:
        s.wrong("wrong number", f"{figures}; before {before}, after {truth()}")
    least = max(figures.before, figures.after)
    if peak == "kernel":
        least = highest - NOISE
    if not least <= figures.peak <= highest + NOISE:
        s.wrong("wrong number", f"{peak}: {figures}; at most {highest}")


def lost_descriptors(s):
    """As daemons do: everything is closed that the program doesn't know."""
    os.closerange(3, s.report)
    s.call("rss, all closed", s.memprobe.rss, s.near)
    s.sample()
    s.call("peak_rss, all closed", s.memprobe.peak_rss, s.at_peak)


def sampler(s):
    """The thread: it starts, samples, stops; again; for blocks; and at the end."""
    import memprobe

    s.memprobe = m = memprobe
    before = thread_count()
    if s.start():
        s.come_then_stop("first")
    if s.start("start_sampling again"):
        s.come_then_stop("second")
    s.call("stop_sampling, none runs", m.stop_sampling)
    blocks(s)
    s.call("with sampling", lambda: sampling(s))
    end = time.monotonic() + 0.3
    while thread_count() > before and time.monotonic() < end:
        time.sleep(0.002)
    if thread_count() > before and not s.frozen_for_good:
        s.wrong("left behind", f"{thread_count() - before} threads")
    s.start("start_sampling to the end")


def sampling(s):
    with s.memprobe.sampling(0.002):
        s.samples_come(0.1)


def forks(s):
    """Children while the sampler runs, and theirs."""
    import memprobe

    s.memprobe = m = memprobe
    s.ballast = touch(12 * MIB)
    s.call("sample_mem", m.sample_mem)
    running = s.start()
    if running:
        s.samples_come()
    fork(s, "fork", 100, lambda: child(s, grandchild=True))
    if running:
        s.come_then_stop("after the fork")
    fork(s, "fork without a sampler", 300, lambda: child(s))


def fork(s, name, phase, work):
    """Let a child do the work, whose phases follow that number."""
    pid = s.call(name, lambda: os.fork() or -1)
    if pid == -1:
        s.phase = phase
        try:
            work()
        except BaseException as error:
            s.wrong("wrong exception", f"{name}: {error!r}")
        finally:
            os._exit(0)
    end = time.monotonic() + 2
    status = None
    while status is None and time.monotonic() < end:
        ended, code = os.waitpid(pid, os.WNOHANG)
        status = code if ended else None
        time.sleep(0.001)
    if status is None:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        s.wrong("hang", f"{name}: the child")
    elif status != 0:
        s.wrong("crash", f"{name}: the child's status is {status}")


def child(s, grandchild=False):
    m = s.memprobe
    s.ballast.close()
    s.call("child's rss", m.rss, s.near)
    s.stored = 0
    s.check_stored()
    s.sample()
    s.call("child's peak_rss", m.peak_rss, s.at_peak)
    s.check_stored()
    if s.start("child's start_sampling"):
        s.come_then_stop("child's")
    if grandchild:
        s.ballast = touch(6 * MIB)
        fork(s, "child's fork", 200, lambda: child(s))


def recorder(s):
    """The program's part in recording; the observer is a program of its own."""
    import memprobe

    s.memprobe = m = memprobe
    said = []

    def call(name, function):
        def counted():
            said.append(name)
            function()
            said.remove(name)

        s.call(name, counted)

    call("record", lambda: m.record(s.folder, 0.02))
    time.sleep(0.05)
    fork(s, "fork while it records", 100, lambda: time.sleep(0.03))
    call("record again", lambda: m.record(s.folder, 0.02))
    call("stop_recording", m.stop_recording)
    files = [name for name in os.listdir(s.folder) if name.endswith(".memprobe")]
    if not said and not [name for name in files if name.startswith(f"{os.getpid()}-")]:
        s.wrong("silent end", f"nothing is recorded, and nobody says so: {files}")
    call("record to the end", lambda: m.record(s.folder, 0.02))


SCENARIOS = {
    "readings": readings,
    "sampler": sampler,
    "forks": forks,
    "recorder": recorder,
}


def run(name, report, plan, folder):
    """In the watched process. What comes after it, its end, is the last phase."""
    warnings.simplefilter("error")
    scenario = Scenario(report, plan, folder)
    SCENARIOS[name](scenario)
    scenario.say("descriptors", len(os.listdir("/proc/self/fd")))
    scenario.phase += 1
    scenario.say("phase", f"{scenario.phase} the end")
    set_phase(scenario.phase)


assert threading  # memprobe may import it, and isn't to do so while it is watched
