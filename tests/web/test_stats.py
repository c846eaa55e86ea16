"""The dashboard: figures, alarms in words, charts with their tables, and what it teaches while it is empty."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from receiver.inbox.rows import Inbox
from receiver.jobs import store as jobs
from receiver.jobs.store import Routing
from receiver.observe import metrics
from receiver.observe.metrics import Tally
from receiver.web.pages.stats import percent
from receiver.web.stats import alarms
from receiver.web.stats.charts import Times
from tests.installation import Clock, arrive


class Now(Clock):
    """A clock that begins now: pages look at the real one."""

    def __init__(self) -> None:
        super().__init__(datetime.now(UTC))


@pytest.fixture
def clock() -> Clock:
    return Now()


@pytest.fixture
def tally(engine: sa.Engine, clock: Clock) -> Tally:
    return Tally(engine, clock=lambda: clock().timestamp())


def count(tally: Tally, kind: str = "source", subject: str = "box", outcome: str = "accepted", times: int = 1) -> None:
    for _ in range(times):
        tally.count(kind, subject, outcome, None if kind in ("dead", "alarm") else 3.0)
    tally.write_out()
    tally.stop()


def get(client: FlaskClient, window: str = "1h", **headers: str) -> str:
    answer = client.get(f"/stats?window={window}", headers=headers)
    assert answer.status_code == 200
    return answer.text


def words_of(page: str) -> str:
    """Give what a reader reads: no tags, single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def table_of(page: str, chart: str) -> list[list[str]]:
    """Give the numbers of a chart, a list for each line, the names of the columns first."""
    (found,) = re.findall(rf'<details id="{chart}-table">.*?</details>', page, re.DOTALL)
    lines = re.findall(r"<tr>(.*?)</tr>", found, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in lines]


def test_the_empty_page_teaches(client: FlaskClient) -> None:
    page = get(client)
    assert "Nothing has come yet" in page
    assert "signalbox send box FILE.UPLOADED" in page
    assert "<svg class=" not in page.partition("<main")[2]


@pytest.mark.parametrize("window", metrics.WINDOWS)
def test_every_window_says_how_much_came_and_shows_it_in_a_table(
    client: FlaskClient, tally: Tally, window: str
) -> None:
    count(tally, times=7)
    page = get(client, window)
    assert "7 events came, most at" in words_of(page)
    names, *lines = table_of(page, "events")
    assert names == ["from, UTC", "box"]
    assert sum(int(came) for _, came in lines) == 7
    assert f'<a href="/stats?window={window}" aria-current="page"' in page


def test_a_window_that_there_is_not_is_not_found(client: FlaskClient) -> None:
    assert client.get("/stats?window=1y").status_code == 404


def test_the_address_without_a_window_shows_an_hour(client: FlaskClient) -> None:
    assert '<a href="/stats?window=1h" aria-current="page"' in client.get("/stats").text


def test_the_part_that_changes_is_given_alone(client: FlaskClient, tally: Tally) -> None:
    count(tally)
    part = get(client, **{"HX-Request": "true", "HX-Target": "stats"})
    assert part.lstrip().startswith('<div id="stats"')
    assert "<html" not in part
    assert 'hx-get="/stats?window=1h" hx-trigger="every 10s"' in part


def test_each_chart_has_a_finding_as_its_title(client: FlaskClient, tally: Tally) -> None:
    count(tally, times=98)
    count(tally, outcome="rejected")
    count(tally, outcome="duplicate")
    count(tally, "handler", "handlers.log.log_event", "failed", 2)
    count(tally, "handler", "handlers.log.log_event", "done", 8)
    page = words_of(get(client))
    for finding in (
        "Of 100 deliveries: 1 rejected, 1 seen before",
        "99 of 100 deliveries were answered within 2.9 ms, half within 2.9 ms",
        "Nothing waited a second for a worker",
        "2 of 10 attempts have to be made again, no job died",
        "handlers.log.log_event fails most: 2 of 10 attempts",
    ):
        assert finding in page


def test_handlers_that_fail_come_first_with_their_rate_and_times(client: FlaskClient, tally: Tally) -> None:
    count(tally, "handler", "handlers.fine.one", "done", 10)
    count(tally, "handler", "handlers.worse.two", "done", 3)
    count(tally, "handler", "handlers.worse.two", "failed", 1)
    count(tally, "dead", "handlers.worse.two", "failed", 1)
    count(tally)
    page = words_of(get(client))
    worse, fine = (page.rindex(name) for name in ("worse. two", "fine. one"))
    assert worse < fine
    assert "75.0 %" in page[worse:fine]
    assert "100 %" in page[fine:]


def test_a_hostile_handler_name_is_shown_as_text(client: FlaskClient, tally: Tally) -> None:
    count(tally)
    count(tally, "handler", "handlers.<script>alert(1)</script>\u202egnp", "failed")
    page = get(client)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.replace("<wbr>", "")
    assert "\u202e" not in page
    assert "U+202E" in page


def test_nothing_on_the_page_is_styled_or_run_in_place(client: FlaskClient, tally: Tally) -> None:
    count(tally)
    count(tally, outcome="rejected")
    count(tally, "handler", "handlers.log.log_event", "failed")
    page = get(client)
    assert re.findall(r"\s(style|on\w+)=|<style|<script(?![^>]* src=)", page) == []


def test_figures_that_cannot_be_read_are_a_503_in_words(client: FlaskClient, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE tallies")
    answer = client.get("/stats", headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert "The figures cannot be read now" in answer.text


# Alarms


def alarms_on(client: FlaskClient) -> str:
    (found,) = re.findall(r'<section class="alarms".*?</section>', get(client), re.DOTALL)
    return words_of(found)


def test_without_trouble_the_page_says_so(client: FlaskClient, tally: Tally) -> None:
    count(tally)
    assert "Nothing is late, nothing has died, nobody fell silent." in alarms_on(client)


def test_events_that_nobody_routes_are_an_alarm(client: FlaskClient, inbox: Inbox) -> None:
    past = Now()
    past.pass_by(minutes=-5)
    arrive(inbox, past)
    assert "1 event not routed, the oldest for 5 min: no worker runs." in alarms_on(client)


def test_a_job_that_is_due_and_not_run_is_an_alarm(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event = arrive(inbox, clock)
    jobs.route(engine, [Routing(event, ["handlers.log.log_event"])], clock() - timedelta(hours=3))
    assert "A job has been due for 3 h and nobody runs it" in alarms_on(client)


def test_dead_letters_are_an_alarm(client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    event = arrive(inbox, clock)
    jobs.route(engine, [Routing(event, ["handlers.log.log_event"])], clock())
    jobs.bury(engine, 1, reason="no")
    assert "1 dead letter waits for somebody" in alarms_on(client)


@pytest.mark.parametrize("name", ["NO_ACTIVE_SESSION", "WEBHOOK.DELETED"])
def test_what_box_sends_when_it_stops_is_an_alarm(client: FlaskClient, tally: Tally, name: str) -> None:
    count(tally)
    count(tally, "alarm", f"box:{name}")
    assert f"box:{name} came" in alarms_on(client)
    assert f'href="/?type=box:{name}"' in get(client)


def test_deliveries_that_were_not_kept_are_an_alarm(client: FlaskClient, tally: Tally) -> None:
    count(tally, outcome="unkept", times=2)
    assert "In the last hour 2 deliveries could not be kept" in alarms_on(client)


def test_silence_after_regular_deliveries_is_an_alarm(client: FlaskClient, tally: Tally, clock: Clock) -> None:
    clock.pass_by(minutes=-50)
    for _ in range(15):
        count(tally)
        clock.pass_by(minutes=2)
    said = r"Nothing has come for 2[0-2] min; before that, no silence was longer than 2 min\."
    assert re.search(said, alarms_on(client))


# Findings


def figures(series: dict[str, list[int]], step: timedelta = timedelta(minutes=1)) -> Any:
    count = max(map(len, series.values()), default=0)
    began = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    return {
        "steps": [(began + number * step).isoformat() for number in range(count)],
        "step_seconds": int(step.total_seconds()),
        "all_sources": {"series": series, "outcomes": {name: sum(each) for name, each in series.items()}},
        "handlers": [],
    }


@pytest.mark.parametrize(
    ("series", "longest"),
    [([1, 1, 1, 1, 1], 1), ([1, 0, 0, 1, 1, 1, 0], 3), ([1, 0, 1, 0, 1], None), ([], None), ([0, 0, 0], None)],
)
def test_the_usual_silence_is_the_longest_that_ended(series: list[int], longest: int | None) -> None:
    found = alarms.usual_silence(figures({"accepted": series}))
    assert found == (timedelta(minutes=longest) if longest else None)


def test_a_rejected_delivery_breaks_the_silence_too() -> None:
    assert alarms.came_in(figures({"accepted": [1, 0, 0], "rejected": [0, 0, 2]})) == [0, 2]


def test_the_busiest_step_is_told_as_a_rate() -> None:
    said = alarms.busiest(figures({"accepted": [10, 25, 5]}, timedelta(minutes=20)))
    assert said == "40 events came, most at 12:20: 1.2 a minute"


def test_without_events_the_title_says_so() -> None:
    assert alarms.busiest(figures({})) == "No event came"
    assert alarms.not_accepted({}) == "No delivery came"
    assert alarms.not_accepted({"accepted": 3}) == "Every delivery made an event"


def test_the_longest_wait_is_told_with_its_time() -> None:
    times = Times([datetime(2026, 5, 4, 12, minute, tzinfo=UTC) for minute in range(3)], timedelta(minutes=1))
    assert alarms.oldest([0, 130.0, 2], times) == "The longest wait for a worker was 2 min, at 12:01"


@pytest.mark.parametrize(
    ("share", "said"), [(0, "0 %"), (1, "100 %"), (0.99999, "99.9 %"), (0.00001, "0.1 %"), (0.5, "50.0 %")]
)
def test_only_what_is_whole_looks_whole(share: float, said: str) -> None:
    assert percent(share) == said
