"""A real gunicorn that loads its application before it forks."""

import os
import subprocess
import sys
import time

import pytest

from memprobe import _record_file

pytest.importorskip("gunicorn", reason="gunicorn isn't installed")
if not hasattr(os, "fork"):
    pytest.skip("gunicorn needs fork", allow_module_level=True)

APP = """
import memprobe
memprobe.record("records", 0.05)

def app(environ, start_response):
    start_response("200 OK", [])
    return []
"""


def test_master_and_all_workers_of_gunicorn_record(tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    (tmp_path / "service.py").write_text(APP)
    command = "-m gunicorn --preload --workers 3 --bind 127.0.0.1:0 service:app"

    def states():
        found = {}
        for name in _record_file.names(records):
            try:
                record = _record_file.read(records / name)
            except _record_file.NotWrittenYet:
                continue
            found[record.pid] = record.state
        return found

    log = tmp_path / "log"
    with log.open("wb") as output:
        master = subprocess.Popen(
            [sys.executable, *command.split()],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 60
        while list(states().values()) != ["running"] * 4:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        assert master.pid in states()
        master.terminate()
        assert master.wait(60) == 0, log.read_text()
        assert list(states().values()) == ["exited"] * 4
    finally:
        master.kill()
        master.wait()
