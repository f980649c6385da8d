"""``memprobe.prometheus.Collector``: the recorder's files among a program's metrics."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

prometheus_client = pytest.importorskip("prometheus_client", reason="not installed")
from memprobe.prometheus import Collector  # noqa: E402

MB = 2**20
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "prometheus.md"


@pytest.fixture
def write(trail, record_files):
    def write(pid, rss=60 * MB, **facts):
        samples = [(0, 50 * MB), (10, rss)]
        return record_files.write(trail, samples, pid=pid, **facts)

    return write


def registry_of(collector):
    registry = prometheus_client.CollectorRegistry()
    registry.register(collector)
    return registry


def text_of(collector):
    return prometheus_client.generate_latest(registry_of(collector)).decode()


def test_it_says_what_the_command_says(trail, write, record_files):
    held = []
    for pid, rss, kills in [(7, 60 * MB, 0), (8, 90 * MB, 2)]:
        facts = {"memory_limit": 900 * MB, "cgroup_memory": 200 * MB}
        path = write(pid, rss, state="running", oom_kills=kills, **facts)
        if sys.platform == "linux":
            held.append(record_files.hold(path))
    write(9, state="died", status=9)
    from prometheus_client.openmetrics import exposition, parser

    for options in ({}, {"per_process": True}):
        registry = registry_of(Collector(trail, **options))
        ours = exposition.generate_latest(registry).decode()
        command = [sys.executable, "-m", "memprobe", "show", "--openmetrics"]
        command += ["--per-process"] if options else []
        done = subprocess.run(
            [*command, str(trail)], capture_output=True, text=True, timeout=60
        )
        assert 'memprobe_processes{state="died"} 1' in ours

        def families(text):
            return {
                family.name: (family.type, family.documentation, family.samples)
                for family in parser.text_string_to_metric_families(text)
            }

        assert families(ours) == families(done.stdout)
    for file in held:
        file.close()


def test_to_register_it_reads_nothing_and_knows_its_names(trail, write):
    path = write(7)
    registry = registry_of(Collector(trail))
    path.write_bytes(b"changed")  # what has ended is read once
    assert registry.get_sample_value("memprobe_unreadable_files") == 1
    with pytest.raises(ValueError, match="memprobe_rss_bytes"):
        registry.register(prometheus_client.Gauge("memprobe_rss_bytes", "another"))


def test_a_folder_that_is_yet_to_be_made_is_counted(tmp_path):
    registry = registry_of(Collector(tmp_path / "no"))
    assert registry.get_sample_value("memprobe_unreadable_files") == 1


def test_a_damaged_file_takes_nothing_else_along(trail, write):
    write(7).write_bytes(b"no record")
    write(8)
    text = text_of(Collector(str(trail)))
    assert 'memprobe_processes{state="exited"} 1' in text
    assert "memprobe_unreadable_files 1" in text


def test_files_of_ended_processes_are_read_once(trail, write):
    path = write(7)
    registry = registry_of(Collector(trail))

    def exited():
        return registry.get_sample_value("memprobe_processes", {"state": "exited"})

    assert exited() == 1
    path.write_bytes(b"changed")
    write(8)
    assert exited() == 2
    path.unlink()
    assert exited() == 1


@pytest.mark.parametrize(
    ("directory", "error", "message"),
    [(7, TypeError, "directory must be a path, not 7"), ("a\0", ValueError, "NUL")],
)
def test_a_wrong_directory_is_refused_at_once(directory, error, message):
    with pytest.raises(error, match=message):
        Collector(directory)


needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool")


def promtool(*arguments, **options):
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, timeout=60, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_promtool
def test_promtool_finds_nothing_in_the_metrics(trail, write):
    write(7, oom_kills=1, memory_limit=900 * MB, cgroup_memory=200 * MB)
    assert promtool("check", "metrics", input=text_of(Collector(trail))) == ""


@needs_promtool
@pytest.mark.skipif(not PAGE.is_file(), reason="no docs beside the tests")
def test_the_rules_of_the_documentation_fire(tmp_path):
    (rules,) = re.findall(r"```yaml\n(groups:\n.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "rules.yml").write_text(rules)
    assert "4 rules found" in promtool("check", "rules", str(tmp_path / "rules.yml"))
    (tmp_path / "test.yml").write_text(RULES_TEST)
    promtool("test", "rules", "test.yml", cwd=tmp_path)


# app leaks 60 MB an hour from 200 MB on; steady has one spike; its cgroup kills at 4 h.
RULES_TEST = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: memprobe_rss_bytes{command="app"}
        values: 2e8+1e6x400
      - series: memprobe_rss_bytes{command="steady"}
        values: 2e8x120 9e8x3 2e8x280
      - series: memprobe_cgroup_memory_bytes{command="app"}
        values: 3e8+1e6x400
      - series: memprobe_cgroup_memory_limit_bytes{command="app"}
        values: 6e8x400
      - series: memprobe_oom_kills_total{command="steady"}
        values: 0x240 1x160
      - series: memprobe_unreadable_files
        values: 0x300 1x100
    alert_rule_test:
      - {eval_time: 30m, alertname: MemoryGrows, exp_alerts: []}
      - eval_time: 5h
        alertname: MemoryGrows
        exp_alerts: [{exp_labels: {command: app}}]
      - {eval_time: 30m, alertname: MemoryFullSoon, exp_alerts: []}
      - eval_time: 2h
        alertname: MemoryFullSoon
        exp_alerts: [{exp_labels: {command: app}}]
      - {eval_time: 3h, alertname: KilledForWantOfMemory, exp_alerts: []}
      - eval_time: 245m
        alertname: KilledForWantOfMemory
        exp_alerts: [{exp_labels: {command: steady}}]
      - {eval_time: 5h, alertname: MemoryNotRecorded, exp_alerts: []}
      - eval_time: 6h
        alertname: MemoryNotRecorded
        exp_alerts: [{}]
"""
