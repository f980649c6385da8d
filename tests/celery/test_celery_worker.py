"""Real Celery workers, with a real Redis between them and us."""

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from memprobe import _record_file

celery = pytest.importorskip("celery")
pytest.importorskip("redis")
if shutil.which("redis-server") is None:
    pytest.skip("redis-server isn't installed", allow_module_level=True)
if not hasattr(os, "fork"):
    pytest.skip("Celery's prefork pool needs fork", allow_module_level=True)

# A machine may be slow: this is for hanging, not for measuring.
LIMIT = 120

APP = """
import os, signal, sys, time
from celery import Celery
import memprobe.celery

url = os.environ["BROKER"]
app = Celery("shop", broker=url, backend=url)
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_prefetch_multiplier = 1
app.conf.worker_pool_start_method = os.environ.get("START_METHOD", "fork")
app.conf.beat_schedule = {}
memprobe.celery.install(
    app,
    os.environ["RECORDS"] or None,
    interval=0.1,
    recycle=os.environ.get("RECYCLE", "peak"),
)
kept = []

if __name__ == "shop":  # a module may be imported twice, by two names
    import again

@app.task
def leak():
    kept.append(b"x" * 5_000_000)

@app.task
def add(x, y):
    return x + y

@app.task
def fail():
    raise LookupError("on purpose")

@app.task
def nap():
    time.sleep(0.3)

@app.task
def die():
    held = b"x" * (60 << 20)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)

@app.task
def spike():
    held = b"x" * (150 << 20)

@app.task(time_limit=1)
def limited():
    time.sleep(60)

@app.task
def leaves():
    sys.exit(3)

@app.task
def ended_by_a_signal():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)

@app.task
def revoked():
    open("begun", "w").close()
    time.sleep(60)

@app.task
def size_of(numbers):
    return len(numbers)
"""

FIGURES = """
import json, sys
from shop import app
form, timeout = sys.argv[1], float(sys.argv[2])
how = {"arguments": {"form": form}, "reply": True, "timeout": timeout, "limit": 7}
print(json.dumps(app.control.broadcast("memprobe", **how)))
"""

RUN = """
import os, sys, time
from shop import app
results = []
for argument in sys.argv[1:]:
    queue, name, count, *args = argument.split(",")
    for _ in range(int(count)):
        numbers = [int(argument) for argument in args]
        results.append(app.send_task("shop." + name, numbers, queue=queue))
        if name == "revoked":
            while not os.path.exists("begun"):
                time.sleep(0.05)
            results[-1].revoke(terminate=True)
for result in results:
    result.get(propagate=False, timeout=100)
"""


# Before Linux 6.15 only the parent is told how a process ended.
LINUX = tuple(map(int, platform.release().split(".")[:2]))
END = "exited" if LINUX >= (6, 15) else "ended"


def until_the_limit(cluster):
    """Try again, until the logs of the cluster are worth reading."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)
    pytest.fail(cluster.logs())


class Cluster:
    """Workers: a pool of three, one without a pool, ones that renew their child after
    two tasks or beyond a size, one of threads, and pools whose children are spawned, of
    which one has less memory than it begins with. And beat.
    """

    def __init__(self, folder):
        self.folder = folder
        self.records = folder / "records"
        self.records.mkdir()
        for name in ("shop", "again"):
            (folder / f"{name}.py").write_text(APP)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.env = {
            **os.environ,
            "BROKER": f"redis://127.0.0.1:{port}/0",
            "RECORDS": str(self.records),
            "PYTHONPATH": str(folder),
            "TMPDIR": str(folder),
            "NO_COLOR": "1",
        }
        self.started = []
        self.start("redis", "redis-server", *f"--port {port} --save".split(), "")
        self.start_worker("three", "--pool prefork --concurrency 3")
        missing = {"RECORDS": str(folder / "missing")}
        self.start_worker("solo", "--pool solo", **missing)
        self.start_worker("renewing", "--concurrency 1 --max-tasks-per-child 2")
        # Celery before 5.7 forks these too.
        self.start_worker("spawned", "--concurrency 2", START_METHOD="spawn")
        one = "--concurrency 1 --max-memory-per-child"
        self.start_worker("recycling", f"{one} 130000", RECYCLE="rss")
        small = {"RECORDS": "", "RECYCLE": "rss", "START_METHOD": "spawn"}
        self.start_worker("small", f"{one} 5000", **small)
        self.start_worker("threads", "--pool threads --concurrency 4", RECORDS="")
        beat = "-m celery -A shop beat --schedule beat --pidfile".split()
        self.start("beat", sys.executable, *beat, "")
        for _ in until_the_limit(self):
            if len(self.figures(timeout=1)) == 7:
                break

    def start(self, name, *command, **env):
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.started.append(process)

    def start_worker(self, name, options, **env):
        alone = "--without-mingle --without-gossip"
        command = f"-m celery -A shop worker -n {name}@test -Q {name} {alone} {options}"
        self.start(name, sys.executable, *command.split(), **env)

    def logs(self):
        return "".join(path.read_text() for path in self.folder.glob("*.log"))

    def stop(self):
        for process in reversed(self.started):  # the broker last
            process.terminate()
        for process in self.started:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def python(self, *arguments):
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert result.returncode == 0, result.stderr + self.logs()
        return result.stdout

    def celery(self, *arguments):
        return self.python("-m", "celery", "-A", "shop", *arguments)

    def run(self, *tasks):
        """Run tasks: queue,name,count[,argument...]; return when all have ended."""
        self.python("-c", RUN, *tasks)

    def figures(self, form="bytes", timeout=20):
        """Ask all workers; return as soon as they have answered."""
        replies = json.loads(self.python("-c", FIGURES, form, str(timeout)))
        return {node: answer for reply in replies for node, answer in reply.items()}

    def wait_for(self, node, condition):
        for _ in until_the_limit(self):
            figures = self.figures().get(f"{node}@test")
            if figures and condition(figures):
                return figures

    def recorded(self):
        records = []
        for name in _record_file.names(self.records):
            with contextlib.suppress(_record_file.NotWrittenYet):
                records.append(_record_file.read(self.records / name))
        return records


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster.__new__(Cluster)
    cluster.started = []
    try:
        cluster.__init__(tmp_path_factory.mktemp("celery"))
        cluster.run(
            *("three,add,20,1,2", "three,leak,12", "three,fail,4"),
            *("solo,add,5,1,2", "renewing,nap,4", "spawned,nap,6"),
            *("small,add,3,1,2", "threads,nap,8", "recycling,spike,3"),
        )
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def answers(cluster):
    """What the workers answer when all tasks have ended and all children are there."""
    cluster.wait_for("three", all_children_are_ready)
    cluster.wait_for("spawned", lambda it: all_children_are_ready(it, 2))
    return cluster.figures()


def by_name(figures):
    return {task["name"]: task for task in figures["tasks"]}


def all_children_are_ready(figures, count=3):
    children = figures["children"]
    return len(children) == count and all(it["growth"] is not None for it in children)


def test_the_leaking_task_is_named_first_on_the_command_line(cluster):
    out = cluster.celery(*"inspect memprobe -t 20 -d three@test,solo@test".split())
    assert "->  solo@test: OK" in out
    head, leak, *lines = out[out.index("three@test: OK") :].splitlines()[1:]
    columns = "task runs growth largest first between peak cut short"
    assert head.split() == columns.split()
    name, runs, growth, _, first, *_ = leak.split()
    assert (name, runs) == ("shop.leak", "12")
    assert re.fullmatch(r"\+[45]\d(\.\d+)?MB", growth)
    assert re.fullmatch(r"\+\d+(\.\d+)?MB", first)
    roles = [line.split()[0] for line in lines if "PoolWorker" in line]
    assert len(roles) == len(set(roles)) == 3


def test_every_child_of_the_pool_is_seen(answers):
    psutil = pytest.importorskip("psutil")
    figures = answers["three@test"]
    for process in [figures["parent"], *figures["children"]]:
        rss = psutil.Process(process["pid"]).memory_info().rss
        assert process["rss"] == pytest.approx(rss, rel=0.1)
        assert process["peak"] >= process["rss"]
        assert 0 < process["private"] < process["rss"]
        assert abs(process["growth"]) < process["rss"]
    parents = {psutil.Process(it["pid"]).ppid() for it in figures["children"]}
    assert parents == {figures["parent"]["pid"]}
    # Not the parent: that one's growth hardly differs, wherever the tasks ran.
    assert sum(it["growth"] for it in figures["children"]) > 12 * 4_900_000


def test_growth_is_added_up_by_task(answers):
    tasks = answers["three@test"]["tasks"]
    assert tasks[0]["name"] == "shop.leak"
    assert tasks[0]["count"] == 12
    # The first run of each child counts apart.
    held = tasks[0]["total"] + tasks[0]["first"]
    assert 12 * 4_900_000 < held < 12 * 7_000_000
    assert 4_900_000 < tasks[0]["first"] < held / 2
    assert 4_900_000 < tasks[0]["peak"] < 12_000_000
    assert 4_900_000 < tasks[0]["largest"] < 12_000_000
    held = [task["total"] + task["between"] for task in tasks]
    assert held == sorted(held, reverse=True)


def test_a_task_that_raises_is_counted(answers):
    assert by_name(answers["three@test"])["shop.fail"]["count"] == 4


def test_a_worker_without_a_pool_counts_in_its_own_process(answers):
    figures = answers["solo@test"]
    assert figures["children"] == []
    assert by_name(figures)["shop.add"]["count"] == 5


def test_children_that_are_spawned_are_seen(cluster, answers):
    figures = answers["spawned@test"]
    assert by_name(figures)["shop.nap"]["count"] == 6
    if celery.VERSION[:2] >= (5, 7):
        roles = {child["role"] for child in figures["children"]}
        assert roles == {"SpawnPoolWorker-1", "SpawnPoolWorker-2"}
    pids = {it["pid"] for it in [figures["parent"], *figures["children"]]}
    for _ in until_the_limit(cluster):
        if pids <= {it.pid for it in cluster.recorded() if it.state == "running"}:
            break


def test_a_worker_that_can_not_record_says_so_and_works(cluster, answers):
    log = (cluster.folder / "solo.log").read_text()
    assert re.search(r"ERROR.* memprobe can't record: .*missing", log)
    assert answers["solo@test"]["parent"]["rss"] > 0


def test_counts_outlive_the_children(answers):
    """Each child of this worker runs two tasks; four were run."""
    figures = answers["renewing@test"]
    assert by_name(figures)["shop.nap"]["count"] == 4


def test_a_child_that_is_renewed_has_recorded_a_clean_exit(cluster, answers):
    parent = answers["renewing@test"]["parent"]["pid"]
    for _ in until_the_limit(cluster):
        records = [it for it in cluster.recorded() if "renewing@test" in it.command]
        states = {record.pid: record.state for record in records}
        ended = [state for state in states.values() if state != "running"]
        if states[parent] == "running" and len(ended) >= 2 and set(ended) == {END}:
            break


def test_parent_and_all_children_record(cluster, answers):
    figures = answers["three@test"]
    pids = {it["pid"] for it in [figures["parent"], *figures["children"]]}
    for _ in until_the_limit(cluster):
        states = {record.pid: record.state for record in cluster.recorded()}
        if all(states.get(pid) == "running" for pid in pids):
            break
    assert len(pids) == 4


def test_memsample_and_memdump_are_memprobes(cluster, answers):
    to_one = ("-t", "20", "-d", "three@test")
    rss = answers["three@test"]["parent"]["rss"]
    sampled = re.search(r"([\d.]+)MB", cluster.celery("inspect", "memsample", *to_one))
    assert float(sampled[1]) == pytest.approx(rss / 2**20, rel=0.1)
    cluster.celery("inspect", "memsample", *to_one)
    # Celery's own memdump takes no number.
    dump = cluster.celery("inspect", "memdump", "3", *to_one)
    assert len(re.findall(r"-    > [\d.]+MB,", dump)) == 3
    assert re.search(r"- rss \(end\): [\d.]+MB\.", dump)


def test_a_wrong_form_is_answered_with_a_sentence(cluster):
    answer = cluster.figures("json")["three@test"]
    assert answer == {"error": "form must be table, bytes or why, not 'json'"}


def test_a_run_that_is_cut_short_counts_as_what_it_was(cluster, answers):
    before = {it["pid"] for it in answers["three@test"]["children"]}
    cut_short = "die leaves limited ended_by_a_signal revoked".split()
    cluster.run(*(f"three,{name},1" for name in cut_short))
    figures = cluster.wait_for(
        "three",
        lambda it: (
            all_children_are_ready(it)
            and by_name(it).keys() >= {f"shop.{name}" for name in cut_short}
            and all(child["running"] is None for child in it["children"])
        ),
    )
    assert not before <= {it["pid"] for it in figures["children"]}
    tasks = by_name(figures)
    ends = "killed exited time_limit terminated revoked".split()
    for name, end in zip(cut_short, ends, strict=True):
        task = tasks[f"shop.{name}"]
        counted = {key: task[key] for key in ("count", *ends) if task[key]}
        assert counted == {end: 1}, name
    assert 55 << 20 < tasks["shop.die"]["peak"] < 80 << 20
    assert tasks["shop.leak"]["count"] == 12
    line = cluster.figures("table")["three@test"].splitlines()
    assert any("shop.limited" in it and it.endswith("1 time limit") for it in line)


def test_what_arguments_take_is_not_called_the_task_s(cluster, answers):
    """They are decoded before Celery says that a task begins."""
    cluster.python(
        "-c",
        "from shop import app\n"
        "numbers = [[i] for i in range(60_000)]\n"
        "send = app.send_task\n"
        "send('shop.size_of', [numbers], queue='solo').get(timeout=60)",
    )
    task = by_name(cluster.figures()["solo@test"])["shop.size_of"]
    assert task["between"] > 4_000_000
    assert task["first"] < 2_000_000


def test_a_limit_of_rss_spares_a_child_with_a_spike_and_ends_one_that_leaks(
    cluster, answers
):
    (child,) = answers["recycling@test"]["children"]
    spike = by_name(answers["recycling@test"])["shop.spike"]
    assert spike["count"] == 3
    assert spike["peak"] > 140 << 20
    assert child["peak"] > 150 << 20
    assert child["role"] == "ForkPoolWorker-1"  # all three were the first one's
    cluster.run("recycling,leak,20")
    figures = cluster.wait_for("recycling", lambda it: all_children_are_ready(it, 1))
    assert figures["children"][0]["pid"] != child["pid"]
    assert by_name(figures)["shop.leak"]["count"] == 20


def test_a_limit_below_what_a_child_begins_with_is_passed_over(cluster, answers):
    log = (cluster.folder / "small.log").read_text()
    (warning,) = re.findall(r"WARNING.* worker_max_memory_per_child is .*", log)
    assert "is 5000 KB" in warning
    (child,) = answers["small@test"]["children"]
    assert child["role"].endswith("PoolWorker-1")
    assert by_name(answers["small@test"])["shop.add"]["count"] == 3


def test_spawned_children_share_a_table_that_no_folder_has(cluster, answers):
    if not sys.platform.startswith("linux"):
        pytest.skip("a file in the folder for such files")
    assert not list(cluster.folder.glob("memprobe-*"))


def test_growth_of_runs_that_overlap_is_left_out_and_the_answer_says_so(
    cluster, answers
):
    nap = by_name(answers["threads@test"])["shop.nap"]
    assert (nap["count"], nap["total"]) == (8, 0)
    assert nap["overlapped"] > 4
    text = cluster.figures("table")["threads@test"]
    assert f"{nap['overlapped']} of 8 runs overlapped others" in text


def test_tasks_that_wait_for_their_time_are_said_to_be_in_the_parent(cluster, answers):
    assert answers["solo@test"]["waiting"] == 0
    later = "from shop import app, add\nfor i in range(3): "
    later += "add.apply_async((1, 2), countdown=3000, queue='solo')"
    cluster.python("-c", later)
    cluster.wait_for("solo", lambda it: it["waiting"] == 3)
    text = cluster.figures("table")["solo@test"]
    assert text.endswith("The parent holds 3 tasks until their ETA.")


def test_show_names_roles_and_prints_the_tables_of_a_folder(cluster, answers):
    out = cluster.python("-m", "memprobe", "show", str(cluster.records))
    assert re.search(r"\n\nthree@test\ntask .*\nshop\.leak +12 ", out)
    listed = json.loads(
        cluster.python("-m", "memprobe", "show", "--json", str(cluster.records))
    )
    roles = {process["pid"]: process["role"] for process in listed}
    figures = answers["renewing@test"]
    assert roles[figures["parent"]["pid"]] == "MainProcess"
    (beat,) = (it for it in listed if it["role"] == "beat")
    assert " beat " in beat["command"]
    # Those that ended have one, too.
    renewed = [it["role"] for it in listed if it["parent"] == figures["parent"]["pid"]]
    assert {"ForkPoolWorker-1", "ForkPoolWorker-2"} <= set(renewed)


def test_nothing_happens_outside_workers(run_python, tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    run_python(f"""
from celery import Celery
import memprobe, memprobe.celery
app = Celery("app", broker="memory://")
memprobe.celery.install(app, {str(records)!r})

@app.task
def add(x, y):
    return x + y

assert add.apply((1, 2)).get() == 3
assert memprobe.stats().count == 0
""")
    assert list(records.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signals here")
def test_an_exception_of_a_signal_in_between_loses_no_run(run_python):
    """Celery's handler of SIGUSR1 raises SoftTimeLimitExceeded anywhere."""
    run_python("""
import signal
from types import SimpleNamespace
import memprobe
from celery import Celery
from memprobe import celery
from memprobe.celery import _runs, _tables
from memprobe._task_table import Table

class SoftTimeLimit(Exception):
    pass

def soft_limit(number, frame):
    raise SoftTimeLimit

def rss():
    signal.raise_signal(signal.SIGUSR1)
    return memprobe.rss()

celery.install(Celery("app"))
table = celery.tables["node"] = Table(1)
_tables.take_slot("node", 0)
signal.signal(signal.SIGUSR1, soft_limit)
_runs.rss = rss
raised = 0
for receivers in (
    [_runs.before_task, _runs.after_task],
    [_runs.after_task],  # it came before the first could do anything
):
    request = SimpleNamespace(hostname="node", is_eager=False)
    task = SimpleNamespace(name="task", request=request)
    for receiver in receivers:
        try:
            receiver(task=task, task_id="id", state="SUCCESS")
        except SoftTimeLimit:
            raised += 1
assert raised == 3
assert celery.slots["node"].running is None
table.slot(0).take(1, 1)
figures = table.tasks()[0]["task"]
assert figures.runs == 2
assert not any(figures.ends.values())
assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
""")


@pytest.mark.skipif(sys.platform != "linux", reason="breakdown() knows more there")
def test_why_is_answered_with_what_a_child_said_after_its_last_task(cluster):
    """Asked twice: what comes between is what it tells of."""
    first = cluster.figures("why")["solo@test"]
    assert re.fullmatch(
        r"MainProcess \d+: asked now, it says so after its next tasks", first
    )
    cluster.run("solo,add,1,1,2")
    second = cluster.figures("why")["solo@test"]
    assert re.fullmatch(
        r"MainProcess \d+, \d+ s ago, after shop\.add: its first look, .*", second
    )
    said = ""
    for _ in until_the_limit(cluster):  # it looks for 1 % of the time at most
        cluster.run("solo,leak,6")
        said = cluster.figures("why")["solo@test"]
        if "shop.leak" in said and "growth (" in said:
            break
    assert re.match(r"MainProcess \d+, \d+ s ago, after shop\.leak: in \d+ s,\n", said)
    assert re.search(r"9\d % of the growth .* is Python objects above 512 bytes", said)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"directory": 1.5}, TypeError),
        ({"interval": 0}, ValueError),
        ({"interval": float("nan")}, ValueError),
        ({"interval": "soon"}, TypeError),
        ({"interval": None}, TypeError),
        ({"keep": "all"}, TypeError),
        ({"keep": -1}, ValueError),
        ({"recycle": "never"}, ValueError),
    ],
)
def test_a_wrong_argument_is_named(arguments, error):
    import memprobe.celery

    (name,) = arguments
    with pytest.raises(error, match=name):
        memprobe.celery.install(None, **arguments)
