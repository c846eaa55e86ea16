"""The page of registrations: at once what the file and the database know, and what Box says when it is asked."""

import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from receiver.inbox.rows import Inbox
from receiver.registrations import store
from receiver.registrations.rules import Content
from receiver.web.pages import registrations as page_module
from tests.acceptance.service import free_port
from tests.far_ends import FAR_ENDS, FarEnd, misbehaving, within
from tests.registrations.arriving import arrive_from
from tests.registrations.stand_in import ADDRESS, ELSEWHERE, UPLOADED, StandIn, folder
from tests.waiting import PATIENCE_SECONDS

ClientWith = Callable[..., FlaskClient]


def now() -> datetime:
    """Give the true time, by which the page says how long ago something was."""
    return datetime.now(UTC)


@pytest.fixture
def box() -> Iterator[StandIn]:
    with StandIn().serving() as box:
        yield box


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "box_webhooks.toml"


@pytest.fixture
def office(client_with: ClientWith, box: StandIn, file: Path) -> FlaskClient:
    """An installation whose Box is the stand-in."""
    return client_with(BOX_API_URL=box.url, BOX_WEBHOOKS_FILE=file)


def wish(file: Path, **triggers: str) -> None:
    """`wish(file, f1="FILE.UPLOADED")` wants that of folder 1."""
    file.write_text(
        "".join(
            f'[[registrations]]\ntarget = "folder:{name[1:]}"\ntriggers = ["{one}"]\n' for name, one in triggers.items()
        )
    )


def note(engine: sa.Engine, number: int, content: Content = UPLOADED, *, webhook_id: str = "77") -> None:
    store.note(engine, folder(number), content, webhook_id=webhook_id, is_ours=True, now=now() - timedelta(hours=3))


def shown(client: FlaskClient, address: str = "/registrations", **request: Any) -> str:
    """Give what somebody reads on the page."""
    answer = client.get(address, **request)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text))


def asked(client: FlaskClient, **request: Any) -> str:
    return shown(client, "/registrations?ask=box", **request)


def test_where_nothing_is_wanted_it_says_how_to_begin_and_whom_it_speaks_to(client: FlaskClient) -> None:
    page = shown(client)
    assert "No webhook is wanted yet" in page
    assert "signalbox box apply" in page
    assert "http://127.0.0.1:8100 , the sandbox of this machine, as no credentials of Box are set" in page


def test_where_box_cannot_be_asked_the_missing_setting_is_named(client_with: ClientWith) -> None:
    page = shown(client_with(BOX_CLIENT_ID="an-app"))
    assert "BOX_CLIENT_SECRET must be set if BOX_CLIENT_ID is" in page
    assert "set PUBLIC_URL" in page
    assert "Ask Box" not in page


def test_it_opens_without_a_call_of_box(office: FlaskClient, box: StandIn, file: Path, engine: sa.Engine) -> None:
    wish(file, f1="FILE.UPLOADED", f2="FILE.RENAMED")
    note(engine, 1)
    page = shown(office)
    assert "folder:1 webhook 77 FILE.UPLOADED nothing As the file wants it. Box last told of it 3 h ago" in page
    assert "folder:2 FILE.RENAMED nothing Not at Box yet: apply makes it." in page
    assert "1 to create , 1 as wanted." in page
    assert box.calls == []


def test_it_says_when_each_last_delivered_and_what(
    office: FlaskClient, file: Path, engine: sa.Engine, inbox: Inbox
) -> None:
    wish(file, f1="FILE.UPLOADED")
    note(engine, 1)
    event_id = arrive_from(inbox, "77", "FILE.UPLOADED", at=now() - timedelta(minutes=5))
    arrive_from(inbox, "99", "FILE.UPLOADED", at=now())
    page = office.get("/registrations").text
    assert re.search(rf'href="/events/{event_id}" data-row><time[^>]*>5 min ago', page)
    assert "Deliveries came of a webhook that is not known here now, too: 99 . It was deleted since," in shown(office)


def test_a_webhook_that_was_made_again_is_not_called_unknown_under_its_old_id(
    office: FlaskClient, file: Path, engine: sa.Engine, inbox: Inbox
) -> None:
    wish(file, f1="FILE.UPLOADED")
    note(engine, 1)
    arrive_from(inbox, "76", "FILE.UPLOADED", at=now() - timedelta(minutes=5))
    arrive_from(inbox, "76", "WEBHOOK.DELETED", at=now())
    assert "not known here now, too: 76 (Box removed it)" in shown(office)


def test_the_lines_for_a_shell_say_what_another_shell_does_not_know(
    client_with: Callable[..., FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BOX_API_URL", raising=False)
    assert "<code>.venv/bin/signalbox box plan" in re.sub(
        " class=.wirebox.", "", client_with().get("/registrations").text
    )
    monkeypatch.setenv("BOX_API_URL", "http://127.0.0.1:8123")
    page = client_with(PORT=8431, BOX_API_URL="http://127.0.0.1:8123").get("/registrations").text
    assert "PORT=8431 BOX_API_URL=http://127.0.0.1:8123 .venv/bin/signalbox box plan</code>" in page


def test_what_box_removed_stands_first_with_the_reason(office: FlaskClient, file: Path, engine: sa.Engine) -> None:
    wish(file, f1="FILE.UPLOADED", f2="FILE.UPLOADED")
    note(engine, 1)
    note(engine, 2, webhook_id="78")
    store.bury(engine, "78", reason="auto_cleanup", now=now() - timedelta(hours=2))
    page = shown(office)
    assert page.index("folder:2") < page.index("folder:1")
    assert "Box removed it: apply makes it again. Removed 2 h ago : auto_cleanup" in page


def test_a_login_that_has_expired_is_seen_by_what_came(
    office: FlaskClient, file: Path, engine: sa.Engine, inbox: Inbox
) -> None:
    wish(file, f1="FILE.UPLOADED")
    note(engine, 1)
    arrive_from(inbox, "77", "NO_ACTIVE_SESSION", at=now())
    assert "events come without their payload (NO_ACTIVE_SESSION)" in shown(office)


def test_mistakes_in_the_file_are_told_and_nothing_is_said_to_be_unwanted(
    office: FlaskClient, file: Path, engine: sa.Engine
) -> None:
    file.write_text('[[registrations]]\ntarget = "folder:0"\ntriggers = ["FOLDER.CREATED"]\n')
    note(engine, 1)
    page = asked(office)
    assert "registrations 1 (folder:0): the root folder takes no webhook" in page
    assert "As the file wanted it when it was last applied." in page
    assert "delete" not in page
    assert "Ask Box" not in page


def test_box_is_asked_when_somebody_wants_it(office: FlaskClient, box: StandIn, file: Path, engine: sa.Engine) -> None:
    wish(file, f1="FILE.UPLOADED")
    id_ = box.make(folder(1), Content.of(ELSEWHERE, ["FILE.UPLOADED"]))
    note(engine, 1, Content.of(ADDRESS, ["FILE.UPLOADED"]), webhook_id=id_)
    box.make(folder(2), Content.of(ELSEWHERE, ["FILE.LOCKED"]))
    page = asked(office)
    assert (
        f"Drift: it was changed at Box. Apply puts it right. \N{MINUS SIGN} to go: {ELSEWHERE} + to come: {ADDRESS}"
        in page
    )
    assert f"It delivers to {ELSEWHERE}, and nothing of it was received here" in page
    assert "Not in the file, and not made from it: left alone." in page
    assert "2 webhooks at Box" in page
    assert [call.split("/webhooks")[0] for call in box.calls] == ["GET /2.0"] * 3


def test_asking_changes_nothing(office: FlaskClient, box: StandIn, file: Path, engine: sa.Engine) -> None:
    wish(file, f1="FILE.UPLOADED")
    note(engine, 3)
    before = store.list_kept(engine)
    asked(office)
    assert (store.list_kept(engine), box.content()) == (before, {})


def test_the_part_that_changes_is_given_alone(office: FlaskClient) -> None:
    part = office.get("/registrations?ask=box", headers={"HX-Request": "true", "HX-Target": "compared"}).text
    assert "<html" not in part
    assert part.count('id="compared"') == 1
    assert "Box has no webhooks of this account" in part


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_a_page_of_another_site_makes_us_ask_nothing(
    office: FlaskClient, box: StandIn, headers: dict[str, str]
) -> None:
    assert "Ask Box" in asked(office, headers=headers)
    assert box.calls == []


def test_a_box_that_does_not_answer_is_not_waited_for(
    office: FlaskClient, box: StandIn, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "PATIENCE", timedelta(milliseconds=300))
    wish(file, f1="FILE.UPLOADED")
    is_over = threading.Event()

    def wait(_number: int) -> None:
        is_over.wait(PATIENCE_SECONDS)

    box.before = wait
    page = asked(office)
    is_over.set()
    assert "Box did not respond to all calls within 0.3 s. A shell has more patience" in page
    assert "Not at Box yet" in page


@pytest.mark.parametrize("far_end", FAR_ENDS, ids=str)
def test_whatever_box_does_the_page_opens_and_says_why_it_was_not_asked(
    client_with: ClientWith, file: Path, far_end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "PATIENCE", within(far_end))
    monkeypatch.setattr(page_module, "_PAUSE", timedelta(milliseconds=1))
    with misbehaving(far_end) as url:
        page = client_with(BOX_API_URL=url, BOX_WEBHOOKS_FILE=file).get("/registrations?ask=box")
    (said,) = re.findall(r'<p class="note dead" role="alert">(.*?)</p>', page.text)
    assert page.status_code == 200
    assert "Not asked" in said
    assert said.isprintable()
    assert len(said) < 1500
    assert not far_end.hangs or "within" in said


def test_a_box_that_wants_to_be_asked_later_is_not_waited_for(office: FlaskClient, box: StandIn) -> None:
    box.world.plan_refusal(status=429, times=9, after=0, retry_after=60)
    assert "it returns 429, and asks for a retry in 60 s" in asked(office)


def test_what_box_forbids_is_said_in_words(office: FlaskClient, box: StandIn) -> None:
    box.world.plan_refusal(status=403, times=1, after=0, retry_after=None)
    assert "Tick the scope &#34;Manage webhooks&#34;" in asked(office)


def test_where_nobody_is_the_setting_is_named(client_with: ClientWith, file: Path) -> None:
    client = client_with(BOX_API_URL=f"http://127.0.0.1:{free_port()}", BOX_WEBHOOKS_FILE=file)
    assert "BOX_API_URL has its address." in asked(client)


def test_a_developer_token_is_warned_of_and_not_shown(client_with: ClientWith) -> None:
    client = client_with(BOX_DEVELOPER_TOKEN="hunter2-of-the-tests")
    assert "It dies within an hour" in shown(client)
    assert "hunter2" not in client.get("/registrations").text


def test_of_very_many_those_that_need_something_are_shown(office: FlaskClient, file: Path, engine: sa.Engine) -> None:
    wish(file, **{f"f{number}": "FILE.UPLOADED" for number in range(1, 302)})
    for number in range(1, 301):
        note(engine, number, webhook_id=str(1000 + number))
    page = office.get("/registrations").text
    assert page.count('<th scope="row">') == page_module.SHOWN
    assert page.index("folder:301") < page.index("folder:1<")
    assert "And 101 more" in page
