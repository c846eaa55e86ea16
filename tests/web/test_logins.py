"""Logins as the server keeps them."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from receiver.storage import db
from receiver.storage.tables import logins as table
from receiver.web.auth import logins
from tests.installation import Clock

pytestmark = pytest.mark.both_databases


def begin(engine: sa.Engine, clock: Clock, password: str = "one", network: str = "192.0.2.1") -> str:
    return logins.begin(engine, opened_by=password, network=network, now=clock())


def test_a_login_is_open_until_it_is_ended(engine: sa.Engine, clock: Clock) -> None:
    mine, other = begin(engine, clock), begin(engine, clock)
    logins.end(engine, mine, now=clock())
    assert [logins.is_open(engine, one, opened_by="one", now=clock()) for one in (mine, other)] == [False, True]
    assert not logins.is_open(engine, "made-up", opened_by="one", now=clock())


def test_what_a_browser_shows_is_not_in_the_database(engine: sa.Engine, clock: Clock) -> None:
    shown = begin(engine, clock)
    with db.reading(engine) as connection:
        (row,) = connection.execute(sa.select(table)).all()
    assert shown not in map(str, row)


def test_the_logins_of_another_password_end_for_good(engine: sa.Engine, clock: Clock) -> None:
    first, second = begin(engine, clock, "one"), begin(engine, clock, "two")
    assert not logins.is_open(engine, first, opened_by="two", now=clock())
    logins.end_others(engine, opened_by="two", now=clock())
    assert not logins.is_open(engine, first, opened_by="one", now=clock())
    assert logins.is_open(engine, second, opened_by="two", now=clock())


def test_a_network_is_known_for_ninety_days_after_its_login_was_used_last(engine: sa.Engine, clock: Clock) -> None:
    shown = begin(engine, clock)
    clock.pass_by(days=80)
    assert logins.is_open(engine, shown, opened_by="one", now=clock())
    logins.end(engine, shown, now=clock())
    clock.pass_by(days=89)
    assert logins.has_come_from(engine, "192.0.2.1", now=clock())
    assert not logins.has_come_from(engine, "192.0.2.2", now=clock())
    clock.pass_by(days=2)
    assert not logins.has_come_from(engine, "192.0.2.1", now=clock())


def test_a_new_login_takes_away_those_that_nobody_knows_any_more(engine: sa.Engine, clock: Clock) -> None:
    begin(engine, clock)
    clock.pass_by(days=(logins.KNOWN_FOR + timedelta(days=1)).days)
    begin(engine, clock)
    with db.reading(engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 1
