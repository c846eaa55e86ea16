"""Workers say what they have loaded; what they said is there for those who load nothing."""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from receiver.cli.worker import sign_in
from receiver.errors import NotFoundError, StoreError
from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs import registry
from receiver.jobs import store as jobs
from receiver.jobs.dead_letters import Count
from receiver.jobs.retry import Again, Dead
from receiver.jobs.routing import BrokenModule, Router
from receiver.jobs.store import Finish, Routing
from receiver.storage.tables import handlers
from tests.installation import Clock, arrive
from tests.waiting import until

HERE = f"{__name__}.index_file"
LOG = f"{__name__}.log_event"

pytestmark = pytest.mark.both_databases


def index_file(event: Event) -> None:
    """Put the file into the index.

    More about it.
    """


def log_event(event: Event) -> None: ...


def test_a_worker_says_what_it_has_loaded(engine: sa.Engine, router: Router, clock: Clock) -> None:
    router.on("box:FILE.UPLOADED", "box:FILE.MOVED", attempts=3)(index_file)
    registry.sign_in(engine, router, clock())
    assert registry.list_handlers(engine, clock()) == [
        {
            "name": HERE,
            "module": __name__,
            "patterns": ["box:FILE.UPLOADED", "box:FILE.MOVED"],
            "attempts": 3,
            "summary": "Put the file into the index.",
            "trouble": None,
            "loaded_at": "2026-05-04T12:00:00Z",
            "paused_at": None,
            "workers": 1,
        }
    ]


def test_a_module_that_does_not_import_is_there_with_its_traceback(
    engine: sa.Engine, router: Router, clock: Clock
) -> None:
    router.broken["handlers.new"] = BrokenModule("handlers.new", "SyntaxError: no", "Traceback …")
    registry.sign_in(engine, router, clock())
    (item,) = registry.list_handlers(engine)
    assert (item["name"], item["summary"], item["trouble"]) == ("handlers.new", "SyntaxError: no", "Traceback …")


def named(engine: sa.Engine) -> list[str]:
    return [item["name"] for item in registry.list_handlers(engine)]


def test_signing_in_again_says_what_changed(engine: sa.Engine, router: Router, clock: Clock) -> None:
    router.on("*")(log_event)
    registry.sign_in(engine, router, clock())
    later = Router()
    later.on("box:*")(log_event)
    clock.pass_by(hours=1)
    registry.sign_in(engine, later, clock())
    (item,) = registry.list_handlers(engine)
    assert (item["name"], item["patterns"]) == (LOG, ["box:*"])
    assert item["loaded_at"] == "2026-05-04T13:00:00Z"


def of_package(package: str, *functions: Callable[[Event], None]) -> Router:
    """Give a router that has loaded a package, which connected these functions."""
    router = Router()
    router.packages[package] = {package}
    router._loading = package
    for function in functions:
        router.on("*")(function)
    router._loading = None
    return router


def test_a_handler_that_is_taken_out_of_its_package_is_forgotten_when_the_last_worker_that_had_it_ends(
    engine: sa.Engine, clock: Clock
) -> None:
    registry.sign_in(engine, of_package("acme", index_file, log_event), clock(), worker="old")
    registry.sign_in(engine, of_package("acme", log_event), clock(), worker="new")
    assert named(engine) == [HERE, LOG]
    registry.sign_out(engine, "old", clock())
    assert named(engine) == [LOG]


def test_a_worker_with_other_packages_forgets_nothing(engine: sa.Engine, clock: Clock) -> None:
    registry.sign_in(engine, of_package("acme", index_file), clock(), worker="one")
    registry.sign_out(engine, "one", clock())
    clock.pass_by(minutes=5)
    registry.sign_in(engine, of_package("beta", log_event), clock(), worker="two")
    assert named(engine) == [HERE, LOG]


def test_a_handler_that_two_packages_connect_stays_until_both_are_loaded_without_it(
    engine: sa.Engine, clock: Clock
) -> None:
    for package in ("acme", "beta"):
        registry.sign_in(engine, of_package(package, index_file), clock(), worker=package)
        registry.sign_out(engine, package, clock())
    registry.sign_in(engine, of_package("acme"), clock(), worker="acme")
    assert named(engine) == [HERE]
    registry.sign_in(engine, of_package("beta"), clock(), worker="beta")
    assert named(engine) == []


def test_a_package_that_is_not_whole_forgets_nothing_of_it(engine: sa.Engine, clock: Clock) -> None:
    registry.sign_in(engine, of_package("acme", index_file), clock(), worker="one")
    registry.sign_out(engine, "one", clock())
    half = of_package("acme")
    half.packages["acme"].add("acme.billing")
    half.broken["acme.billing"] = BrokenModule("acme.billing", "SyntaxError: no", "Traceback …")
    registry.sign_in(engine, half, clock(), worker="one")
    assert named(engine) == ["acme.billing", HERE]


def test_a_handler_of_a_package_that_nobody_loads_any_more_is_forgotten_after_a_day(
    engine: sa.Engine, clock: Clock
) -> None:
    registry.sign_in(engine, of_package("acme", index_file), clock(), worker="one")
    registry.sign_in(engine, of_package("beta", log_event), clock(), worker="two")
    registry.sign_out(engine, "one", clock())
    clock.pass_by(hours=23)
    registry.attend(engine, of_package("beta", log_event), clock(), worker="two")
    registry.tidy(engine, clock())
    assert named(engine) == [HERE, LOG]
    clock.pass_by(hours=2)
    registry.attend(engine, of_package("beta", log_event), clock(), worker="two")
    registry.tidy(engine, clock())
    assert named(engine) == [LOG]


def test_after_a_week_without_any_worker_the_first_one_waits_for_the_others(engine: sa.Engine, clock: Clock) -> None:
    registry.sign_in(engine, of_package("acme", index_file), clock(), worker="one")
    clock.pass_by(days=7)
    registry.sign_in(engine, of_package("beta", log_event), clock(), worker="two")
    registry.tidy(engine, clock())
    assert named(engine) == [HERE, LOG]


def test_what_the_release_before_wrote_down_is_kept_for_a_day(engine: sa.Engine, clock: Clock) -> None:
    row = {"name": HERE, "module": "acme", "patterns": ["*"], "attempts": 3, "summary": ""}
    with engine.begin() as connection:
        connection.execute(sa.insert(handlers), row | {"loaded_at": clock() - timedelta(days=90)})
    registry.sign_in(engine, of_package("acme", log_event), clock(), worker="one")
    assert named(engine) == [HERE, LOG]
    clock.pass_by(hours=25)
    registry.attend(engine, of_package("acme", log_event), clock(), worker="one")
    registry.tidy(engine, clock())
    assert named(engine) == [LOG]


def test_a_paused_handler_stays_paused_and_is_not_forgotten(engine: sa.Engine, clock: Clock) -> None:
    registry.sign_in(engine, of_package("acme", index_file, log_event), clock(), worker="one")
    for name in (HERE, LOG):
        jobs.pause_handler(engine, name, clock())
    registry.sign_out(engine, "one", clock())
    registry.sign_in(engine, of_package("acme", log_event), clock())
    assert [item["paused_at"] is not None for item in registry.list_handlers(engine)] == [True, True]
    jobs.resume_handler(engine, HERE, clock())
    registry.sign_in(engine, of_package("acme", log_event), clock())
    assert named(engine) == [LOG]


def test_a_handler_is_forgotten_by_hand_unless_a_running_worker_has_it(engine: sa.Engine, clock: Clock) -> None:
    registry.sign_in(engine, of_package("acme", index_file), clock(), worker="one")
    assert not registry.forget(engine, HERE, clock())
    registry.sign_out(engine, "one", clock())
    assert registry.forget(engine, HERE, clock())
    assert named(engine) == []


def test_every_worker_that_runs_is_listed_with_what_it_has_loaded(engine: sa.Engine, clock: Clock) -> None:
    began = clock()
    registry.sign_in(engine, of_package("acme", index_file), began, worker="one")
    clock.pass_by(seconds=50)
    registry.sign_in(engine, of_package("beta", log_event), clock(), worker="two")
    one, two = registry.list_workers(engine, clock())
    assert (one["id"], one["packages"], one["handlers"]) == ("one", ["acme"], [HERE])
    assert (one["host"], one["pid"]) == (socket.gethostname(), os.getpid())
    assert (one["started_at"], two["id"]) == ("2026-05-04T12:00:00Z", "two")
    clock.pass_by(seconds=20)
    assert [each["id"] for each in registry.list_workers(engine, clock())] == ["two"]
    registry.attend(engine, of_package("acme", index_file), clock(), worker="one")
    assert [each["id"] for each in registry.list_workers(engine, clock())] == ["one", "two"]


def test_one_handler_is_shown_and_a_name_that_is_nearly_right_gets_a_hint(
    engine: sa.Engine, router: Router, clock: Clock
) -> None:
    router.on("*")(index_file)
    registry.sign_in(engine, router, clock())
    assert registry.show_handler(engine, HERE)["module"] == __name__
    with pytest.raises(NotFoundError, match=f"did you mean {HERE}"):
        registry.show_handler(engine, HERE[:-1])
    with pytest.raises(NotFoundError, match="signalbox handlers list"):
        registry.show_handler(engine, "zzz")


def test_a_handler_that_is_gone_is_there_while_it_has_dead_letters(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    router.on("*")(log_event)
    registry.sign_in(engine, router, clock())
    jobs.route(engine, [Routing(arrive(inbox, clock), ["b.gone", "a.gone"])], clock())
    for job_id in (1, 2):
        jobs.bury(engine, job_id, reason="no")
    items = registry.list_handlers(engine)
    assert [(one["name"], one["loaded_at"] is None) for one in items] == [
        ("a.gone", True),
        ("b.gone", True),
        (f"{__name__}.log_event", False),
    ]
    assert registry.show_handler(engine, "a.gone")["module"] == "a"


def test_a_sign_in_that_fails_does_not_keep_the_worker_from_working(engine: sa.Engine, router: Router) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE handlers")
    with pytest.raises(StoreError):
        registry.sign_in(engine, router, Clock()())
    sign_in(engine, router, "w")


def test_the_jobs_of_each_handler_are_counted_by_state(
    engine: sa.Engine, inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        event_id = arrive(inbox, clock, number=number)
        jobs.route(engine, [Routing(event_id, ["one", "other"] if number == 0 else ["one"])], clock())
    claims = jobs.claim(engine, worker="w", limit=3, now=clock(), lease=timedelta(seconds=30))
    jobs.finish(engine, [Finish(claims[0], "failed", clock(), Dead("no"))], worker="w")
    jobs.pause_handler(engine, "other", clock())
    counts = registry.job_counts(engine, ["one", "other", "nobody"])
    numbers = {name: [count.number for count in its.values()] for name, its in counts.items()}
    assert numbers == {"one": [2, 1, 1], "other": [0, 1, 0], "nobody": [0, 0, 0]}
    assert list(counts["one"]) == ["waiting", "running", "dead"]
    monkeypatch.setattr(registry, "COUNTED", 1)
    monkeypatch.setattr(registry, "LOOKED_BACK", 2)
    many = registry.job_counts(engine, ["one"])["one"]
    assert many["dead"] == Count(1, is_whole=False)
    assert not many["waiting"].is_whole


def test_the_jobs_that_wait_for_a_paused_handler_are_counted(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    jobs.pause_handler(engine, "one", clock())
    jobs.route(engine, [Routing(arrive(inbox, clock), ["one"])], clock())
    assert registry.job_counts(engine, ["one"])["one"]["waiting"] == Count(1, is_whole=True)


def test_the_latest_failures_of_a_handler_are_listed(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock)
    jobs.route(engine, [Routing(event_id, ["one", "other"])], clock())
    for error in ("first", "second"):
        claims = jobs.claim(engine, worker="w", limit=2, now=clock(), lease=timedelta(seconds=30))
        again = Again(clock() + timedelta(minutes=1))
        finishes = [
            Finish(one, "failed", clock(), again, f"Traceback …\nValueError: {error}")
            if one.handler == "one"
            else Finish(one, "done", clock(), None)
            for one in claims
        ]
        jobs.finish(engine, finishes, worker="w")
        clock.pass_by(minutes=1)
    failures = registry.list_failures(engine, "one")
    assert [(one["number"], one["error"].splitlines()[-1]) for one in failures] == [
        (2, "ValueError: second"),
        (1, "ValueError: first"),
    ]
    assert {one["event"] for one in failures} == {event_id}
    assert registry.list_failures(engine, "other") == []


def test_a_worker_that_lives_says_so(engine: sa.Engine) -> None:
    assert registry.last_sign(engine) is None
    began = datetime.now(UTC)
    with registry.attending(engine, Router(), "w"):
        sign = until(lambda: registry.last_sign(engine), "a sign of life")
        until(lambda: registry.list_workers(engine, datetime.now(UTC)), "the worker is there")
    assert sign >= began.replace(microsecond=0)
    assert registry.list_workers(engine, datetime.now(UTC)) == [], "one that ends in peace takes its row along"
