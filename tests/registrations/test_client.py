"""The client, over HTTP, against the stand-in: the five operations, paging, and every error in words."""

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Response

from receiver.errors import BoxError, SettingsError
from receiver.registrations import Kind, account_of
from receiver.registrations.client import ON_A_PAGE, WebhookClient
from receiver.registrations.rules import MOST_REGISTRATIONS, Content, Target
from receiver.sandbox import LAST_PAGES, Token
from tests.installation import settings
from tests.registrations.stand_in import ADDRESS, RENAMED, UPLOADED, StandIn, folder

SECRET = "hunter2-of-the-tests"


def error_of(act: Callable[[], Any]) -> BoxError:
    with pytest.raises(BoxError) as caught:
        act()
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


def test_the_five_operations(client: WebhookClient) -> None:
    made = client.create(folder(1200), UPLOADED)
    assert (made.target, made.content) == (folder(1200), UPLOADED)
    assert made.created_at is not None
    assert [one.id for one in client.list()] == [made.id]
    assert client.get(made.id) == made
    assert client.update(made.id, triggers=["FILE.RENAMED"]).content == RENAMED
    assert client.update(made.id, address=f"{ADDRESS}/2").content == Content.of(f"{ADDRESS}/2", RENAMED.triggers)
    client.delete(made.id)
    assert list(client.list()) == []


def test_a_trigger_that_the_sdk_does_not_know_passes(box: StandIn, client: WebhookClient) -> None:
    content = Content.of(ADDRESS, ["DOCGEN_DOCUMENT_GENERATION_FAILED", "FILE.LOCKED"])
    assert client.create(Target("file", "7"), content).content == content
    assert box.content() == {"file:7": content}


@pytest.mark.parametrize("end", LAST_PAGES)
def test_a_list_ends_whichever_way_the_last_page_says_so(end: str) -> None:
    with StandIn(last_page=end).serving() as box, box.client() as client:
        for number in range(ON_A_PAGE + 1):
            box.make(folder(number + 1))
        assert len(list(client.list())) == ON_A_PAGE + 1
        assert len(box.calls) == 2


def test_a_list_that_goes_round_in_a_circle_is_an_error(box: StandIn, client: WebhookClient) -> None:
    page = {"entries": [{"id": "1", "type": "webhook", "target": {"id": "1", "type": "folder"}}], "next_marker": "x"}
    box.instead = Response(json.dumps(page), mimetype="application/json")
    assert "again and again" in str(error_of(lambda: list(client.list())))
    assert len(box.calls) == 2


class Pages:
    """Answers with page after page of so many webhooks, each page with a new marker, up to the last one."""

    def __init__(self, on_a_page: int, *, last: int | None = None) -> None:
        self._on_a_page, self._last = on_a_page, last
        self._pages, self._ids = count(1), count(1)

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        page, target = next(self._pages), {"id": "1", "type": "folder"}
        entries = [{"id": str(next(self._ids)), "type": "webhook", "target": target} for _ in range(self._on_a_page)]
        body = {"entries": entries, "next_marker": None if page == self._last else f"after-{page}"}
        return Response(json.dumps(body), mimetype="application/json")(environ, start_response)


@pytest.mark.parametrize(
    ("on_a_page", "told"), [(0, "0 webhooks on 1,000 pages"), (500, "10,500 webhooks on 21 pages")]
)
def test_a_list_that_never_ends_is_an_error(box: StandIn, client: WebhookClient, on_a_page: int, told: str) -> None:
    box.instead = Pages(on_a_page)
    assert f"without end: {told}" in str(error_of(lambda: list(client.list())))


def test_a_page_for_each_of_a_thousand_webhooks_is_no_error(box: StandIn, client: WebhookClient) -> None:
    box.instead = Pages(1, last=MOST_REGISTRATIONS)
    assert len(list(client.list())) == MOST_REGISTRATIONS


@pytest.mark.parametrize("body", ["<h1>It works!</h1>", "{}", "[]", '{"entries": [{}]}', '{"entries": 7}'])
def test_what_is_not_boxs_api_is_not_taken_for_an_empty_list(box: StandIn, client: WebhookClient, body: str) -> None:
    box.instead = Response(body, mimetype="text/html")
    message = str(error_of(lambda: list(client.list())))
    assert message.startswith(
        f"What responds at {box.url} is not Box's API, or has a problem: the body of its response "
    )
    assert message.endswith(". Check BOX_API_URL.")


def test_where_nothing_answers_the_setting_is_named(box: StandIn) -> None:
    with box.client(api_url="http://127.0.0.1:9") as client:
        assert "BOX_API_URL" in str(error_of(lambda: list(client.list())))


def test_an_address_that_is_none_is_not_taken_for_a_token_that_is_none(box: StandIn) -> None:
    with box.client(api_url="http://", kind=Kind.DEVELOPER_TOKEN) as client:
        message = str(error_of(lambda: list(client.list())))
    assert message.startswith("Box cannot be called at http://: ")


def test_a_taken_target_names_the_webhook_that_has_it(box: StandIn, client: WebhookClient) -> None:
    id_ = box.make(folder(1200))
    error = error_of(lambda: client.create(folder(1200), UPLOADED))
    assert (error.status, error.existing_id) == (409, id_)
    assert str(error).startswith(f"There is a webhook on folder:1200 already, {id_}: ")


def test_a_webhook_that_is_not_there(client: WebhookClient) -> None:
    error = error_of(lambda: client.get("12"))
    assert (error.status, str(error)) == (404, "Box has no webhook 12 that this account can see.")


def test_a_folder_that_is_not_there() -> None:
    with StandIn(strict=True).serving() as box, box.client() as client:
        error = error_of(lambda: client.create(folder(1200), UPLOADED))
    assert (error.status, str(error)) == (404, "Box has no folder:1200 that this account can see.")


def test_what_box_finds_wrong_is_told_field_by_field(client: WebhookClient) -> None:
    error = error_of(lambda: client.create(folder(1), Content.of("http://intranet/", ["LAMP.LIT"])))
    assert error.status == 400
    assert "address: " in str(error)
    assert "triggers: 'LAMP.LIT' is not a trigger" in str(error)


def test_without_the_scope_it_is_named() -> None:
    tokens = [Token(name="ada", token=SECRET, has_scope=False)]
    with StandIn(tokens=tokens).serving() as box, box.client(kind=Kind.DEVELOPER_TOKEN, token=SECRET) as client:
        error = error_of(lambda: list(client.list()))
    assert error.status == 403
    assert "Manage webhooks" in str(error)


def test_a_developer_token_that_is_over_names_what_lasts() -> None:
    tokens = [Token(name="ada", token="another")]
    with StandIn(tokens=tokens).serving() as box, box.client(kind=Kind.DEVELOPER_TOKEN, token=SECRET) as client:
        error = error_of(lambda: list(client.list()))
    assert error.status == 401
    assert "it lasts an hour" in str(error)


def test_too_many_calls_are_waited_for_and_the_waiting_is_told(box: StandIn) -> None:
    waited: list[tuple[int, timedelta]] = []
    box.world.plan_refusal(status=429, times=2, after=0, retry_after=0.01)
    with WebhookClient(box.account(), waiting=lambda status, length: waited.append((status, length))) as client:
        assert list(client.list()) == []
    assert waited == [(429, timedelta(milliseconds=10))] * 2


def test_too_many_calls_after_all_waiting_is_an_error(box: StandIn, client: WebhookClient) -> None:
    box.world.plan_refusal(status=429, times=9, after=0, retry_after=0)
    error = error_of(lambda: list(client.list()))
    assert (error.status, len(box.calls)) == (429, 5)


def test_a_retry_after_that_is_a_date_is_understood(box: StandIn, client: WebhookClient) -> None:
    box.instead = Response("{}", status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert error_of(lambda: list(client.list())).status == 429


def test_box_in_trouble_is_asked_again_and_then_said_to_be(box: StandIn, client: WebhookClient) -> None:
    box.world.plan_refusal(status=503, times=1, after=0, retry_after=None)
    assert list(client.list()) == []
    box.instead = Response("<h1>Bad gateway</h1>", status=502)
    assert "itself has a problem (502)" in str(error_of(lambda: list(client.list())))


def test_an_answer_that_breaks_off_is_none(box: StandIn, client: WebhookClient) -> None:
    box.instead = Response(iter(['{"entries": [']), headers={"Content-Length": "5000"})
    assert "the body of its response breaks off" in str(error_of(lambda: list(client.list())))


def test_what_box_says_cannot_act_on_a_terminal(box: StandIn, client: WebhookClient) -> None:
    box.instead = Response(json.dumps({"message": "no\x1b[2J" + "x" * 1000}), status=418)
    text = str(error_of(lambda: client.get("1")))
    assert "\x1b" not in text
    assert len(text) < 400


CCG = {"BOX_CLIENT_ID": "app", "BOX_CLIENT_SECRET": SECRET, "BOX_ENTERPRISE_ID": "77"}


def account_for(box: StandIn, **given: str) -> Any:
    return account_of(settings("sqlite:////tmp/none.db", BOX_API_URL=f"{box.url}/2.0/", **given))


@pytest.mark.parametrize(
    ("more", "subject"), [({}, "enterprise 77"), ({"BOX_USER_ID": "8"}, "user 8")], ids=["service account", "user"]
)
def test_client_credentials(box: StandIn, more: dict[str, str], subject: str) -> None:
    account = account_for(box, **CCG | more)
    with WebhookClient(account) as client:
        client.create(folder(1), UPLOADED)
    assert [user["name"] for user in box.world.sessions.users()] == [subject]
    assert SECRET not in repr(account)


def test_client_credentials_that_box_does_not_take(box: StandIn) -> None:
    box.instead = Response('{"error": "invalid_client", "error_description": "no"}', status=400)
    with WebhookClient(account_for(box, **CCG)) as client:
        error = error_of(lambda: list(client.list()))
    assert str(error).startswith("Box does not accept the client credentials (400, invalid_client).")


def jwt_config() -> str:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(SECRET.encode())).decode()
    auth = {"publicKeyID": "k1", "privateKey": written, "passphrase": SECRET}
    app = {"clientID": "app", "clientSecret": SECRET, "appAuth": auth}
    return json.dumps({"boxAppSettings": app, "enterpriseID": "77"}, indent=1)


@pytest.mark.parametrize("as_file", [True, False])
@pytest.mark.parametrize(("more", "subject"), [({}, "enterprise 77"), ({"BOX_USER_ID": "8"}, "user 8")])
def test_jwt(box: StandIn, tmp_path: Path, as_file: bool, more: dict[str, str], subject: str) -> None:
    given = jwt_config()
    (tmp_path / "jwt.json").write_text(given)
    with WebhookClient(
        account_for(box, BOX_JWT_CONFIG=str(tmp_path / "jwt.json") if as_file else given, **more)
    ) as client:
        client.create(folder(1), UPLOADED)
    assert [user["name"] for user in box.world.sessions.users()] == [subject]


@pytest.mark.parametrize("given", ["/nowhere/jwt.json", "{}", "{", '{"boxAppSettings": {"clientSecret": "hunter2"}}'])
def test_a_jwt_config_that_is_none_is_named_and_not_shown(box: StandIn, given: str) -> None:
    with pytest.raises(SettingsError, match="BOX_JWT_CONFIG") as caught:
        WebhookClient(account_for(box, BOX_JWT_CONFIG=given))
    assert "hunter2" not in str(caught.value)


def test_a_private_key_that_cannot_be_used_is_said_to_be(box: StandIn) -> None:
    with WebhookClient(account_for(box, BOX_JWT_CONFIG=jwt_config().replace("PRIVATE", "PUBLIC"))) as client:
        assert "BOX_JWT_CONFIG has a private key" in str(error_of(lambda: list(client.list())))


def test_two_kinds_of_credentials_are_refused(box: StandIn) -> None:
    with pytest.raises(SettingsError, match=r"BOX_DEVELOPER_TOKEN: is set beside BOX_CLIENT_ID"):
        account_for(box, BOX_DEVELOPER_TOKEN=SECRET, **CCG)


def test_half_of_the_credentials_are_refused(box: StandIn) -> None:
    with pytest.raises(SettingsError) as caught:
        account_for(box, BOX_CLIENT_ID="app")
    assert set(caught.value.problems) == {"BOX_CLIENT_SECRET", "BOX_ENTERPRISE_ID"}


def test_a_sandbox_on_this_machine_wants_no_credentials(box: StandIn) -> None:
    assert account_for(box).kind is Kind.SANDBOX


def test_a_sandbox_that_was_told_to_answer_401_is_not_said_to_want_another_token_only(box: StandIn) -> None:
    box.world.plan_refusal(status=401, times=9, after=0, retry_after=None)
    with box.client() as client, pytest.raises(BoxError, match="signalbox sandbox refuse"):
        list(client.list())


def test_without_credentials_development_has_the_sandbox_of_this_machine_and_production_nobody() -> None:
    found = account_of(settings("sqlite:////tmp/none.db"))
    assert (found.kind, found.api_url, found.is_assumed) == (Kind.SANDBOX, "http://127.0.0.1:8100", True)
    with pytest.raises(SettingsError, match="BOX_CLIENT_ID"):
        account_of(settings("sqlite:////tmp/none.db", ENV="production"))


def test_with_credentials_it_is_box_in_development_too() -> None:
    assert account_of(settings("sqlite:////tmp/none.db", **CCG)).api_url == "https://api.box.com"


def test_a_proxy_of_the_environment_is_not_asked_for_a_sandbox(box: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with box.client() as client:
        assert list(client.list()) == []
