"""Workers say what they have loaded; what they said is there for those who load nothing."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from receiver import jobs, roster
from receiver.cli.worker import sign_in
from receiver.dead_letters import Count
from receiver.errors import NotFoundError, StoreError
from receiver.events import Event
from receiver.inbox import Inbox
from receiver.jobs import Finish, Routing
from receiver.retry import Again, Dead
from receiver.routing import BrokenModule, Router
from tests.installation import Clock, arrive
from tests.waiting import until

HERE = f"{__name__}.index_file"

pytestmark = pytest.mark.both_databases


def index_file(event: Event) -> None:
    """Put the file into the index.

    More about it.
    """


def log_event(event: Event) -> None: ...


def test_a_worker_says_what_it_has_loaded(engine: sa.Engine, router: Router, clock: Clock) -> None:
    router.on("box:FILE.UPLOADED", "box:FILE.MOVED", attempts=3)(index_file)
    roster.sign_in(engine, router, clock())
    assert roster.list_handlers(engine) == [
        {
            "name": HERE,
            "module": __name__,
            "patterns": ["box:FILE.UPLOADED", "box:FILE.MOVED"],
            "attempts": 3,
            "summary": "Put the file into the index.",
            "trouble": None,
            "loaded_at": "2026-05-04T12:00:00Z",
            "paused_at": None,
        }
    ]


def test_a_module_that_does_not_import_is_there_with_its_traceback(
    engine: sa.Engine, router: Router, clock: Clock
) -> None:
    router.broken["handlers.new"] = BrokenModule("handlers.new", "SyntaxError: no", "Traceback …")
    roster.sign_in(engine, router, clock())
    (item,) = roster.list_handlers(engine)
    assert (item["name"], item["summary"], item["trouble"]) == ("handlers.new", "SyntaxError: no", "Traceback …")


def test_signing_in_again_says_what_changed_and_forgets_what_is_gone(
    engine: sa.Engine, router: Router, clock: Clock
) -> None:
    router.on("*")(index_file)
    router.on("*")(log_event)
    router.broken["handlers.new"] = BrokenModule("handlers.new", "SyntaxError: no", "Traceback …")
    roster.sign_in(engine, router, clock())
    later = Router()
    later.on("box:*")(log_event)
    clock.pass_by(hours=1)
    roster.sign_in(engine, later, clock())
    (item,) = roster.list_handlers(engine)
    assert (item["name"], item["patterns"]) == (f"{__name__}.log_event", ["box:*"])
    assert item["loaded_at"] == "2026-05-04T13:00:00Z"


def test_a_paused_handler_stays_paused_and_is_not_forgotten(engine: sa.Engine, router: Router, clock: Clock) -> None:
    router.on("*")(index_file)
    router.on("*")(log_event)
    roster.sign_in(engine, router, clock())
    jobs.pause_handler(engine, HERE, clock())
    jobs.pause_handler(engine, f"{__name__}.log_event", clock())
    later = Router()
    later.on("*")(log_event)
    roster.sign_in(engine, later, clock())
    assert [item["paused_at"] is not None for item in roster.list_handlers(engine)] == [True, True]
    jobs.resume_handler(engine, HERE, clock())
    roster.sign_in(engine, later, clock())
    assert [item["name"] for item in roster.list_handlers(engine)] == [f"{__name__}.log_event"]


def test_one_handler_is_shown_and_a_name_that_is_nearly_right_gets_a_hint(
    engine: sa.Engine, router: Router, clock: Clock
) -> None:
    router.on("*")(index_file)
    roster.sign_in(engine, router, clock())
    assert roster.show_handler(engine, HERE)["module"] == __name__
    with pytest.raises(NotFoundError, match=f"did you mean {HERE}"):
        roster.show_handler(engine, HERE[:-1])
    with pytest.raises(NotFoundError, match="signalbox handlers list"):
        roster.show_handler(engine, "zzz")


def test_a_handler_that_is_gone_is_there_while_it_has_dead_letters(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock
) -> None:
    router.on("*")(log_event)
    roster.sign_in(engine, router, clock())
    jobs.route(engine, [Routing(arrive(inbox, clock), ["b.gone", "a.gone"])], clock())
    for job_id in (1, 2):
        jobs.bury(engine, job_id, reason="no")
    items = roster.list_handlers(engine)
    assert [(one["name"], one["loaded_at"] is None) for one in items] == [
        ("a.gone", True),
        ("b.gone", True),
        (f"{__name__}.log_event", False),
    ]
    assert roster.show_handler(engine, "a.gone")["module"] == "a"


def test_a_sign_in_that_fails_does_not_keep_the_worker_from_working(engine: sa.Engine, router: Router) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE handlers")
    with pytest.raises(StoreError):
        roster.sign_in(engine, router, Clock()())
    sign_in(engine, router)


def test_the_jobs_of_each_handler_are_counted_by_state(
    engine: sa.Engine, inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        event_id = arrive(inbox, clock, number=number)
        jobs.route(engine, [Routing(event_id, ["one", "other"] if number == 0 else ["one"])], clock())
    claims = jobs.claim(engine, worker="w", limit=3, now=clock(), lease=timedelta(seconds=30))
    jobs.finish(engine, [Finish(claims[0], "failed", clock(), Dead("no"))], worker="w")
    jobs.pause_handler(engine, "other", clock())
    counts = roster.job_counts(engine, ["one", "other", "nobody"])
    numbers = {name: [count.number for count in its.values()] for name, its in counts.items()}
    assert numbers == {"one": [2, 1, 1], "other": [0, 1, 0], "nobody": [0, 0, 0]}
    assert list(counts["one"]) == ["waiting", "running", "dead"]
    monkeypatch.setattr(roster, "COUNTED", 1)
    monkeypatch.setattr(roster, "LOOKED_BACK", 2)
    many = roster.job_counts(engine, ["one"])["one"]
    assert many["dead"] == Count(1, is_whole=False)
    assert not many["waiting"].is_whole


def test_the_jobs_that_wait_for_a_paused_handler_are_counted(engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    jobs.pause_handler(engine, "one", clock())
    jobs.route(engine, [Routing(arrive(inbox, clock), ["one"])], clock())
    assert roster.job_counts(engine, ["one"])["one"]["waiting"] == Count(1, is_whole=True)


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
    failures = roster.list_failures(engine, "one")
    assert [(one["number"], one["error"].splitlines()[-1]) for one in failures] == [
        (2, "ValueError: second"),
        (1, "ValueError: first"),
    ]
    assert {one["event"] for one in failures} == {event_id}
    assert roster.list_failures(engine, "other") == []


def test_a_worker_that_lives_says_so(engine: sa.Engine) -> None:
    assert roster.last_sign(engine) is None
    began = datetime.now(UTC)
    with roster.beating(engine):
        sign = until(lambda: roster.last_sign(engine), "a sign of life")
    assert sign >= began.replace(microsecond=0)
