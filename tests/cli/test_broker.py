"""`signalbox doctor` and the broker of Celery: whether it answers, which workers live, and what is never shown."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from kombu.transport import TRANSPORT_ALIASES, memory

from receiver.cli.doctor import broker as asking
from receiver.cli.doctor.broker import broker, without_secrets
from receiver.cli.doctor.checks import Finding
from receiver.cli.installation import start_celery
from receiver.cli.worker import worker_of
from receiver.errors import SettingsError
from receiver.jobs import celery_tasks
from receiver.jobs.routing import Router
from tests.acceptance.service import Service, free_port
from tests.cli.conftest import Signalbox
from tests.waiting import PATIENCE_SECONDS, until


@pytest.fixture(autouse=True)
def in_the_application(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Router]:
    """The application, with a router in which one handler asks for a queue of its own."""
    router = Router()

    @router.on("*", queue="slow")
    def takes_long(event: object) -> None: ...

    monkeypatch.setattr(asking, "load_handlers", lambda: router)
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    with app.app_context():
        yield router


@pytest.fixture
def service(tmp_path: Path, database_url: str, app: Flask) -> Iterator[Service]:
    """A Redis with nothing in it, which is the broker; Celery is started by the tests."""
    service = Service(tmp_path, DATABASE_URL=database_url)
    service.redis()
    app.config["CELERY_BROKER_URL"] = service.environ["CELERY_BROKER_URL"]
    yield service
    service.stop()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def said(findings: Iterator[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.state, finding.said, finding.mend) for finding in findings]


def test_without_a_celery_worker_it_says_which_queues_wait_and_how_to_start_one(
    app: Flask, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWERED_WITHIN_SECONDS", (0.2,))
    answers, (state, what, mend) = said(broker(app))
    assert answers == ("ok", f"{service.environ['CELERY_BROKER_URL']} answers", "")
    assert (state, mend) == ("fail", "celery -A wsgi.celery worker -Q signalbox,slow")
    assert what == "no Celery worker answers that serves signalbox or slow: jobs are handed over and not run"


def test_a_worker_of_the_usual_queue_is_all_that_is_started_where_no_handler_asks_for_another(
    app: Flask, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "load_handlers", Router)
    monkeypatch.setattr(asking, "ANSWERED_WITHIN_SECONDS", (0.2,))
    _, (state, _, mend) = said(broker(app))
    assert (state, mend) == ("fail", "celery -A wsgi.celery worker")


def test_a_queue_that_no_celery_worker_serves_is_named_with_its_handlers_until_one_does(
    app: Flask, service: Service, in_the_application: Router
) -> None:
    (handler,) = in_the_application.handlers()
    service.celery()
    _, (state, what, mend) = until(
        lambda: (found := said(broker(app)))[1][1].startswith("no Celery worker serves") and found, "a worker answers"
    )
    assert (state, mend) == (
        "fail",
        "celery -A wsgi.celery worker -Q slow -n slow@%h (or let one that runs serve it too)",
    )
    assert what == f"no Celery worker serves the queue slow, which {handler.name} asked for: its jobs are not run"
    service.celery("--queues slow")  # by the same name as the other
    _, found = until(
        lambda: (found := said(broker(app)))[1][0] == "ok" and found, "a worker of the other queue answers"
    )
    assert found == ("ok", "2 workers alive, serving signalbox, slow", "")


def test_the_workers_of_another_application_on_the_same_broker_do_not_count(app: Flask, service: Service) -> None:
    service.celery("--queues of-another")
    until(
        lambda: asking.ask_within(PATIENCE_SECONDS, app.config["CELERY_BROKER_URL"], ["of-another"]),
        "its worker answers",
    )
    assert [state for state, _, _ in said(broker(app))] == ["ok", "fail"]


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_not_there_is_a_failure_and_no_password_is_shown(
    signalbox: Signalbox, app: Flask, scheme: str
) -> None:
    where = f"127.0.0.1:{free_port()}"
    app.config["CELERY_BROKER_URL"] = f"{scheme}://someone:pass-word@{where}/0"
    found, output = of_the_broker(signalbox)
    assert found["state"] == "fail"
    assert found["said"].startswith(f"{scheme}://{where}/0: ")
    assert "refused" in found["said"]
    assert found["mend"] == "Start the broker, or put CELERY_BROKER_URL right."
    assert "pass-word" not in output
    assert "someone" not in output


def test_options_of_an_address_that_cannot_be_used_are_not_shown(signalbox: Signalbox, app: Flask) -> None:
    app.config["CELERY_BROKER_URL"] = "redis://:pass-word@127.0.0.1/0?password=pass-word"
    found, output = of_the_broker(signalbox)
    assert (found["state"], found["said"]) == ("fail", "redis://127.0.0.1/0: it cannot be used: TypeError")
    assert "pass-word" not in output


def test_a_wrong_password_is_a_failure_and_is_not_shown(signalbox: Signalbox, app: Flask, service: Service) -> None:
    with redis.Redis.from_url(service.environ["CELERY_BROKER_URL"]) as keeper:
        keeper.config_set("requirepass", "right-word")
    app.config["CELERY_BROKER_URL"] = service.environ["CELERY_BROKER_URL"].replace("//", "//:pass-word@")
    found, output = of_the_broker(signalbox)
    assert (found["state"], "password" in found["said"]) == ("fail", True)
    assert "pass-word" not in output


def of_the_broker(signalbox: Signalbox) -> tuple[dict[str, str], str]:
    """Give what the doctor finds about a broker that fails, and all that it prints, as JSON and for people."""
    result = signalbox("doctor", "--json")
    assert result.exit_code == 1
    (found,) = [item for item in json.loads(result.stdout)["items"] if item["name"] in ("broker", "celery")]
    return found, result.output + signalbox("doctor").output


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_never_says_a_word_is_not_waited_for(
    app: Flask, silent: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.5)
    app.config["CELERY_BROKER_URL"] = f"{scheme}://{silent}//"
    assert said(broker(app)) == [
        (
            "fail",
            f"{scheme}://{silent}//: no answer within 0.5 s",
            "Start the broker, or put CELERY_BROKER_URL right.",
        )
    ]


def test_a_password_that_breaks_the_address_is_not_shown_and_the_mend_says_how_to_write_it(app: Flask) -> None:
    app.config["CELERY_BROKER_URL"] = "redis://:pass/word@localhost:6379/0"
    mend = "In its password, write / ? # @ ; as %2F %3F %23 %40 %3B."
    assert said(broker(app)) == [("fail", "CELERY_BROKER_URL is no address", mend)]


def test_a_broker_whose_client_is_not_installed_is_a_failure_that_names_it(app: Flask) -> None:
    app.config["CELERY_BROKER_URL"] = "sqs://key:secret@"
    ((state, what, mend),) = said(broker(app))
    assert (state, mend) == ("fail", "pip install 'kombu[sqs]'")
    assert "names a broker of sqs://, for which boto3 and " in what
    assert "secret" not in what


def without_its_driver(url: str) -> bool:
    try:
        celery_tasks.require_driver(url)
    except SettingsError as error:
        assert "pip install 'kombu[" in str(error)  # noqa: PT017
        return True
    return False


def test_every_kind_of_broker_without_its_client_is_told_before_it_is_used(app: Flask) -> None:
    found = {scheme: without_its_driver(f"{scheme}://user:secret@host/1") for scheme in TRANSPORT_ALIASES}
    assert {scheme for scheme, is_missing in found.items() if is_missing} >= {"sqs", "mongodb", "consul", "gcpubsub"}
    assert {found[scheme] for scheme in ("redis", "rediss", "amqp", "amqps", "memory", "filesystem")} == {False}
    assert without_its_driver("redis://localhost:6379/0;sqs://key:secret@")


def test_neither_the_worker_nor_celery_starts_on_a_broker_without_its_client(app: Flask, engine: sa.Engine) -> None:
    app.config["CELERY_BROKER_URL"] = "sqs://key:secret@"
    with pytest.raises(SettingsError, match=r"pip install 'kombu\[sqs\]'"):
        worker_of(engine, Router(), app.config)
    with pytest.raises(SettingsError, match=r"pip install 'kombu\[sqs\]'"):
        start_celery(app)


def test_a_broker_that_carries_no_question_to_workers_is_well_where_it_answers(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRANSPORT_ALIASES, "straight", f"{__name__}:Straight")
    app.config["CELERY_BROKER_URL"] = "straight://localhost"
    assert [(finding.name, finding.state) for finding in broker(app)] == [("broker", "ok"), ("celery", "ok")]


class Straight(memory.Transport):
    """Takes each message to one queue, as SQS does."""

    implements = memory.Transport.implements.extend(exchange_type=frozenset(["direct"]))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:pass-word@localhost/1", "redis://localhost/1"),
        ("redis://pass-word@localhost", "redis://localhost"),
        ("amqp://someone:pass@word@[::1]:5672/%2Fplace", "amqp://[::1]:5672/%2Fplace"),
        ("amqps://a:pass-word@one//;amqps://a:pass-word@two//", "amqps://one//;amqps://two//"),
        ("rediss://h:1/0?ssl_cert_reqs=required&password=pass-word", "rediss://h:1/0"),
        ("sqs://key:pass-word@", "sqs://"),
        ("redis://:pass#word@localhost/0", None),
        ("redis://:pass?word@localhost/0", None),
        ("redis://:pass;word@localhost/0", None),
        ("redis://pass/word@localhost/0", None),
        ("redis://h/0?password=pass@word", None),
    ],
)
def test_of_an_address_only_the_place_is_shown(url: str, shown: str | None) -> None:
    assert without_secrets(url) == shown
