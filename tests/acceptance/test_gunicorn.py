"""gunicorn's options in real processes: what works does so with deliveries, and promises nothing that is not kept."""

import os
import signal
from typing import Any

from tests.acceptance.service import KEEPS_OPEN, Service
from tests.acceptance.test_sockets import deliver, forge, kept_open
from tests.waiting import PATIENCE_SECONDS, until


def test_without_keep_alive_no_answer_promises_any(service: Service) -> None:
    service.environ["GUNICORN_CMD_ARGS"] = "--keep-alive 0"
    service.web()
    body, lines = forge()
    with kept_open(service) as connection:
        assert deliver(connection, body, lines)[2] == "close"
        connection.request("GET", "/healthz")
        assert connection.getresponse().headers["Connection"] == "close"


def test_options_that_work_do_so_together(service: Service) -> None:
    folder = service.folder
    options = (
        f"--max-requests 5 --max-requests-jitter 2 --timeout 60 --graceful-timeout 10 {KEEPS_OPEN} --umask 077"
        f" --pid {folder}/web.pid --worker-tmp-dir {folder} --reuse-port --no-sendfile --name box --backlog 100"
        f" --error-logfile {folder}/error.log --capture-output --enable-stdio-inheritance --log-level debug"
        " --limit-request-line 4000 --limit-request-fields 50 --limit-request-field_size 4000 --http-parser python"
        " --casefold-http-method --worker-connections 100 --header-map refuse --forwarded-allow-ips 10.0.0.1"
    )
    service.environ["GUNICORN_CMD_ARGS"] = options
    web = service.web()
    body, lines = forge()
    answers: list[tuple[int, Any, str]] = []
    while len(answers) < 20:
        with kept_open(service) as connection:
            for _ in range(20):
                answers.append(deliver(connection, body, lines))
                if answers[-1][2] == "close":
                    break
    assert {status for status, *_ in answers} == {200}
    assert sum(how == "close" for *_, how in answers) >= 2  # a new process every five to seven requests
    assert (folder / "web.pid").read_text().strip() == str(web.pid)
    assert "Traceback" not in service.log("error.log")
    web.terminate()
    assert web.wait(PATIENCE_SECONDS) == 0


def test_with_statsd_or_a_logger_of_ones_own_gunicorn_gives_the_answers(service: Service) -> None:
    (service.folder / "loud.py").write_text(
        "from gunicorn.glogging import Logger\n"
        "class Loud(Logger):\n"
        "    def access(self, resp, req, environ, request_time):\n"
        "        print('answered', resp.status, flush=True)\n"
    )
    for options in ("--logger-class loud.Loud", "--statsd-host 127.0.0.1:9"):
        service.environ["GUNICORN_CMD_ARGS"] = f"{KEEPS_OPEN} {options}"
        web = service.web()
        body, lines = forge()
        with kept_open(service) as connection:
            assert {deliver(connection, body, lines)[0] for _ in range(2)} == {200}
        web.terminate()
        assert web.wait(PATIENCE_SECONDS) == 0
    assert service.log("web.log").count("answered 200 OK") >= 2


def test_a_file_of_ones_own_takes_hooks_and_is_loaded_again_on_sighup(service: Service) -> None:
    (service.folder / "mine.py").write_text(
        "from config.gunicorn import *\n"
        "def post_request(worker, request, environ, response):\n"
        "    print('seen', request.path, response.status, flush=True)\n"
    )
    service.environ["GUNICORN_CMD_ARGS"] = f"{KEEPS_OPEN} --reload --reload-engine poll"
    command = f"gunicorn --config {service.folder}/mine.py wsgi:app"
    web = service.start(command, "web.log")
    until(lambda: service.answers() or web.poll() is not None, "the web process answers")
    body, lines = forge()
    with kept_open(service) as connection:
        assert deliver(connection, body, lines)[0] == 200
    until(lambda: "seen /hooks/box 200 OK" in service.log("web.log"), "the hook is told")
    os.kill(web.pid, signal.SIGHUP)
    until(lambda: service.log("web.log").count("Booting worker") >= 2, "a new process begins")
    with kept_open(service) as connection:
        assert deliver(connection, body, lines)[0] == 200
