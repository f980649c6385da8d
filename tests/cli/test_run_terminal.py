"""`memprobe run` in a terminal: shell and program find what they would without.

Each test does the same with python and with memprobe run, in a bash on a
pseudo-terminal.
"""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

pty = pytest.importorskip("pty")
fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")

pytestmark = [
    pytest.mark.usefixtures("orphans"),
    pytest.mark.skipif(sys.platform != "linux", reason="signals tell who sent them"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="no bash"),
]

COUNT = """
import signal, sys, time
got = []
for name in sys.argv[2:]:
    number = getattr(signal, name)
    signal.signal(number, lambda s, f: got.append(signal.Signals(s).name))
print("rea" + "dy", flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    time.sleep(0.01)
print("COU" + "NT", *got, "END", flush=True)
"""
EVERYTHING = "SIGINT SIGQUIT SIGTERM SIGHUP SIGUSR1 SIGWINCH"


class Shell:
    """A bash in a terminal of its own."""

    def __init__(self, folder, run):
        self.fd, terminal = pty.openpty()
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            cwd=folder,
            env={**env, "PS1": "$ ", "TERM": "xterm", "RUN": run, "HISTFILE": ""},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)
        self.text = ""
        self.expect(r"\$ ")
        self.send(
            "bind 'set enable-bracketed-paste off' 2>&-; set +H; PS1='PRO''MPT '\n"
        )
        self.expect("PROMPT ")

    def send(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, seconds=20):
        """Wait for it to be there; return the match, and what stood before it."""
        end = time.monotonic() + seconds
        while (found := re.search(pattern, self.text)) is None:
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.text!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"no {pattern!r} in {self.text!r}") from None
        before, self.text = self.text[: found.start()], self.text[found.end() :]
        return before, found

    def close(self):
        os.close(self.fd)
        self.process.kill()
        self.process.wait()


@pytest.fixture(params=["plain", "run", "-m run"])
def shell(request, tmp_path):
    python = sys.executable
    run = {
        "plain": python,
        "run": f"{os.path.dirname(python)}/memprobe run",
        "-m run": f"{python} -m memprobe run",
    }[request.param]
    (tmp_path / "count.py").write_text(COUNT)
    shell = Shell(tmp_path, run)
    yield shell
    shell.close()


def test_ctrl_c_ends_a_loop_of_the_shell(shell):
    code = "import time; print('rea' + 'dy', flush=True); time.sleep(5)"
    shell.send(f'for i in 1 2 3; do $RUN -c "{code}"; done; echo AF""TER\n')
    shell.expect("ready")
    shell.send("\x03")
    before, _ = shell.expect("PROMPT ")
    assert "AFTER" not in before
    assert "ready" not in before


@pytest.mark.parametrize(
    ("key", "name"), [("\x03", "SIGINT"), ("\x1c", "SIGQUIT")], ids=str
)
def test_a_key_sends_its_signal_once(shell, key, name):
    shell.send(f"$RUN count.py 1 {EVERYTHING}\n")
    shell.expect("ready")
    shell.send(key)
    assert shell.expect("COUNT (.*) END")[1][1] == name


def test_a_new_size_of_the_window_is_told_once(shell):
    shell.send(f"$RUN count.py 1 {EVERYTHING}\n")
    shell.expect("ready")
    fcntl.ioctl(shell.fd, termios.TIOCSWINSZ, b"\x1e\0\x64\0\0\0\0\0")
    assert shell.expect("COUNT (.*) END")[1][1] == "SIGWINCH"


@pytest.mark.parametrize(
    "target", ["-TERM %1", "-TERM -- -$!", "-TERM $!", "-USR1 $!", "-INT $!", "-HUP %1"]
)
def test_a_signal_that_a_process_sends_arrives_once(shell, target):
    shell.send(f"$RUN count.py 1.5 {EVERYTHING} &\n")
    shell.expect("ready")
    shell.send(f"kill {target}\n")
    name = "SIG" + target.split()[0][1:]
    assert shell.expect("COUNT ?(.*) END")[1][1] == name


def test_ctrl_z_and_fg(shell):
    shell.send(f"$RUN count.py 2 {EVERYTHING} SIGCONT\n")
    shell.expect("ready")
    shell.send("\x1a")
    shell.expect(r"Stopped  ")
    shell.expect("PROMPT ")
    shell.send("ps -o stat= --ppid $$; kill -0 %1 && echo ali''ve\n")
    shell.expect("alive")
    shell.expect("PROMPT ")
    shell.send("fg\n")
    assert shell.expect("COUNT (.*) END")[1][1] == "SIGCONT"


def test_ctrl_z_and_bg_twice(shell):
    shell.send(f"$RUN count.py 3 {EVERYTHING} SIGCONT\n")
    shell.expect("ready")
    for _ in range(2):
        shell.send("\x1a")
        shell.expect("Stopped  ")
        shell.expect("PROMPT ")
        shell.send("bg\n")
        shell.expect("PROMPT ")
        shell.send("fg\n")
        time.sleep(0.3)
    counted = shell.expect("COUNT (.*) END")[1][1].split()
    assert set(counted) == {"SIGCONT"}
    assert len(counted) in {2, 4}  # as bash sends them; none is doubled


def test_a_program_that_ignores_ctrl_z_goes_on_reading(shell, tmp_path):
    (tmp_path / "ignore.py").write_text("""
import signal
signal.signal(signal.SIGTSTP, signal.SIG_IGN)
print("rea" + "dy", flush=True)
print("re" + "ad", input(), flush=True)
""")
    shell.send("$RUN ignore.py\n")
    shell.expect("ready")
    shell.send("\x1a")
    time.sleep(0.3)
    shell.send("hello\n")
    shell.expect("read hello")


@pytest.mark.parametrize("number", ["SIGSTOP", "SIGTSTP"])
def test_a_program_that_stops_itself_is_a_stopped_job(shell, number):
    code = f"import os, signal; os.kill(os.getpid(), signal.{number}); print('on')"
    shell.send(f'$RUN -c "{code}"\n')
    shell.expect("Stopped")
    shell.expect("PROMPT ")
    shell.send("fg\n")
    shell.expect(r"\non\r")


def test_a_stopped_job_can_be_continued_by_its_number_alone(shell):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); print('on')"
    shell.send(f'$RUN -c "{code}" &\n')
    shell.expect("PROMPT ")
    time.sleep(1)
    shell.send("kill -CONT $!\n")
    shell.expect(r"(\n|PROMPT )on\r")


def test_input_in_the_background_stops_the_job(shell):
    shell.send('$RUN -c \'print("got", input("que" + "stion "))\' &\n')
    shell.expect("PROMPT ")
    time.sleep(1)
    shell.send("\n")
    shell.expect("Stopped")
    shell.expect("PROMPT ")
    shell.send("fg\n")
    time.sleep(0.3)
    shell.send("42\n")
    shell.expect("got 42")


def test_a_password_is_not_echoed(shell):
    code = "import getpass; print(len(getpass.getpass()))"
    shell.send(f"$RUN -c '{code}'\n")
    shell.expect("Password: ")
    shell.send("secret\n")
    before, _ = shell.expect(r"\n6\r")
    assert "secret" not in before


def test_the_debugger_answers(shell, tmp_path):
    (tmp_path / "debugged.py").write_text("import pdb; pdb.set_trace()\nprint(5)\n")
    shell.send("$RUN debugged.py\n")
    shell.expect(r"\(Pdb\) ")
    shell.send("p 6*7\n")
    shell.expect("42")
    shell.expect(r"\(Pdb\) ")
    shell.send("\x03")
    shell.expect(r"\(Pdb\) |KeyboardInterrupt")


def test_a_terminal_that_hangs_up_tells_the_program_once(shell, tmp_path):
    shell.send(f"$RUN count.py 1 {EVERYTHING} > counted; sync\n")
    time.sleep(1)
    os.kill(shell.process.pid, signal.SIGHUP)
    end = time.monotonic() + 20
    counted = tmp_path / "counted"
    while "END" not in counted.read_text():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert counted.read_text().split() == ["ready", "COUNT", "SIGHUP", "END"]


def test_the_status_and_the_words_of_the_shell(shell):
    shell.send("$RUN -c 'import os; os.kill(os.getpid(), 15)'; echo STA''TUS=$?\n")
    before, _ = shell.expect("STATUS=143")
    assert "Terminated" in before


def test_the_report_of_a_job_in_the_background_does_not_stop_it(shell):
    shell.send("stty tostop; $RUN -c 'import time; time.sleep(.3)' & wait; jobs; ")
    shell.send("echo DO''NE\n")
    before, _ = shell.expect("DONE")
    assert "Stopped" not in before
