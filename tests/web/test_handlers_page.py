"""The handlers' pages: what they want and how they fare, pause and resume, dead letters replayed by filter."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from receiver.events import Event
from receiver.inbox.rows import Inbox
from receiver.jobs import dead_letters, registry
from receiver.jobs import store as jobs
from receiver.jobs.retry import Dead
from receiver.jobs.routing import BrokenModule, Router
from receiver.jobs.store import Finish, Routing
from receiver.jobs.worker import Worker
from receiver.observe.metrics import Tally
from receiver.storage.tables import jobs as table
from receiver.storage.tables import workers
from tests.installation import Clock, arrive
from tests.web.asked import answer, asks, confirm

HERE = f"{__name__}.index_file"
OTHER = f"{__name__}.log_event"
ERROR = 'Traceback (most recent call last):\n  File "x"\nValueError: <b>no</b> \u202eindex\nSee https://acme.example\n'
Die = Callable[..., str]


def index_file(event: Event) -> None:
    """Put the file into the <script>index</script>."""


def log_event(event: Event) -> None: ...


@pytest.fixture
def clock() -> Clock:
    """The clock of this moment: the pages look at the real one."""
    return Clock(datetime.now(UTC).replace(microsecond=0))


@pytest.fixture
def signed_in(engine: sa.Engine, router: Router, clock: Clock) -> Router:
    router.on("box:FILE.*", attempts=3)(index_file)
    router.on("*")(log_event)
    registry.sign_in(engine, router, clock())
    return router


@pytest.fixture
def die(engine: sa.Engine, inbox: Inbox, clock: Clock) -> Die:
    """Make a dead letter, and give the id of its event."""

    def make(number: int = 1, handler: str = HERE, name: str = "FILE.UPLOADED", ago: timedelta = timedelta()) -> str:
        event_id = arrive(inbox, Clock(clock() - ago), name=name, number=number)
        jobs.route(engine, [Routing(event_id, [handler])], clock())
        (claim,) = jobs.claim(engine, worker="w", limit=1, now=clock(), lease=timedelta(seconds=30))
        finish = Finish(claim, "failed", clock(), Dead("all 3 attempts are used up"), ERROR)
        assert jobs.finish(engine, [finish], worker="w") == [True]
        return event_id

    return make


def due_times(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table.c.due_at).order_by(table.c.id)).scalars())


def states(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(table.c.state).order_by(table.c.id)).scalars())


def test_before_a_worker_was_seen_the_page_says_how_to_start_one(client: FlaskClient) -> None:
    page = client.get("/handlers").text
    assert "No worker has been seen" in page
    assert "signalbox worker" in page


@pytest.mark.usefixtures("signed_in")
def test_every_handler_is_there_with_what_it_wants(client: FlaskClient) -> None:
    page = client.get("/handlers").text
    assert page.index(HERE) < page.index(OTHER)
    assert "box:FILE.*" in page
    assert "Put the file into the &lt;script&gt;index&lt;/script&gt;." in page


@pytest.mark.usefixtures("signed_in")
def test_those_that_fail_come_first(client: FlaskClient, die: Die) -> None:
    die(handler=OTHER)
    page = client.get("/handlers").text
    assert page.index(OTHER) < page.index(HERE)
    assert re.search(r'data-name="Dead"><span class="word dead">1</span>', page)


def test_a_module_that_does_not_import_stands_on_top_with_its_traceback(
    client: FlaskClient, engine: sa.Engine, signed_in: Router, clock: Clock
) -> None:
    signed_in.broken["a.broken"] = BrokenModule("a.broken", "SyntaxError: no", "Traceback <here>")
    registry.sign_in(engine, signed_in, clock())
    page = client.get("/handlers").text
    assert page.index("a.broken") < page.index(HERE)
    assert "<details><summary" in page
    assert "Traceback &lt;here&gt;" in page
    assert "does not import" in client.get("/handlers/a.broken").text


@pytest.mark.usefixtures("signed_in")
def test_a_handler_is_paused_and_resumed(client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    jobs.route(engine, [Routing(arrive(inbox, clock), [HERE])], clock())
    answer = client.post(f"/handlers/{HERE}/pause")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/handlers/{HERE}")
    assert due_times(engine) == [None]
    assert "Resume: run 1 job now" in client.get(f"/handlers/{HERE}").text
    assert "paused" in client.get("/handlers").text
    answer = client.post(f"/handlers/{HERE}/resume")
    assert due_times(engine) != [None]
    assert "1 waiting job runs again." in client.get(answer.headers["Location"]).text


@pytest.mark.usefixtures("signed_in")
def test_the_list_has_the_buttons_too_and_comes_back(client: FlaskClient, engine: sa.Engine) -> None:
    for act in ("pause", "resume"):
        answer = client.post(f"/handlers/{HERE}/{act}", data={"from": "list"})
        assert answer.headers["Location"] == "/handlers"
    assert [item["paused_at"] for item in registry.list_handlers(engine)] == [None, None]


@pytest.mark.usefixtures("signed_in")
def test_a_dead_letter_and_a_failure_are_told_by_the_first_line_of_the_message(client: FlaskClient, die: Die) -> None:
    die()
    page = client.get(f"/handlers/{HERE}").text
    told = 'ValueError: &lt;b&gt;no&lt;/b&gt; <span class="unseen">U+202E</span>index'
    assert page.count(f'<span class="wire word dead">{told}</span>') == 1
    assert page.count(f'<summary class="wire">{told}</summary>') == 1


@pytest.mark.usefixtures("signed_in")
def test_dead_letters_are_listed_with_their_reason_and_event(client: FlaskClient, die: Die) -> None:
    event_id = die()
    page = client.get(f"/handlers/{HERE}").text
    assert f"/events/{event_id}" in page
    assert "all 3 attempts are used up" in page
    assert 'ValueError: &lt;b&gt;no&lt;/b&gt; <span class="unseen">U+202E</span>index' in page
    assert "failed" in page[page.index("Recent failures") :]


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize(
    ("filters", "matching"),
    [
        ({}, 3),
        ({"type": "box:FILE.*"}, 2),
        ({"type": "box:COMMENT.CREATED"}, 1),
        ({"since": "90m"}, 2),
        ({"until": "90m"}, 1),
        ({"type": "filestack:*"}, 0),
    ],
)
def test_what_the_button_says_is_what_is_replayed(
    client: FlaskClient, engine: sa.Engine, die: Die, filters: dict[str, str], matching: int
) -> None:
    die(1)
    die(2, name="COMMENT.CREATED")
    die(3, name="FILE.MOVED", ago=timedelta(hours=2))
    die(4, handler=OTHER)
    page = client.get(f"/handlers/{HERE}", query_string=filters).text
    button = re.search(r'<form method="post" action="([^"]+/replay)" data-asks>(.*?)</form>', page, re.DOTALL)
    if not matching:
        assert button is None
        return
    assert button
    assert f"Replay {matching} dead job{'s' if matching > 1 else ''} to" in button[2]
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', button[2]))
    assert fields == filters
    question = client.post(button[1], data=fields).text
    assert asks(question) == f"Replay {matching} dead job{'s' if matching > 1 else ''} to {HERE}?"
    assert states(engine).count("waiting") == 0
    died_since = die(5, name="FILE.MOVED")
    told = client.post(button[1], data=answer(question), follow_redirects=True).text
    assert f"{matching} dead job{'s run' if matching > 1 else ' runs'} again." in told
    assert states(engine).count("waiting") == matching
    assert states(engine)[3:] == ["dead", "dead"], f"{died_since} was not asked about"


@pytest.mark.usefixtures("signed_in")
def test_a_replay_keeps_its_filter_so_that_the_next_click_is_not_about_all_the_rest(
    client: FlaskClient, engine: sa.Engine, die: Die
) -> None:
    die(1)
    die(2, name="COMMENT.CREATED")
    done = confirm(client, f"/handlers/{HERE}/replay", {"type": "box:FILE.*"})
    assert "type=box%3AFILE.%2A" in done.headers["Location"]
    page = client.get(done.headers["Location"]).text
    assert 'value="box:FILE.*"' in page
    assert "No dead letter matches." in page
    assert "/replay" not in page
    again = client.post(f"/handlers/{HERE}/replay", data={"type": "box:FILE.*"}, follow_redirects=True).text
    assert "Nothing was to run again." in again
    assert sorted(states(engine)) == ["dead", "waiting"]


@pytest.mark.usefixtures("signed_in")
def test_what_is_too_much_for_one_question_is_asked_in_parts(
    client: FlaskClient, engine: sa.Engine, die: Die, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.jobs.dead_letters.pick", partial(dead_letters.pick, limit=2))
    for number in range(3):
        die(number)
    question = client.post(f"/handlers/{HERE}/replay").text
    assert asks(question) == f"Replay 2 dead jobs to {HERE}?"
    assert "There are more" in question
    client.post(f"/handlers/{HERE}/replay", data=answer(question))
    assert states(engine) == ["waiting", "waiting", "dead"]


@pytest.mark.usefixtures("signed_in")
def test_ids_that_no_question_wrote_replay_nothing(client: FlaskClient, engine: sa.Engine, die: Die) -> None:
    die()
    for ids in ("", "x", "-1", "999999999999999999 " * 12, "1.5", "\x00"):
        assert client.post(f"/handlers/{HERE}/replay", data={"yes": "yes", "ids": ids}).status_code == 303
    assert states(engine) == ["dead"]


@pytest.mark.usefixtures("signed_in")
def test_a_filter_that_makes_no_sense_is_explained_and_replays_nothing(
    client: FlaskClient, engine: sa.Engine, die: Die
) -> None:
    die()
    for filters in (
        {"type": "FILE"},
        {"since": "yesterday"},
        {"until": "99999999d"},
        {"since": "999999w"},
        {"until": "2h", "since": "1h"},
    ):
        page = client.get(f"/handlers/{HERE}", query_string=filters).text
        assert f'id="{next(iter(filters))}-problem"' in page
        assert "/replay" not in page
        assert "/events/" not in page[: page.index("Recent failures")]
        assert "Nothing is listed: a filter above makes no sense." in page
        assert not asks(client.post(f"/handlers/{HERE}/replay", data=filters, follow_redirects=True).text)
        assert states(engine) == ["dead"]


@pytest.mark.usefixtures("signed_in")
def test_older_dead_letters_are_a_page_away(client: FlaskClient, die: Die, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.pages.handlers.LETTERS_SHOWN", 2)
    ids = [die(number) for number in range(5)]
    seen: list[str] = []
    address: str | None = f"/handlers/{HERE}?type=box:*"
    while address:
        page = client.get(address).text
        letters = page[page.index("<tbody>") : page.index("</tbody>")]
        seen += re.findall(r'href="/events/(\w+)"', letters)
        older = re.search(r'href="([^"]+)" rel="next"', page)
        address = older[1].replace("&amp;", "&") if older else None
    assert seen == ids[::-1]


@pytest.mark.usefixtures("signed_in")
def test_a_handler_that_is_gone_can_still_be_replayed(client: FlaskClient, engine: sa.Engine, die: Die) -> None:
    die(handler="old.name")
    assert "no running worker has loaded it" in client.get("/handlers").text
    confirm(client, "/handlers/old.name/replay")
    assert states(engine) == ["waiting"]


@pytest.mark.usefixtures("signed_in")
def test_nobodys_page_is_not_found_and_nothing_is_done(client: FlaskClient, engine: sa.Engine) -> None:
    assert client.get("/handlers/nobody").status_code == 404
    assert client.get("/handlers/%00%ff").status_code == 404
    for act in ("pause", "resume", "replay"):
        assert client.post(f"/handlers/nobody/{act}").status_code == 404
    assert len(registry.list_handlers(engine)) == 2


@pytest.mark.usefixtures("signed_in")
def test_senseless_parts_of_the_address_are_left_alone(client: FlaskClient) -> None:
    for query in ("window=9y", "before=x", "before=99999999999999999999", "replayed=-1", "resumed=%00", "replayed=²"):
        assert client.get(f"/handlers/{HERE}?{query}").status_code == 200
        assert client.get(f"/handlers?{query}").status_code == 200


@pytest.mark.usefixtures("signed_in")
def test_the_attempts_of_late_are_counted_and_a_failing_one_is_never_all_done(
    client: FlaskClient, engine: sa.Engine, clock: Clock
) -> None:
    tally = Tally(engine, clock=lambda: clock().timestamp())
    for number in range(2000):
        tally.count("handler", HERE, "failed" if number == 0 else "done", 12.0)
    tally.stop()
    tally.write_out()
    for address in ("/handlers", f"/handlers/{HERE}"):
        page = client.get(address).text
        assert "2000" in page
        assert "99.9 %" in page
        assert re.search(r">1\d ms<", page)


@pytest.mark.usefixtures("signed_in")
def test_the_figures_of_a_day_or_an_hour_are_a_click_apart(client: FlaskClient) -> None:
    assert 'href="?window=24h" aria-current="true"' in client.get("/handlers?window=24h").text
    assert 'href="?window=1h" aria-current="true"' in client.get("/handlers").text


@pytest.mark.usefixtures("signed_in")
def test_the_workers_that_run_are_listed_with_what_they_have(client: FlaskClient, engine: sa.Engine) -> None:
    page = client.get("/handlers").text
    assert f"Process {os.getpid()} on" in page
    assert "2 handlers" in page
    with engine.begin() as connection:
        connection.execute(sa.update(workers).values(seen_at=datetime.now(UTC) - timedelta(minutes=2)))
    page = client.get("/handlers").text
    assert "None runs: events are kept and not handled." in page
    assert "no running worker has loaded it" in page


@pytest.mark.usefixtures("signed_in")
def test_what_waits_for_a_handler_that_no_worker_has_is_said_on_every_page(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox
) -> None:
    event_id = arrive(inbox, Clock(datetime.now(UTC)))
    jobs.route(engine, [Routing(event_id, ["old.gone"])], datetime.now(UTC))
    Worker(engine, Router()).drain()
    assert "1 job of old.gone waits: no running worker has loaded old.gone." in client.get("/stats").text
    assert "1 job waits, without using attempts, for a worker that has." in client.get("/handlers/old.gone").text
    assert "no running worker has loaded old.gone" in client.get(f"/events/{event_id}").text
    (job,) = client.get("/api/jobs").get_json()["items"]
    assert (job["next_attempt_at"], job["waits_for"]) == (None, "no running worker has loaded old.gone")
    found = {item["name"]: item["workers"] for item in client.get("/api/handlers").get_json()["items"]}
    assert found == {"old.gone": 0, HERE: 1, OTHER: 1}
