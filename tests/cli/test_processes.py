"""The commands that stay: `run`, `worker` and `events tail`, as real processes that are told to stop."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest
import sqlalchemy as sa

from config import ROOT
from receiver.observe.documents import Document
from tests import listings
from tests.cli.conftest import Keep, Signalbox
from tests.installation import BOX_KEYS
from tests.waiting import PATIENCE_SECONDS, until

Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Start `signalbox` on the database of the test; what still runs in the end is told to stop."""
    started: list[Process] = []
    environment = {
        **os.environ,
        "ENV": "development",
        "DATABASE_URL": database_url,
        "BOX_PRIMARY_KEY": BOX_KEYS["primary"],
        "BOX_SECONDARY_KEY": BOX_KEYS["secondary"],
        "LOG_FORMAT": "json",
        "JOURNAL": str(tmp_path / "journal.jsonl"),
        "PYTHONPATH": str(tmp_path),
    }

    def begin(*words: str, **settings: str) -> Process:
        process = subprocess.Popen(
            [sys.executable, "wsgi.py", *words],
            cwd=ROOT,
            env=environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - no thread of these tests holds a lock
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.terminate()
        if process.stdout and process.stdout.closed:
            process.wait(timeout=PATIENCE_SECONDS)
        else:
            process.communicate(timeout=PATIENCE_SECONDS)


def heed_ctrl_c() -> None:
    # What is started in the background of a shell inherits that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def read_until(process: Process, words: str) -> str:
    assert process.stdout
    deadline = threading.Timer(PATIENCE_SECONDS, process.kill)
    deadline.start()
    line = next((line for line in process.stdout if words in line), None)
    deadline.cancel()
    assert line, f"it ended with {process.wait()} and never said {words!r}"
    return line


def stop(process: Process, number: signal.Signals) -> int:
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode


def test_tail_gives_one_json_object_a_line_as_events_come(start: Start, keep: Keep) -> None:
    keep(number=1)
    tail = start("events", "tail", "--json", "--type", "box:*")
    read_until(tail, "Waiting")
    keep("filestack:fp.upload")
    kept = [keep(number=number) for number in (2, 3)]
    assert [json.loads(read_until(tail, "{"))["id"] for _ in kept] == kept
    assert stop(tail, signal.SIGINT) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_worker_runs_jobs_until_it_is_told_to_stop(
    start: Start, keep: Keep, engine: sa.Engine, number: signal.Signals
) -> None:
    keep()
    worker = start("worker")
    for _ in range(2):
        read_until(worker, '"outcome":"done"')
    assert stop(worker, number) == 0
    assert {job["state"] for job in listings.show_event(engine, "last")["jobs"]} == {"done"}


def test_a_worker_names_the_modules_that_do_not_import(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken_two.py").write_text("import nothing_like_this\n")
    line = read_until(start("worker", HANDLERS="broken_two"), "broken_two")
    assert "No module named 'nothing_like_this'" in json.loads(line)["error"]


HOLDS = """
import re
from receiver import on

@on("*")
def hold_everything_up(event):
    if event.attempt == 1:
        print("holding", flush=True)
        re.match("(a+)+$", "a" * 40 + "b")
"""


def test_a_handler_that_holds_the_gil_ends_its_worker_and_what_it_held_up_is_done_by_the_next(
    start: Start, keep: Keep, engine: sa.Engine, tmp_path: Path
) -> None:
    (tmp_path / "holds.py").write_text(HOLDS)
    kept = [keep(number=number) for number in range(2)]
    held = start("worker", HANDLERS="holds", STALL_SECONDS="3", LEASE_SECONDS="1")
    read_until(held, "holding")
    held.terminate()  # which it cannot hear
    said, _ = held.communicate(timeout=PATIENCE_SECONDS)
    assert held.returncode == 1
    assert "Timeout (0:00:03)!" in said
    assert "in hold_everything_up" in said
    start("worker", HANDLERS="holds", LEASE_SECONDS="1")

    def all_jobs() -> list[Document]:
        return [job for event_id in kept for job in listings.show_event(engine, event_id)["jobs"]]

    # Those of the handlers of this installation, too.
    until(lambda: {job["state"] for job in all_jobs()} == {"done"}, "all jobs are done")
    assert ["lost", "done"] in [[one["outcome"] for one in job["attempts"]] for job in all_jobs()]


def test_a_worker_whose_files_a_handler_closes_ends(start: Start, keep: Keep, tmp_path: Path) -> None:
    (tmp_path / "closes.py").write_text(
        "import os\nfrom receiver import on\n@on('*')\ndef close(event):\n    os.closerange(3, 1000)\n"
    )
    keep()
    worker = start("worker", HANDLERS="closes")
    assert "closed files that are not its own" in read_until(worker, "Error:")
    worker.communicate(timeout=PATIENCE_SECONDS)
    assert worker.returncode == 1


FORKS = """
import multiprocessing, os, time
from receiver import on

def tell(status):
    # In one go, and past the buffer that a child would copy: three handlers do this at once.
    os.write(1, f"its child ended with {status}\\n".encode())

@on("*")
def returns(event):
    child = os.fork()
    if child:
        tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

@on("*")
def raises(event):
    child = os.fork()
    if not child:
        raise SystemExit(3)
    tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

@on("*")
def terminates(event):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    child.terminate()
    child.join()
    tell(child.exitcode)
"""


def test_the_children_that_handlers_fork_hear_signals_and_do_not_run_on_as_workers(
    start: Start, keep: Keep, engine: sa.Engine, tmp_path: Path
) -> None:
    (tmp_path / "forking.py").write_text(FORKS)
    event_id = keep()
    worker = start("worker", HANDLERS="forking")
    statuses = {read_until(worker, "its child ended with").split()[-1] for _ in range(3)}
    assert statuses == {"0", "3", str(-signal.SIGTERM)}
    # The lines of the log come from one process, so that many and no more attempts were run.
    assert stop(worker, signal.SIGTERM) == 0
    for job in listings.show_event(engine, event_id)["jobs"]:
        assert (job["state"], [one["outcome"] for one in job["attempts"]]) == ("done", ["done"])


def test_two_handlers_of_one_name_are_refused_at_start_in_a_sentence(start: Start, tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text("from receiver import on\non('*')(lambda event: 1)\non('*')(lambda event: 2)\n")
    worker = start("worker", HANDLERS="twice")
    said, _ = worker.communicate(timeout=PATIENCE_SECONDS)
    assert worker.returncode == 1
    assert "Error: two handlers are named twice.<lambda>" in said
    assert "Traceback" not in said


def test_ctrl_c_ends_a_worker_that_is_still_loading_its_handlers(start: Start, tmp_path: Path) -> None:
    (tmp_path / "loads.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(600)\n")
    worker = start("worker", HANDLERS="loads")
    read_until(worker, "loading")
    assert stop(worker, signal.SIGINT) == -signal.SIGINT


def test_a_second_signal_ends_a_worker_at_once(start: Start, keep: Keep, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import threading\n"
        "from receiver import on\n"
        "@on('*')\n"
        "def hang(event):\n"
        "    print('hanging', flush=True)\n"
        "    threading.Event().wait()\n"
    )
    keep()
    worker = start("worker", HANDLERS="slow")
    read_until(worker, "hanging")

    def has_ended() -> bool:
        worker.terminate()
        return worker.poll() is not None

    until(has_ended, "the worker ends")
    assert worker.returncode == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_run_serves_and_works_until_it_is_told_to_stop(
    start: Start, signalbox: Signalbox, number: signal.Signals
) -> None:
    run = start("run", "--port", "0")
    base = read_until(run, "listens on").split()[-1]
    assert "by a raw TCP tunnel to it (ssh -R): ADMIN_PASSWORD closes them" in read_until(run, "pages")
    assert f"send box FILE.UPLOADED --to {base}" in read_until(run, "send box")
    line = read_until(run, "sandbox")
    assert line.endswith("signalbox sandbox\n")
    assert f"PORT={base.rpartition(':')[2]} " in line
    read_until(run, "Booting worker")
    assert signalbox("send", "box", "FILE.UPLOADED", "--to", base).exit_code == 0
    read_until(run, '"outcome":"done"')
    assert stop(run, number) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(base, trust_env=False, timeout=PATIENCE_SECONDS)


SLOW = """
import pathlib, time
from receiver import on
@on("*")
def slow(event):
    pathlib.Path("{folder}", "begun").touch()
    time.sleep(1.5)
    print("slow has ended", flush=True)
"""


def kill(run: Process) -> None:
    run.kill()


def ctrl_c_with_the_reader_gone(run: Process) -> None:
    assert run.stdout
    run.stdout.close()
    run.send_signal(signal.SIGINT)


@pytest.mark.parametrize("end", [kill, ctrl_c_with_the_reader_gone])
def test_however_run_ends_nothing_stays_and_the_job_that_runs_is_finished(
    start: Start, keep: Keep, engine: sa.Engine, tmp_path: Path, end: Callable[[Process], None]
) -> None:
    (tmp_path / "slow.py").write_text(SLOW.format(folder=tmp_path))
    run = start("run", "--port", "0", HANDLERS="slow")
    base = read_until(run, "listens on").split()[-1]
    numbers = [int(re.findall(r"pid=(\d+)", read_until(run, "started (pid="))[0]) for _ in range(2)]
    read_until(run, "Booting worker")  # from here on web listens
    assert httpx.get(f"{base}/healthz", trust_env=False, timeout=PATIENCE_SECONDS).status_code == 200
    keep()
    until((tmp_path / "begun").exists, "the handler runs")
    end(run)
    until(lambda: not any(map(group_exists, numbers)), "web and worker have ended, and gunicorn's processes")
    for job in listings.show_event(engine, "last")["jobs"]:
        assert (job["state"], [attempt["outcome"] for attempt in job["attempts"]]) == ("done", ["done"])


def group_exists(number: int) -> bool:
    """Say whether anything runs in a group; what has ended and is taken away by nobody does not."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            stats.append(path.read_text().rpartition(")")[2].split())
    return any(int(group) == number and state not in "ZX" for state, _parent, group, *_ in stats)


def test_run_fails_where_a_process_ends_by_itself(start: Start, tmp_path: Path) -> None:
    twice = "from receiver import on\n@on('*')\ndef same(event): ...\n@on('*')\ndef same(event): ...\n"
    (tmp_path / "twice.py").write_text(twice)
    run = start("run", "--port", "0", HANDLERS="twice")
    assert "two handlers are named twice.same" in read_until(run, "Error:")
    run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 1


def test_run_says_at_once_that_its_port_is_taken(signalbox: Signalbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = signalbox("run", "--port", str(taken.getsockname()[1]))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "something listens there already" in result.stderr
    assert "--port" in result.stderr
