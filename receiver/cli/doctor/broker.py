"""What `signalbox doctor` asks the broker of Celery: whether it answers, and which workers serve which queues."""

import multiprocessing
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.pool import ThreadPool

from flask import Flask

from receiver import humanize
from receiver.cli.doctor.checks import Finding
from receiver.cli.installation import load_handlers
from receiver.errors import HandlerError, SettingsError, StoreError
from receiver.jobs import celery_tasks  # before kombu: it says how Celery is installed where it is not

from kombu.connection import Connection  # isort: skip
from kombu.exceptions import KombuError, OperationalError  # isort: skip

PATIENCE_SECONDS = 6
ANSWERED_WITHIN_SECONDS = (1, 2)  # a second question where the first was not answered by all: machines may be busy
START = "celery -A wsgi.celery worker"
_ADDRESS = re.compile(
    r"(?P<scheme>\w+://)?([^/?#]*@)?(?P<place>((\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:[0-9]+)?)?(/[^?#@]*)?)(\?[^#@]*)?"
)


def broker(app: Flask) -> Iterator[Finding]:
    """Say whether the broker answers, and whether Celery workers live that serve every queue that is asked for."""
    url: str = app.config["CELERY_BROKER_URL"]
    where = without_secrets(url)
    if where is None:
        mend = "In its password, write / ? # @ ; as %2F %3F %23 %40 %3B."
        yield Finding("broker", "fail", "CELERY_BROKER_URL is no address", mend)
        return
    try:
        celery_tasks.require_driver(url)
    except SettingsError as error:
        (said,) = error.problems["CELERY_BROKER_URL"]
        yield Finding("broker", "fail", f"CELERY_BROKER_URL {said}", said.rpartition(": ")[2])
        return
    wanted = _wanted()
    try:
        workers = ask_within(PATIENCE_SECONDS, url, wanted)
    except StoreError as error:
        yield Finding("broker", "fail", f"{where}: {error}", "Start the broker, or put CELERY_BROKER_URL right.")
        return
    yield Finding("broker", "ok", f"{where} answers")
    if workers is None:
        yield Finding("celery", "ok", "not known: this kind of broker carries no question to Celery workers")
    else:
        yield from _of_workers(workers, wanted)


def without_secrets(url: str) -> str | None:
    """Give the address of a broker without user, password and options; None where they cannot be told apart."""
    found = [_ADDRESS.fullmatch(one) for one in url.split(";")]
    return ";".join(f"{one['scheme'] or ''}{one['place']}" for one in found if one) if all(found) else None


def _wanted() -> dict[str, list[str]]:
    """Give the queues that have to be served, the usual one first, each with the handlers that ask for it."""
    asked: dict[str, list[str]] = {}
    with suppress(HandlerError):  # another check says so
        asked = celery_tasks.asked_queues(load_handlers())
    return {celery_tasks.QUEUE: []} | asked


def _of_workers(workers: list[set[str]], wanted: dict[str, list[str]]) -> Iterator[Finding]:
    # Applications that share a broker hear each other's questions: those of another are not ours to count.
    ours = [queues for queues in workers if not queues.isdisjoint(wanted)]
    if not ours:
        said = f"no Celery worker answers that serves {' or '.join(wanted)}: jobs are handed over and not run"
        yield Finding("celery", "fail", said, f"{START} -Q {','.join(wanted)}" if len(wanted) > 1 else START)
        return
    missing = wanted.keys() - set().union(*ours)
    for queue in [one for one in wanted if one in missing]:
        whose = f", which {' and '.join(wanted[queue])} asked for" if wanted[queue] else ""
        said = f"no Celery worker serves the queue {queue}{whose}: its jobs are not run"
        yield Finding("celery", "fail", said, f"{START} -Q {queue} -n {queue}@%h (or let one that runs serve it too)")
    if not missing:
        yield Finding("celery", "ok", f"{humanize.count(len(ours), 'worker')} alive, serving {', '.join(wanted)}")


def ask_within(seconds: float, url: str, wanted: Collection[str]) -> list[set[str]] | None:
    """Give the queues of each Celery worker that answers; None where this kind of broker carries no question to them.

    StoreError where the broker does not answer in time, or refuses.
    """
    try:
        # Clients have limits of their own, but not all of them, and not for names: a thread may be left behind.
        with ThreadPool(1) as beside:
            return beside.apply_async(_ask, (url, wanted)).get(seconds)
    except multiprocessing.TimeoutError:
        raise StoreError(f"no answer within {seconds:g} s") from None
    except (ValueError, TypeError) as error:  # their words may be those of the address
        raise StoreError(f"it cannot be used: {type(error).__name__}") from error
    except (KombuError, OSError, ImportError) as error:
        raise StoreError(str(error) or type(error).__name__) from error


def _ask(url: str, wanted: Collection[str]) -> list[set[str]] | None:
    app = celery_tasks.make_celery(url)
    found: list[set[str]] = []
    with app.connection_for_write() as connection, _translated(connection):
        connection.ensure_connection(max_retries=1, interval_start=0)
        if "fanout" not in connection.transport.implements.exchange_type:
            return None
        for seconds in ANSWERED_WITHIN_SECONDS:
            # Not by `inspect`: of two workers that go by one name, it gives the last to answer.
            answers = app.control.broadcast("active_queues", reply=True, timeout=seconds, connection=connection)
            found = [{queue["name"] for queue in queues} for one in answers for queues in one.values()]
            if set(wanted) <= set().union(*found):
                break
    return found


@contextmanager
def _translated(connection: Connection) -> Iterator[None]:
    """Let what the client of this broker raises become one kind of error."""
    try:
        yield
    except connection.connection_errors + connection.channel_errors as error:
        raise OperationalError(str(error)) from error
