"""memprobe run --record: a program and all Python programs that it starts."""

import os
import subprocess
import sys

import pytest

from memprobe import _record

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX")


@pytest.fixture
def run_recorded(tmp_path):
    """Run a script under the command; return its records and standard output."""
    folder = tmp_path / "trail"
    folder.mkdir()

    def run(code, *options, status=0, environment=None):
        (tmp_path / "program.py").write_text(code)
        command = [sys.executable, "-m", "memprobe", "run", "--record", "trail"]
        done = subprocess.run(
            [*command, *options, "program.py", "argument"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env={**os.environ, **(environment or {})},
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        run.report = done.stderr
        names = _record.names(str(folder))
        return [_record.read(str(folder / name)) for name in names], done.stdout

    return run


def test_the_program_is_recorded_and_reported(run_recorded):
    (record,), out = run_recorded("import sys; print(sys.argv)")
    assert out == "['program.py', 'argument']\n"
    assert record.state == "exited"
    assert record.interval == 1.0
    assert record.argv[-2:] == ["program.py", "argument"]
    assert "- rss (peak):" in run_recorded.report


@posix
def test_what_it_starts_is_recorded_too(run_recorded):
    """By exec, as a grandchild, by multiprocessing; not what has no site."""
    records, out = run_recorded(
        """
import multiprocessing, os, subprocess, sys

def work():
    print("spawned", flush=True)

if __name__ == "__main__":
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1)'])"
    subprocess.run([sys.executable, "-c", child], check=True)
    subprocess.run([sys.executable, "-S", "-c", "print('bare')"], check=True)
    process = multiprocessing.get_context("spawn").Process(target=work)
    process.start()
    process.join()
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-c", "print('exec')"])
""",
        "--interval",
        "0.5",
    )
    assert out == "1\nbare\nspawned\nexec\n"
    commands = [" ".join(record.argv) for record in records]
    assert any(text.endswith("-c print(1)") for text in commands)
    assert any(text.endswith("-c print('exec')") for text in commands)
    assert any("spawn_main" in text for text in commands)
    assert not any("bare" in text for text in commands)
    assert {record.interval for record in records} == {0.5}
    # What exec ended had no time to say so.
    killed = [record.argv for record in records if record.state != "exited"]
    assert [argv[-2:] for argv in killed] == [["program.py", "argument"]]


def test_a_program_that_samples_or_records_itself_runs_as_ever(run_recorded):
    records, _ = run_recorded("""
import os, subprocess, sys
import memprobe
with memprobe.sampling(0.001):
    pass
os.mkdir("own")
memprobe.record("own")
memprobe.stop_recording()
assert os.listdir("own") == []
if len(sys.argv) > 1:
    os.rmdir("own")
    subprocess.run([sys.executable, "program.py"], check=True)
    os.rmdir("own")
    command = [sys.executable, "-m", "memprobe", "run", "-m", "this"]
    subprocess.run(command, check=True, capture_output=True)
""")
    assert len(records) == 3
    assert {record.state for record in records} == {"exited"}


def test_the_hidden_sitecustomize_is_imported(run_recorded, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import sys; sys.hidden = 1\n")
    paths = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    code = "import os, sys; print(sys.hidden, sitecustomize.__file__, sys.path)"
    records, out = run_recorded(
        f"""
import subprocess, sys
code = "import sitecustomize; " + {code!r}
subprocess.run([sys.executable, "-c", code], check=True)
""",
        environment={"PYTHONPATH": os.pathsep.join(paths)},
    )
    assert out.startswith(f"1 {tmp_path / 'site' / 'sitecustomize.py'} ")
    assert "_startup" not in out
    assert len(records) == 2


@posix
def test_children_that_cannot_record_run_as_ever(run_recorded):
    records, out = run_recorded("""
import os, shutil, subprocess, sys
shutil.rmtree("trail")
done = subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True)
assert (done.returncode, done.stdout, done.stderr) == (0, b"1\\n", b"")
os.mkdir("trail")
""")
    assert (records, out) == ([], "")


def test_a_folder_that_is_not_there_is_said_before_the_program_runs(tmp_path):
    (tmp_path / "program.py").write_text("print('ran')")
    command = [sys.executable, "-m", "memprobe", "run", "--record", "no", "program.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("memprobe: ")
    if os.name != "nt":  # which has its own words
        assert "No such file or directory" in done.stderr
    assert done.stderr.count("\n") == 1
