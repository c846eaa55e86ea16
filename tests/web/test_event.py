"""The pages of one event, one rejected delivery and one quarantined delivery."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from receiver.events import Delivery, Headers, Reason, Refused, Verified
from receiver.inbox.reinstate import BY_NOBODY
from receiver.inbox.rows import Inbox
from receiver.jobs import registry
from receiver.jobs import store as jobs
from receiver.jobs.retry import Dead
from receiver.jobs.store import Routing
from receiver.sources import SOURCES
from receiver.storage.tables import handlers
from tests import listings
from tests.installation import BOX_KEYS, Clock, arrive, delivery
from tests.web.asked import answer as yes
from tests.web.asked import asks, confirm

PART = {"HX-Request": "true", "HX-Target": "detail"}
HOSTILE = "<script>alert(1)</script>\u202egnp.exe\u200b\x07"


def keep(inbox: Inbox, clock: Clock, payload: dict[str, Any], source: str = "box") -> str:
    body = json.dumps(payload).encode()
    came = Delivery(source=source, body=body, headers=Headers([("X-Odd", "a\x1bb")]), received_at=clock())
    return inbox.accept(came, SOURCES[source].parse(came), Verified("primary")).event_id


def refuse(inbox: Inbox, clock: Clock, body: bytes | None = None, lines: Sequence[tuple[str, str]] = ()) -> str:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    headers = Headers([*came.headers.pairs, *lines])
    came = Delivery(source="box", body=came.body if body is None else body, headers=headers, received_at=clock())
    return inbox.reject(came, Refused(Reason.SIGNATURE_MISMATCH, "None of the keys verifies what came."))


def give_jobs(engine: sa.Engine, clock: Clock, event_id: str, *names: str) -> list[Any]:
    jobs.route(engine, [Routing(event_id, names)], clock())
    return list(listings.show_event(engine, event_id)["jobs"])


def fail(engine: sa.Engine, clock: Clock, error: str) -> None:
    (claim,) = jobs.claim(engine, worker="w", limit=1, now=clock(), lease=timedelta(seconds=30))
    ended = jobs.Finish(claim, "failed", clock() + timedelta(milliseconds=12), Dead("out of attempts"), error)
    jobs.finish(engine, [ended], worker="w")


def test_a_page_says_what_the_event_is_and_how_it_was_verified(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock)
    page = client.get(f"/events/{event_id}").text
    assert '<h1 id="event-type" class="wire">box:FILE.UPLOADED</h1>' in page
    assert "by the primary key of Box" in page
    assert 'datetime="2026-05-04T12:00:00+00:00"' in page
    assert 'data-copy="source.name"' in page


def test_last_and_a_part_of_the_id_find_it(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock)
    for given in ("last", event_id[-8:], event_id.lower()):
        assert event_id in client.get(f"/events/{given}").text


@pytest.mark.parametrize("address", ["/events/last", "/events/nothing", "/rejected/last", "/quarantine/%00", "/jobs/1"])
def test_what_is_not_there_is_a_404(client: FlaskClient, address: str) -> None:
    assert client.get(address).status_code == 404


@pytest.mark.parametrize("tab", ["payload", "raw", "headers", "deliveries", "jobs", "nonsense"])
def test_htmx_gets_each_tab_alone_and_a_browser_the_whole_page(
    client: FlaskClient, inbox: Inbox, clock: Clock, tab: str
) -> None:
    event_id = arrive(inbox, clock)
    part = client.get(f"/events/{event_id}?tab={tab}", headers=PART).text
    whole = client.get(f"/events/{event_id}?tab={tab}").text
    shown = "payload" if tab == "nonsense" else tab
    assert "<html" not in part
    assert "<html" in whole
    for page in (part, whole):
        assert re.search(rf'id="tab-{shown}"[^>]*aria-current="page"', page)


def test_tabs_keep_the_filters_of_the_list(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock)
    page = client.get(f"/events/{event_id}?source=box&q=a%26b", headers=PART).text
    assert f'href="/events/{event_id}?source=box&amp;q=a%26b&amp;tab=raw"' in page


def test_raw_is_shown_in_hex_when_asked_and_when_it_is_no_text(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock)
    assert "00000000  7b 22" in client.get(f"/events/{event_id}?tab=raw&as=hex").text
    rejected_id = refuse(inbox, clock, b"\x00\xff\xfe")
    page = client.get(f"/rejected/{rejected_id}?tab=raw").text
    assert "00000000  00 ff fe" in page
    assert "Not text" in page


def test_a_long_text_cut_within_a_letter_is_still_text(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    rejected_id = refuse(inbox, clock, b"x" + "ä".encode() * 100_000)
    page = client.get(f"/rejected/{rejected_id}?tab=raw").text
    assert "the first 66 kB of them shown" in page
    assert "xää" in page


@pytest.mark.parametrize("body", [b"", b"\x00\xff", b'{"a": "\xe4\\/"}\r\n', bytes(range(256)) * 4000])
def test_a_body_is_downloaded_byte_for_byte(client: FlaskClient, inbox: Inbox, clock: Clock, body: bytes) -> None:
    rejected_id = refuse(inbox, clock, body)
    answer = client.get(f"/rejected/{rejected_id}/body")
    assert answer.data == body
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_an_events_body_is_downloaded_byte_for_byte(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    event_id = arrive(inbox, clock)
    assert client.get(f"/events/{event_id}/body").data == came.body


def test_headers_stand_in_their_order_and_without_credentials(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    lines = [("Authorization", "Bearer of-the-tests"), ("Cookie", "a=of-the-tests"), ("X-Last", "1")]
    rejected_id = refuse(inbox, clock, lines=lines)
    page = client.get(f"/rejected/{rejected_id}?tab=headers").text
    assert page.index("BOX-DELIVERY-ID") < page.index("Authorization") < page.index("X-Last")
    assert "of-the-tests" not in page.replace("of-the-tests.db", "")


SECRET = "s3cret-of-a-header"


def keep_each_kind(inbox: Inbox, clock: Clock) -> list[str]:
    """Keep an event that came twice, a rejected and a quarantined delivery, and give where each shows its headers."""
    came = delivery("box", "FILE.UPLOADED", at=clock())
    came = replace(came, headers=Headers([*came.headers.pairs, ("X-Session-Id", SECRET)]))
    event_id, _ = (inbox.accept(came, SOURCES["box"].parse(came), Verified("primary")).event_id for _ in range(2))
    rejected_id = refuse(inbox, clock, lines=[("X-Credential", SECRET)])
    quarantined_id = inbox.quarantine(replace(came, body=b"{}"), Verified("primary"), {"type": ["Missing data."]})
    return [
        f"/events/{event_id}?tab=headers",
        f"/events/{event_id}?tab=deliveries",
        f"/rejected/{rejected_id}?tab=headers",
        f"/quarantine/{quarantined_id}?tab=headers",
    ]


def test_a_button_shows_the_headers_in_clear_this_once(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    for where in keep_each_kind(inbox, clock):
        masked = client.get(where)
        (button,) = re.findall(r'href="([^"]*headers=clear)"', masked.text)
        clear = client.get(button.replace("&amp;", "&"))
        assert (SECRET in masked.text, SECRET in clear.text) == (False, True), where
        assert clear.headers["Cache-Control"] == "no-store"
        assert "headers=clear" not in clear.text, "no link of that page goes on with it"
        assert "Mask credentials again" in clear.text


def test_only_pages_show_headers_in_clear(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    for where in keep_each_kind(inbox, clock):
        path = where.partition("?")[0]
        assert SECRET not in client.get(f"/api{path}").text
        assert client.get(f"/api{path}?headers=clear").status_code == 422


def test_retries_stand_on_the_timeline(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock)
    clock.pass_by(minutes=5)
    arrive(inbox, clock)
    page = client.get(f"/events/{event_id}?tab=deliveries").text
    assert "2nd attempt</strong>, 5 min after the first" in page
    assert "2 deliveries along a line of time" in page
    assert "with another body" in page


def test_a_delivery_that_is_let_in_may_have_come_before_the_first(
    client: FlaskClient, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    clock.pass_by(minutes=-5)
    arrive(inbox, clock)
    assert "2nd attempt</strong>, 5 min before the first" in client.get(f"/events/{event_id}?tab=deliveries").text


def test_drift_is_told(client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock)
    jobs.route(engine, [Routing(event_id, [], [{"path": "source.hue", "problem": "Unknown field."}])], clock())
    page = client.get(f"/events/{event_id}").text
    assert "source.hue" in page
    assert "Unknown field." in page


def test_an_event_that_no_handler_wants_says_so(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    assert "Not routed yet: is a worker running?" in client.get(f"/events/{event_id}").text
    give_jobs(engine, clock, event_id)
    assert "No handler wanted it" in client.get(f"/events/{event_id}").text


def test_a_job_shows_each_attempt_with_the_reason_above_its_traceback(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id, "handlers.a.index")
    fail(engine, clock, "Traceback (most recent call last):\n  File x\nValueError: <b>no</b>\n")
    page = client.get(f"/events/{event_id}?tab=jobs", headers=PART).text
    assert "1st attempt failed after 12 ms" in page
    assert re.search(r"<summary[^>]*>ValueError: &lt;b&gt;no&lt;/b&gt;</summary>", page)
    assert "Traceback (most recent call last)" in page
    assert "out of attempts" in page
    assert "ValueError" in client.get(f"/events/{event_id}", headers=PART).text


LINKED = """Traceback (most recent call last):
  File "handlers/a.py", line 3, in index
KeyError: 'id'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "handlers/a.py", line 5, in index
httpx.HTTPStatusError: Client error '429 Too Many Requests'
For more information check: https://developer.mozilla.org/429
"""


def test_the_reason_is_no_link_but_what_went_wrong_with_notes_and_causes_below(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id, "handlers.a.index")
    fail(engine, clock, LINKED)
    reason = "httpx.HTTPStatusError: Client error &#39;429 Too Many Requests&#39;"
    page = client.get(f"/events/{event_id}?tab=jobs", headers=PART).text
    assert re.search(rf"<summary[^>]*>{reason}</summary>", page)
    assert re.findall(r'<p class="soft wire">([^<]*)</p>', page) == [
        "For more information check: https://developer.mozilla.org/429",
        "caused by KeyError: &#39;id&#39;",
    ]
    assert f'<p class="error wire">{reason}</p>' in client.get(f"/events/{event_id}", headers=PART).text


def looked_at(page: str) -> str:
    found = re.search(r'id="jobs"[^>]* hx-get="([^"]+)" hx-trigger="every \d+s"', page)
    return found[1].replace("&amp;", "&") if found else ""


def test_jobs_that_are_not_settled_are_looked_at_again_until_they_are(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id, "handlers.a.index")
    address = looked_at(client.get(f"/events/{event_id}?tab=jobs&source=box").text)
    assert "source=box" in address
    assert client.get(address).status_code == 204
    fail(engine, clock, "broken")
    changed = client.get(address)
    assert changed.status_code == 200
    assert "dead" in changed.text
    assert looked_at(changed.text) == ""
    assert "view=" not in changed.text
    assert "tab=jobs&amp;source=box" in changed.text


def test_an_old_event_that_is_replayed_makes_nobody_look_for_a_worker_that_lives(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id)
    registry.beat(engine, datetime.now(UTC))
    assert "Not routed yet." in confirm(client, f"/events/{event_id}/replay", headers=PART).text
    registry.beat(engine, datetime.now(UTC) - timedelta(minutes=2))
    assert "Not routed yet: is a worker running?" in client.get(f"/events/{event_id}").text


def load(engine: sa.Engine, clock: Clock, name: str, *patterns: str, trouble: str | None = None) -> None:
    """Write down that the workers have a handler, or a module that does not import."""
    row = {"name": name, "module": name.rpartition(".")[0], "patterns": patterns, "attempts": 8, "summary": ""}
    with engine.begin() as connection:
        connection.execute(sa.insert(handlers), row | {"loaded_at": clock(), "trouble": trouble})


def states(engine: sa.Engine, event_id: str) -> dict[str, str]:
    return {job["handler"]: job["state"] for job in listings.show_event(engine, event_id)["jobs"]}


def test_an_event_is_replayed_to_all(client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id, "handlers.a.index")
    fail(engine, clock, "broken")
    assert "Replay to 1 handler" in client.get(f"/events/{event_id}").text
    answer = confirm(client, f"/events/{event_id}/replay?tab=jobs")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/events/{event_id}?tab=jobs")
    assert states(engine, event_id) == {"handlers.a.index": "waiting"}
    assert listings.show_event(engine, event_id)["state"] == "accepted"


def test_a_replay_counts_the_handlers_that_came_later_and_not_those_that_run_now(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id, "handlers.a.index", "handlers.b.mail")
    load(engine, clock, "handlers.c.new", "box:FILE.*")
    load(engine, clock, "handlers.d.other", "filestack:*")
    assert "Replay to 3 handlers" in client.get(f"/events/{event_id}").text
    jobs.claim(engine, worker="w", limit=1, now=clock(), lease=timedelta(seconds=30))
    assert "Replay to 2 handlers" in client.get(f"/events/{event_id}").text
    answer = confirm(client, f"/events/{event_id}/replay", headers=PART)
    said = "Routed again: 1 job of before runs again, 1 handler gets it for the first time"
    assert json.loads(answer.headers["HX-Trigger"]) == {"signalbox:told": said}


def test_a_replay_counts_a_module_that_does_not_import_which_gets_a_job_as_well(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id, "handlers.a.index")
    load(engine, clock, "handlers.broken", trouble="SyntaxError: invalid syntax")
    assert "Replay to 2 handlers" in client.get(f"/events/{event_id}").text


def test_the_question_names_each_handler_and_nothing_runs_by_it(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id, "handlers.a.index")
    fail(engine, clock, "broken")
    load(engine, clock, "handlers.b.mail", "*")
    question = client.post(f"/events/{event_id}/replay").text
    assert asks(question) == "Replay box:FILE.UPLOADED to 2 handlers?"
    assert "again: its job is dead" in question
    assert "gets it for the first time" in question
    assert states(engine, event_id) == {"handlers.a.index": "dead"}


def test_a_replay_whose_handlers_changed_since_the_question_asks_again(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id, "handlers.a.index")
    fail(engine, clock, "broken")
    question = client.post(f"/events/{event_id}/replay").text
    load(engine, clock, "handlers.b.mail", "*")
    again = client.post(f"/events/{event_id}/replay", data=yes(question), headers=PART)
    assert asks(again.text) == "Replay box:FILE.UPLOADED to 2 handlers?"
    assert "others than when you were asked" in again.text
    assert again.headers["HX-Retarget"] == "#question"
    assert states(engine, event_id) == {"handlers.a.index": "dead"}
    client.post(f"/events/{event_id}/replay", data=yes(again.text))
    assert states(engine, event_id) == {"handlers.a.index": "waiting"}


def test_other_handlers_stand_behind_a_choice_that_says_whether_they_want_the_type(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id, "handlers.m.index")
    load(engine, clock, "handlers.b.mail", "*")
    load(engine, clock, "handlers.a.films", "filestack:*")
    page = client.get(f"/events/{event_id}").text
    chosen = re.search(r"<select[^>]*name=\"handler\" required>(.*?)</select>", page, re.DOTALL)
    assert chosen
    assert '<option value="">Choose a handler</option>' in chosen[1], "none is chosen for anybody"
    groups = re.findall(r'<optgroup label="([^"]*)">(.*?)</optgroup>', chosen[1])
    assert groups == [
        ("Want box:FILE.UPLOADED", "<option>handlers.b.mail</option>"),
        ("Do not want box:FILE.UPLOADED", "<option>handlers.a.films</option>"),
    ]
    assert client.post(f"/events/{event_id}/replay", data={"handler": ""}).status_code == 400
    question = client.post(f"/events/{event_id}/replay", data={"handler": "handlers.a.films"}).text
    assert asks(question) == "Replay box:FILE.UPLOADED to handlers.a.films?"
    assert "It does not want" in question
    assert set(states(engine, event_id)) == {"handlers.m.index"}


def test_each_job_has_its_replay_and_the_dead_ones_stand_first(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    first, second = give_jobs(engine, clock, event_id, "handlers.a.index", "handlers.b.mail")
    jobs.bury(engine, second["id"], reason="by hand")
    page = client.get(f"/events/{event_id}").text
    assert re.findall(r'action="/jobs/(\d+)/replay" [^>]* data-asks', page) == [str(second["id"]), str(first["id"])]
    question = client.post(f"/jobs/{second['id']}/replay").text
    assert asks(question) == "Replay box:FILE.UPLOADED to handlers.b.mail?"
    assert states(engine, event_id)["handlers.b.mail"] == "dead"
    client.post(f"/jobs/{second['id']}/replay", data=yes(question))
    assert states(engine, event_id)["handlers.b.mail"] == "waiting"
    # The same yes once more is no answer to how the job stands now.
    assert asks(client.post(f"/jobs/{second['id']}/replay", data=yes(question)).text)


def test_an_event_is_replayed_to_one_handler_that_did_not_have_it(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id, "handlers.a.index")
    load(engine, clock, "handlers.b.mail", "*")
    assert "<option>handlers.b.mail</option>" in client.get(f"/events/{event_id}").text
    answer = confirm(client, f"/events/{event_id}/replay", {"handler": "handlers.b.mail"}, headers=PART)
    assert json.loads(answer.headers["HX-Trigger"]) == {"signalbox:told": "handlers.b.mail gets it for the first time"}
    assert "<html" not in answer.text
    assert set(states(engine, event_id)) == {"handlers.a.index", "handlers.b.mail"}


def test_a_handler_that_nobody_knows_gets_nothing(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    give_jobs(engine, clock, event_id)
    assert client.post(f"/events/{event_id}/replay", data={"handler": "no.such"}).status_code == 404
    assert states(engine, event_id) == {}


def test_a_job_is_discarded_and_replayed(client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock)
    (job,) = give_jobs(engine, clock, event_id, "handlers.a.index")
    question = client.post(f"/jobs/{job['id']}/discard").text
    assert asks(question) == "Discard the job of handlers.a.index for box:FILE.UPLOADED?"
    assert states(engine, event_id) == {"handlers.a.index": "waiting"}
    answer = client.post(f"/jobs/{job['id']}/discard", data=yes(question), headers=PART)
    assert "discarded on the page" in answer.text
    assert states(engine, event_id) == {"handlers.a.index": "dead"}
    put_away = client.post(f"/jobs/{job['id']}/discard", data=yes(question), headers=PART)
    assert "discarded on the page, <span" in put_away.text
    assert 'title="discarded"' in put_away.text
    again = client.post(f"/jobs/{job['id']}/discard", headers=PART)
    assert "Nothing to discard" in again.headers["HX-Trigger"]
    assert confirm(client, f"/jobs/{job['id']}/replay").status_code == 303
    assert states(engine, event_id) == {"handlers.a.index": "waiting"}


def test_what_another_sites_page_sends_changes_nothing(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    event_id = arrive(inbox, clock)
    (job,) = give_jobs(engine, clock, event_id, "handlers.a.index")
    for address in (f"/events/{event_id}/replay", f"/jobs/{job['id']}/discard"):
        assert client.post(address, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert states(engine, event_id) == {"handlers.a.index": "waiting"}


def everything(client: FlaskClient, root: str) -> str:
    tabs = ("payload", "raw", "headers", "deliveries", "jobs")
    return "".join(client.get(f"{root}?tab={tab}", headers=PART).text for tab in tabs)


def test_what_comes_from_outside_is_shown_as_text(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    payload = {
        "id": "1",
        "trigger": f"X.<b>{chr(0x202F)}"[:5],
        HOSTILE: {HOSTILE: HOSTILE, "link": "javascript:alert(1)", "quoted": "\" onmouseover='alert(1)'"},
        "source": {"id": HOSTILE, "name": HOSTILE},
    }
    event_id = keep(inbox, clock, payload)
    arrive(inbox, clock)
    give_jobs(engine, clock, event_id, "handlers.a.<b>")
    fail(engine, clock, f"Traceback\n{HOSTILE}")
    page = everything(client, f"/events/{event_id}") + client.get(f"/events/{event_id}/diff?with=last").text
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert 'href="javascript:' not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\u200b]", page)
    assert '<span class="unseen">U+202E</span>' in page
    assert "style=" not in page
    assert not re.search(r"<[^>]* on\w+=", page)


def test_links_tell_the_other_site_nothing(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock, "filestack", "fp.upload")
    page = client.get(f"/events/{event_id}", headers=PART).text
    (link,) = re.findall(r'<a class="value"[^>]*>', page)
    assert 'rel="noreferrer noopener"' in link
    assert 'href="https://cdn.filestackcontent.com/' in link


HUGE = {
    "a line of a megabyte": b"x" * 1_000_000,
    "a text of a megabyte": b'{"trigger": "A", "x": "' + b"x" * 1_000_000 + b'"}',
    "ten thousand nested arrays": b'{"trigger": "A", "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "a hundred thousand numbers": b'{"trigger": "A", "x": [' + b"1," * 100_000 + b"1]}",
    "what cannot be seen": b'{"trigger": "A", "x": "' + "\u200b".encode() * 300_000 + b'"}',
    "a long key over many": b'{"' + b"k" * 500_000 + b'": [' + b"1," * 100_000 + b"1]}",
}


@pytest.mark.parametrize("what", HUGE)
def test_what_is_huge_is_shown_in_part(client: FlaskClient, inbox: Inbox, clock: Clock, what: str) -> None:
    rejected_id = refuse(inbox, clock, HUGE[what])
    for tab in ("payload", "raw"):
        answer = client.get(f"/rejected/{rejected_id}?tab={tab}", headers=PART)
        assert answer.status_code == 200
        assert len(answer.data) < 6_000_000
    assert client.get(f"/rejected/{rejected_id}/body").data == HUGE[what]


def test_a_rejected_delivery_is_explained_in_words(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    rejected_id = refuse(inbox, clock, came.body.replace(rb"\/", b"/"))
    page = client.get(f"/rejected/{rejected_id}").text
    assert "Refused: the signature matches none of the two keys." in page
    assert r"if every <code>/</code> were written <code>\/</code>: something between Box and here" in page
    assert "The keys are right." in page
    assert "signature_mismatch" in page


def test_a_rejected_delivery_shows_no_key_and_no_whole_signature(
    client: FlaskClient, inbox: Inbox, clock: Clock
) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    rejected_id = refuse(inbox, clock)
    page = everything(client, f"/rejected/{rejected_id}")
    page += client.post(f"/rejected/{rejected_id}/verify", headers=PART).text
    page += "".join(client.get(f"/rejected/{rejected_id}/copy/{form}").text for form in ("curl", "har", "python"))
    signatures = [value for name, value in came.headers.pairs if "SIGNATURE-" in name and len(value) > 20]
    for secret in [*signatures, *BOX_KEYS.values()]:
        assert secret not in page


def test_verify_again_says_whether_it_would_verify_now(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    rejected_id = refuse(inbox, clock)
    assert (
        "It verifies now, by the primary key of Box."
        in client.post(f"/rejected/{rejected_id}/verify", headers=PART).text
    )
    answer = client.post(f"/rejected/{rejected_id}/verify?tab=raw", follow_redirects=True)
    assert "It verifies now" in answer.text
    assert answer.request.path == f"/rejected/{rejected_id}"
    spoilt = refuse(inbox, clock, b"{}")
    assert "it would be refused again:" in client.post(f"/rejected/{spoilt}/verify", headers=PART).text


def test_verifying_again_changes_nothing(client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock) -> None:
    rejected_id = refuse(inbox, clock)
    client.post(f"/rejected/{rejected_id}/verify")
    assert listings.list_events(engine)["items"] == []
    assert [item["id"] for item in listings.list_rejected(engine)["items"]] == [rejected_id]


def test_a_quarantined_delivery_names_each_field(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    came = Delivery(source="box", body=b'{"a": 1}', headers=Headers(), received_at=clock())
    quarantined_id = inbox.quarantine(came, Verified("secondary"), {"trigger": ["Missing data.", HOSTILE]})
    page = client.get(f"/quarantine/{quarantined_id}").text
    assert "trigger" in page
    assert "Missing data." in page
    assert "by the secondary key of Box" in page
    assert "<script>alert" not in page
    assert client.get(f"/quarantine/{quarantined_id}/body").data == b'{"a": 1}'


def test_a_quarantined_delivery_that_is_no_json_says_so(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    came = Delivery(source="box", body=HUGE["ten thousand nested arrays"], headers=Headers(), received_at=clock())
    quarantined_id = inbox.quarantine(came, Verified("primary"), {"body": ["Nested deeper than 100 levels."]})
    page = client.get(f"/quarantine/{quarantined_id}", headers=PART).text
    assert "No payload: Nested deeper than 100 levels." in page
    assert 'id="tab-payload"' not in page


def test_each_address_of_a_copy_gives_plain_text(app: Flask, inbox: Inbox, clock: Clock) -> None:
    client = app.test_client()
    event_id = arrive(inbox, clock)
    page = client.get(f"/events/{event_id}", headers=PART).text
    addresses = re.findall(r'data-copy-from="([^"]+)"', page)
    assert [address.rpartition("/")[2] for address in addresses] == ["curl", "httpie", "python", "pytest", "har"]
    for address in addresses:
        answer = client.get(address)
        assert (answer.status_code, answer.mimetype) == (200, "text/plain")
        assert not any(key in answer.text for key in BOX_KEYS.values())
    assert client.get(f"/events/{event_id}/copy/perl").status_code == 404


def test_keys_of_the_keyboard_have_their_button(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    event_id = arrive(inbox, clock)
    page = client.get(f"/events/{event_id}", headers=PART).text
    assert sorted(re.findall(r'data-key="(.)"', page)) == ["c", "d", "r"]


def test_a_rejected_delivery_that_verifies_now_is_let_in(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    rejected_id = refuse(inbox, clock)
    assert "Let it in" not in client.get(f"/rejected/{rejected_id}").text
    assert "Let it in as an event" in client.post(f"/rejected/{rejected_id}/verify", headers=PART).text
    question = client.post(f"/rejected/{rejected_id}/release").text
    assert asks(question) == "Let box:FILE.UPLOADED of 2026-05-04 12:00:00 UTC in as an event?"
    assert listings.list_events(engine)["items"] == []
    answer = client.post(f"/rejected/{rejected_id}/release", data=yes(question), headers=PART)
    event = listings.show_event(engine, "last")
    assert answer.headers["HX-Redirect"] == f"/events/{event['id']}"
    assert client.get(f"/rejected/{rejected_id}").status_code == 404


def test_a_rejected_delivery_that_does_not_verify_stays_and_says_why(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    rejected_id = refuse(inbox, clock, b"{}")
    answer = client.post(f"/rejected/{rejected_id}/release", follow_redirects=True)
    assert "it would be refused again" in answer.text
    assert [item["id"] for item in listings.list_rejected(engine)["items"]] == [rejected_id]


def test_what_nobody_verified_says_so_on_its_page(client: FlaskClient, inbox: Inbox, clock: Clock) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    kept = inbox.accept(came, SOURCES["box"].parse(came), BY_NOBODY)
    assert "nobody: somebody here let it in" in client.get(f"/events/{kept.event_id}").text


def test_a_quarantined_delivery_is_read_again_and_let_in_if_that_goes_well(
    client: FlaskClient, engine: sa.Engine, inbox: Inbox, clock: Clock
) -> None:
    came = delivery("box", "FILE.UPLOADED", at=clock())
    kept = inbox.quarantine(came, Verified("primary"), {"trigger": ["An older release could not read it."]})
    answer = confirm(client, f"/quarantine/{kept}/release")
    assert answer.headers["Location"] == f"/events/{listings.show_event(engine, 'last')['id']}"
    odd = Delivery(source="box", body=b"{}", headers=Headers(), received_at=clock())
    stays = inbox.quarantine(odd, Verified("primary"), {"trigger": ["Missing."]})
    assert "still cannot be" in client.post(f"/quarantine/{stays}/release", follow_redirects=True).text
    assert "still cannot be" in client.post(f"/quarantine/{stays}/release", headers=PART).text
