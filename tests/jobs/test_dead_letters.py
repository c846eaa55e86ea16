"""Dead letters are found, counted and replayed by handler, type and time."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from receiver.errors import PatternError
from receiver.inbox.rows import Inbox
from receiver.jobs import dead_letters
from receiver.jobs import store as jobs
from receiver.jobs.dead_letters import Count, Newest, Which
from receiver.jobs.store import Routing
from receiver.storage import db
from receiver.storage.tables import jobs as table
from tests import listings
from tests.installation import Clock, arrive

HANDLER = "handlers.search.index"
OTHER = "handlers.log.log_event"
Bury = Callable[..., int]

pytestmark = pytest.mark.both_databases


@pytest.fixture
def bury(engine: sa.Engine, inbox: Inbox, clock: Clock) -> Bury:
    """Make a dead letter, and give the id of its job."""

    def die(number: int, handler: str = HANDLER, type_: str = "box:FILE.UPLOADED") -> int:
        source, _, name = type_.partition(":")
        event_id = arrive(inbox, clock, source, name, number)
        jobs.route(engine, [Routing(event_id, [handler])], clock())
        with engine.connect() as connection:
            job_id = int(connection.execute(sa.select(sa.func.max(table.c.id))).scalar_one())
        assert jobs.bury(engine, job_id, reason="no")
        return job_id

    return die


def states(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table.c.state).order_by(table.c.id)).scalars())


@pytest.mark.parametrize(
    ("filters", "replayed"),
    [
        ({}, [0, 1, 2, 3]),
        ({"handler": HANDLER}, [0, 1, 2]),
        ({"type": "box:FILE.*"}, [0, 3]),
        ({"handler": HANDLER, "type": "filestack:*"}, [2]),
        ({"type": "filestack:fp.conversion"}, [2]),
        ({"type": "filestack:fp.converse"}, [2]),
        ({"type": "*", "handler": OTHER}, [3]),
        ({"since": timedelta(hours=1)}, [1, 2, 3]),
        ({"until": timedelta(hours=2)}, [0, 1]),
        ({"since": timedelta(hours=1), "until": timedelta(hours=2)}, [1]),
        ({"handler": "nobody"}, []),
    ],
)
def test_what_is_counted_is_what_is_replayed(
    engine: sa.Engine, bury: Bury, clock: Clock, filters: dict[str, Any], replayed: list[int]
) -> None:
    began = clock()
    for number, (handler, type_) in enumerate(
        [
            (HANDLER, "box:FILE.UPLOADED"),
            (HANDLER, "box:COMMENT.CREATED"),
            (HANDLER, "filestack:fp.converse"),
            (OTHER, "box:FILE.MOVED"),
        ]
    ):
        bury(number, handler, type_)
        clock.pass_by(hours=1)
    times = {key: began + value for key, value in filters.items() if isinstance(value, timedelta)}
    which = Which(**(filters | times))
    assert dead_letters.count(engine, which) == Count(len(replayed), is_whole=True)
    assert dead_letters.replay(engine, which, now=clock()) == len(replayed)
    assert [number for number, state in enumerate(states(engine)) if state == "waiting"] == replayed


def test_many_are_counted_and_replayed_in_steps(
    engine: sa.Engine, bury: Bury, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "STEP", 3)
    for number in range(9):
        bury(number, OTHER if number % 4 == 0 else HANDLER)
    assert dead_letters.count(engine, Which(), limit=5) == Count(5, is_whole=False)
    assert dead_letters.count(engine, Which()) == Count(9, is_whole=True)
    assert dead_letters.replay(engine, Which(handler=HANDLER), now=clock()) == 6


def test_counting_ends_when_it_takes_too_long(engine: sa.Engine, bury: Bury, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "STEP", 2)
    monkeypatch.setattr(dead_letters, "PATIENCE_SECONDS", -1)
    for number in range(4):
        bury(number)
    assert dead_letters.count(engine, Which()) == Count(2, is_whole=False)


def test_a_replayed_job_has_a_fresh_budget_and_no_reason(engine: sa.Engine, bury: Bury, clock: Clock) -> None:
    bury(1)
    dead_letters.replay(engine, Which(), now=clock())
    with engine.connect() as connection:
        row = connection.execute(sa.select(table)).one()
    assert (row.due_at, row.spent_before, row.reason) == (clock(), row.attempt, None)


def test_the_newest_come_first_and_the_next_page_goes_on_after_them(
    engine: sa.Engine, bury: Bury, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "STEP", 2)
    ids = [bury(number) for number in range(5)]
    bury(9, OTHER)
    first = dead_letters.newest(engine, HANDLER, Which(), limit=3)
    assert first == Newest(ids[:1:-1], ids[2])
    assert dead_letters.newest(engine, HANDLER, Which(), limit=3, before=first.next) == Newest(ids[1::-1], None)
    assert [job["id"] for job in listings.pick_jobs(engine, first.ids)] == first.ids


def test_a_search_that_takes_too_long_says_where_it_goes_on(
    engine: sa.Engine, bury: Bury, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "STEP", 2)
    monkeypatch.setattr(dead_letters, "PATIENCE_SECONDS", -1)
    ids = [bury(number) for number in range(4)]
    nothing = dead_letters.newest(engine, HANDLER, Which(type="filestack:*"), limit=3)
    assert nothing == Newest([], ids[2])


@pytest.mark.parametrize("pattern", ["", "FILE.UPLOADED", "box"])
def test_what_can_be_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        Which(type=pattern)
