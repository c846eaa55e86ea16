"""Who may see the pages and the API."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from receiver import service
from receiver.app import create_app
from receiver.observe import logs, metrics
from receiver.web.auth import OPEN, Doors
from receiver.web.auth.throttle import Throttle
from tests.installation import settings

PASSWORD = "open-sesame-of-the-tests"
TOKEN = "token-of-the-tests-of-signalbox"
PRODUCTION = {"ENV": "production", "ADMIN_PASSWORD": PASSWORD, "API_TOKEN": TOKEN}
ELSEWHERE = {"REMOTE_ADDR": "192.0.2.20"}
REASONS_TO_BE_OPEN = {
    "hooks.receive": "providers deliver here; the signature is the login",
    "capture.record": "anybody may be recorded in a bin",
    "health.alive": "a platform asks",
    "health.ready": "a platform asks",
    "auth.login": "where one logs in",
    "static": "style sheets and scripts of the login page",
}


@pytest.fixture
def production(database_url: str) -> Iterator[Flask]:
    app = create_app(settings(database_url, **PRODUCTION))
    yield app
    service.of(app).engine.dispose()


@pytest.fixture
def outside(production: Flask) -> FlaskClient:
    return production.test_client()


def addresses(app: Flask) -> list[tuple[str, str, str]]:
    """Give every route as its endpoint, a method, and an address with something in each variable."""
    return [
        (rule.endpoint, method, re.sub(r"<[^>]+>", "1", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def test_every_route_needs_a_login_or_is_on_the_short_list(production: Flask, outside: FlaskClient) -> None:
    assert set(REASONS_TO_BE_OPEN) == OPEN
    for endpoint, method, address in addresses(production):
        if endpoint in OPEN:
            continue
        answer = outside.open(address, method=method)
        assert answer.status_code == 401 or answer.headers["Location"].startswith("/login"), (endpoint, method)
        assert answer.status_code in (302, 401), (endpoint, method)


def test_what_is_on_the_list_exists(app: Flask) -> None:
    assert {rule.endpoint for rule in app.url_map.iter_rules()} >= OPEN


def log_in(client: FlaskClient, password: str = PASSWORD, **more: Any) -> Any:
    return client.post("/login", data={"password": password, **more}, base_url="https://localhost")


def test_the_password_opens_the_pages_and_logging_out_closes_them(outside: FlaskClient) -> None:
    answer = log_in(outside, next="/stats?window=1h")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/stats?window=1h")
    cookie = answer.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=Lax"))
    assert PASSWORD not in cookie
    assert outside.get("/", base_url="https://localhost").status_code == 200
    outside.post("/logout", base_url="https://localhost")
    assert outside.get("/", base_url="https://localhost").headers["Location"].startswith("/login")


def copied_cookie(answer: Any) -> dict[str, str]:
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


def test_after_a_logout_a_copied_cookie_opens_nothing_in_any_process(outside: FlaskClient, database_url: str) -> None:
    cookie, other = copied_cookie(log_in(outside)), create_app(settings(database_url, **PRODUCTION))
    elsewhere = other.test_client(use_cookies=False)
    before = elsewhere.get("/", headers=cookie).status_code
    outside.post("/logout", base_url="https://localhost")
    assert (before, elsewhere.get("/", headers=cookie).status_code) == (200, 302)
    service.of(other).engine.dispose()


def test_a_logout_ends_one_login_and_not_the_others(outside: FlaskClient, production: Flask) -> None:
    other = production.test_client()
    log_in(other)
    log_in(outside)
    outside.post("/logout", base_url="https://localhost")
    assert other.get("/", base_url="https://localhost").status_code == 200


def test_a_login_that_another_password_ended_stays_ended_when_the_first_is_back(
    outside: FlaskClient, database_url: str
) -> None:
    cookie, statuses = copied_cookie(log_in(outside)), []
    for password in (PASSWORD, "another-password", PASSWORD):
        app = create_app(settings(database_url, **PRODUCTION | {"ADMIN_PASSWORD": password}))
        statuses.append(app.test_client(use_cookies=False).get("/", headers=cookie).status_code)
        service.of(app).engine.dispose()
    assert statuses == [200, 302, 302]


@pytest.mark.parametrize("changed", [{"ADMIN_PASSWORD": "another-password"}, {"SECRET_KEY": "another-secret-key"}])
def test_another_password_or_secret_key_ends_every_session(
    outside: FlaskClient, database_url: str, changed: dict[str, str]
) -> None:
    cookie = log_in(outside).headers["Set-Cookie"].partition(";")[0]
    statuses = []
    for told in (PRODUCTION, PRODUCTION | changed):
        app = create_app(settings(database_url, **told))
        client = app.test_client(use_cookies=False)
        statuses.append(client.get("/", headers={"Cookie": cookie}).status_code)
        service.of(app).engine.dispose()
    assert statuses == [200, 302]


def test_a_session_that_does_not_say_by_which_password_opens_nothing(outside: FlaskClient) -> None:
    for said in (True, "", "True", None, ["a"]):
        with outside.session_transaction(base_url="https://localhost") as session:
            session["admin"] = said
        assert outside.get("/", base_url="https://localhost").status_code == 302


def test_a_login_lasts_a_week(outside: FlaskClient) -> None:
    cookie = log_in(outside).headers["Set-Cookie"]
    expires = parsedate_to_datetime(re.search(r"Expires=([^;]+)", cookie)[1])  # type: ignore[index]
    assert timedelta(days=6, hours=23) < expires - datetime.now(UTC) <= timedelta(days=7)


def test_after_the_login_one_is_where_one_wanted_to_be_unless_it_was_to_do_something(outside: FlaskClient) -> None:
    assert outside.get("/stats?window=1h").headers["Location"] == "/login?next=/stats?window%3D1h"
    assert outside.post("/logout").headers["Location"] == "/login"


def test_a_part_of_a_page_is_sent_to_the_login_as_a_whole(outside: FlaskClient) -> None:
    answer = outside.get("/stats", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/login?next=/stats")


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + "x", "pässword", PASSWORD[:-1]])
def test_a_wrong_password_opens_nothing(outside: FlaskClient, password: str) -> None:
    assert log_in(outside, password).status_code == 401
    assert outside.get("/", base_url="https://localhost").status_code == 302


def test_after_five_wrong_passwords_the_right_one_has_to_wait_too(outside: FlaskClient) -> None:
    for _ in range(Throttle.PER_ADDRESS):
        assert log_in(outside, "wrong").status_code == 401
    answer = log_in(outside)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 61


def says_from(client: FlaskClient, address: str, password: str = "wrong", *, peer: str = "192.0.2.1") -> int:
    return client.post(
        "/login",
        data={"password": password},
        base_url="https://localhost",
        headers={"X-Forwarded-For": address},
        environ_base={"REMOTE_ADDR": peer},
    ).status_code


def test_who_may_guess_again_is_not_what_a_stranger_says_of_himself(outside: FlaskClient) -> None:
    said = [says_from(outside, f"198.51.100.{number}") for number in range(Throttle.PER_ADDRESS + 1)]
    assert said == [401] * Throttle.PER_ADDRESS + [429]
    assert says_from(outside, "198.51.100.200", PASSWORD, peer="192.0.2.2") == 302


@pytest.mark.parametrize("proxies", [("*",), ("192.0.2.0/24",), ("::1", "192.0.2.1")])
def test_a_proxy_that_the_server_trusts_says_who_asks(
    production: Flask, outside: FlaskClient, proxies: tuple[str, ...]
) -> None:
    service.of(production).proxies = proxies
    for number in range(Throttle.PER_ADDRESS + 1):
        assert says_from(outside, f"203.0.113.{number}, 198.51.100.{number}") == 401
    for _ in range(Throttle.PER_ADDRESS):
        says_from(outside, "203.0.113.1, 198.51.100.200")
    assert says_from(outside, "203.0.113.2, 198.51.100.200", PASSWORD) == 429
    assert says_from(outside, "198.51.100.201", PASSWORD) == 302


def test_the_operator_gets_in_where_she_logged_in_before_while_strangers_try_from_changing_networks(
    production: Flask, outside: FlaskClient, database_url: str
) -> None:
    """Forty a second, by a clock of its own; then in a process that has just begun."""
    clock = [1000.0]
    service.of(production).add(Doors(clock=lambda: clock[0]))
    service.of(production).proxies = ("*",)
    assert says_from(outside, "2001:db8:cafe::1", PASSWORD) == 302
    outside.post("/logout", base_url="https://localhost")
    strangers, operator = Counter[int](), []
    for number in range(40 * 10):
        clock[0] += 1 / 40
        strangers[says_from(outside, f"2001:db8:{number:x}::1", "guess")] += 1
        if number >= 100 and number % 60 == 0:
            operator.append(says_from(outside, "2001:db8:cafe::2", PASSWORD))
    assert operator == [302] * 5
    assert strangers == {401: strangers[401], 429: 40 * 10 - strangers[401]}
    assert strangers[401] <= Throttle.IN_ALL + 5
    begun = create_app(settings(database_url, **PRODUCTION))
    service.of(begun).proxies = ("*",)
    for number in range(Throttle.IN_ALL):
        says_from(begun.test_client(), f"198.51.100.{number}", "guess")
    assert says_from(begun.test_client(), "203.0.113.77", PASSWORD) == 429
    assert says_from(begun.test_client(), "2001:db8:cafe::3", PASSWORD) == 302
    service.of(begun).engine.dispose()


def test_the_right_password_gets_in_from_elsewhere_when_it_comes_back_after_the_wait(
    production: Flask, outside: FlaskClient
) -> None:
    clock = [1000.0]
    service.of(production).add(Doors(clock=lambda: clock[0]))
    service.of(production).proxies = ("*",)
    operator = []
    for number in range(40 * 6):
        clock[0] += 1 / 40
        says_from(outside, f"2001:db8:{number:x}::1", "guess")
        if number in (100, 100 + 40 * 3):
            operator.append(says_from(outside, "203.0.113.77", PASSWORD))
    assert operator == [429, 302]


@pytest.mark.parametrize("following", ["//evil.example", "https://evil.example", "/\\evil.example", "/\n/x", "", None])
def test_the_login_leads_nowhere_else(outside: FlaskClient, following: str | None) -> None:
    answer = log_in(outside, **({"next": following} if following is not None else {}))
    assert answer.headers["Location"] == "/"


def test_the_token_opens_the_api_and_a_wrong_one_does_not(outside: FlaskClient) -> None:
    assert outside.get("/api/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    for header in (f"Bearer {TOKEN}x", "Bearer ", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer \xe9"):
        answer = outside.get("/api/openapi.json", headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_wrong_token_is_told_from_none(outside: FlaskClient) -> None:
    wrong = outside.get("/api/events", headers={"Authorization": "Bearer another"}).get_json()["detail"]
    none = outside.get("/api/events").get_json()["detail"]
    assert (wrong.startswith("This is not the API_TOKEN"), none.startswith("Send the API_TOKEN")) == (True, True)


def asks(client: FlaskClient, token: str, address: str = "192.0.2.1") -> int:
    return client.get(
        "/api/openapi.json", headers={"Authorization": f"Bearer {token}"}, environ_base={"REMOTE_ADDR": address}
    ).status_code


def test_wrong_tokens_are_slowed_down_like_wrong_passwords(outside: FlaskClient) -> None:
    assert [asks(outside, f"wrong {number}") for number in range(7)] == [401] * 5 + [429] * 2
    answer = outside.get("/", headers={"Authorization": f"Bearer {TOKEN}"}, environ_base={"REMOTE_ADDR": "192.0.2.1"})
    assert (answer.status_code, 0 < int(answer.headers["Retry-After"]) <= 61) == (429, True)
    assert asks(outside, TOKEN, "192.0.2.2") == 200
    assert log_in(outside).status_code == 302


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [("POST", "/api/jobs/replay", {"Sec-Fetch-Site": "cross-site"}), ("GET", "/", {}), ("GET", "/api/docs", {})],
)
def test_no_way_in_tells_a_wrong_token_from_the_right_one_any_faster(
    outside: FlaskClient, method: str, path: str, more: dict[str, str]
) -> None:
    for token in ["wrong"] * Throttle.PER_ADDRESS:
        assert outside.open(path, method=method, headers={"Authorization": f"Bearer {token}", **more}).status_code < 429
    for token in ("wrong", TOKEN):
        answer = outside.open(path, method=method, headers={"Authorization": f"Bearer {token}", **more})
        assert answer.status_code == 429


def test_a_program_that_had_the_token_right_goes_on_while_others_guess(outside: FlaskClient) -> None:
    assert asks(outside, TOKEN) == 200
    for number in range(Throttle.IN_ALL + 5):
        asks(outside, "wrong", f"198.51.100.{number}")
    assert [asks(outside, "wrong") for _ in range(6)] == [401] * 5 + [429]
    assert asks(outside, TOKEN) == 200
    assert asks(outside, TOKEN, "203.0.113.1") == 429


@pytest.mark.parametrize("method", ["HEAD", "GET", "OPTIONS"])
def test_who_only_looks_at_the_login_has_not_tried_to_log_in(outside: FlaskClient, method: str) -> None:
    for _ in range(Throttle.IN_ALL + 10):
        assert outside.open("/login", method=method).status_code == 200
    assert log_in(outside).status_code == 302


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    logs.LINES.write_out()
    lines = map(json.loads, capsys.readouterr().err.splitlines())
    return [{name: line[name] for name in line if name != "timestamp"} for line in lines if line["event"] == "login"]


def test_each_failed_login_and_lock_out_is_in_the_log_with_its_address(
    client_with: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_LOCK_OUTS", logs._Seldom())
    client = client_with(**PRODUCTION)
    for _ in range(8):
        log_in(client, "wrong-password-of-a-stranger")
    asks(client, "wrong-token-of-a-stranger", "2001:db8::7")
    lines = told(capsys)
    wrong = {"event": "login", "level": "warning", "by": "password", "outcome": "wrong", "address": "127.0.0.1"}
    assert lines[:5] == [wrong] * 5
    assert lines[5] == wrong | {"outcome": "locked_out", "wait_seconds": lines[5]["wait_seconds"]}
    assert lines[6:] == [wrong | {"by": "token", "address": "2001:db8::7"}]
    assert "stranger" not in json.dumps(lines)


def test_logins_and_failures_are_counted(outside: FlaskClient, production: Flask) -> None:
    for _ in range(7):
        log_in(outside, "wrong")
    asks(outside, "wrong")
    outside.post("/login", data={"password": PASSWORD}, environ_base={"REMOTE_ADDR": "192.0.2.9"})
    service.of(production).tally.write_out()
    totals = metrics.read_totals(service.of(production).engine)
    assert {(one.subject, one.outcome): one.counted for one in totals if one.kind == "login"} == {
        ("password", "wrong"): 5,
        ("password", "locked_out"): 2,
        ("password", "opened"): 1,
        ("token", "wrong"): 1,
    }
    text = outside.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, environ_base=ELSEWHERE).text
    assert 'signalbox_logins_total{by="password",outcome="wrong"} 5.0' in text


def test_what_another_sites_page_sends_does_nothing(client: FlaskClient) -> None:
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://a]b"},
    ):
        assert client.post("/logout", headers=headers).status_code == 403, headers
        assert client.post("/login", headers=headers).status_code == 403, headers
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}, {}):
        assert client.post("/logout", headers=headers).status_code == 302, headers


def test_development_is_open_on_this_machine_and_refused_elsewhere(client: FlaskClient) -> None:
    assert client.get("/").status_code == 200
    elsewhere: list[dict[str, Any]] = [
        {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}},
        {"headers": {"Host": "rebound.example"}},
        {"headers": {"X-Forwarded-For": "192.0.2.7"}},
        {"headers": {"Forwarded": "for=192.0.2.7"}},
    ]
    for request in elsewhere:
        answer = client.get("/", **request)
        assert answer.status_code == 403
        assert "ADMIN_PASSWORD" in answer.text


ADDED = [
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Anything", "X-Forwarded", "X-Original-Forwarded-For"),
    *("Forwarded", "Forwarded-For", "Z-Forwarded-For", "Fly-Forwarded-Port", "X-Ms-Forwarded-Client-Ip", "Via"),
    *("X-Bluecoat-Via", "X-Real-Ip", "True-Client-Ip", "Client-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "Remote-Ip"),
    *("X-Azure-Clientip", "X-Azure-Socketip", "X-Azure-Ref", "X-Fd-Healthprobe", "X-Arr-Ssl", "X-Appservice-Proto"),
    *("Cf-Connecting-Ip", "Cf-Ray", "Cf-Pseudo-Ipv4", "Cdn-Loop", "Fastly-Client-Ip", "Fastly-Ff", "Akamai-Origin-Hop"),
    *("Tailscale-User-Login", "Tailscale-User-Profile-Pic", "Tailscale-Funnel-Request", "X-Tailscale-Tailnet"),
    *("X-Amzn-Trace-Id", "X-Amz-Cf-Id", "Cloudfront-Viewer-Country", "X-Ngrok-Trace", "Ngrok-Skip-Browser-Warning"),
    *("X-Envoy-External-Address", "X-Envoy-Attempt-Count", "X-Request-Id", "X-Request-Start", "X-B3-Traceid"),
    *("Fly-Client-Ip", "Fly-Region", "X-Vercel-Id", "X-Vercel-Forwarded-For", "X-Nf-Request-Id", "Rndr-Id"),
    *("X-Cloud-Trace-Context", "X-Appengine-User-Ip", "X-Goog-Iap-Jwt-Assertion", "X-Railway-Edge", "X-Varnish"),
    *("X-Tunnel-Skip-Antiphishing-Page", "Bypass-Tunnel-Reminder", "Skip_zrok_interstitial", "X-Zrok-Share"),
    *("X-Original-Host", "X-Original-Url", "X-Pagekite-Port", "X-Remote-User", "Remote-User", "X-Webauth-User"),
    *("X-Auth-Request-Email", "X-Forwarder-For", "X-Proxyuser-Ip", "X-Scheme", "Disguised-Host", "Front-End-Https"),
]
SENT_BY_BROWSERS = [
    *("Accept-Language", "Dnt", "Sec-Ch-Ua", "Sec-Fetch-Site", "Sec-Gpc", "Save-Data", "Hx-Current-Url", "Hx-Request"),
    *("X-Requested-With", "Priority", "Purpose", "Upgrade-Insecure-Requests", "If-None-Match", "Last-Event-Id"),
    *("Sec-Purpose", "Device-Memory", "Downlink", "Rtt", "Ect", "Viewport-Width", "Pragma", "Te", "Range"),
    *("Traceparent", "Idempotency-Key", "X-Api-Version", "Proxy-Connection"),
]


def test_in_development_what_any_proxy_adds_closes_the_pages(client: FlaskClient) -> None:
    assert [name for name in ADDED if client.get("/handlers", headers={name: "1"}).status_code != 403] == []


def test_in_development_what_browsers_send_does_not(client: FlaskClient) -> None:
    assert [name for name in SENT_BY_BROWSERS if client.get("/login", headers={name: "1"}).status_code != 200] == []
    assert [name for name in SENT_BY_BROWSERS if client.get("/handlers", headers={name: "1"}).status_code != 200] == []


def test_a_password_closes_the_pages_on_this_machine_too_where_a_raw_tunnel_may_end(client_with: Any) -> None:
    client = client_with(ADMIN_PASSWORD=PASSWORD, API_TOKEN=TOKEN)
    assert client.get("/").headers["Location"].startswith("/login")
    assert client.get("/api/events").status_code == 401
    assert client.post("/login", data={"password": PASSWORD}).status_code == 302
    assert client.get("/").status_code == 200


def test_development_elsewhere_opens_by_password_where_there_is_one(database_url: str) -> None:
    app = create_app(settings(database_url, ADMIN_PASSWORD=PASSWORD))
    tunnelled = {"headers": {"X-Forwarded-For": "192.0.2.7"}}
    client = app.test_client()
    assert client.get("/", **tunnelled).headers["Location"].startswith("/login")
    client.post("/login", data={"password": PASSWORD}, **tunnelled)
    assert client.get("/", **tunnelled).status_code == 200
    service.of(app).engine.dispose()


def test_over_plain_http_a_login_of_production_says_that_it_would_not_hold(outside: FlaskClient) -> None:
    plain = {"base_url": "http://signalbox.test:8434", "headers": {"Origin": "http://signalbox.test:8434"}}
    answer = outside.post("/login", data={"password": PASSWORD, "next": "/stats"}, **plain)
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (403, False)
    assert "sent over HTTPS only" in answer.text
    assert 'value="/stats"' in answer.text
    # What ends TLS need not say so to us: the browser does.
    behind = {"base_url": "http://signalbox.test", "headers": {"Origin": "https://signalbox.test"}}
    assert outside.post("/login", data={"password": PASSWORD}, **behind).status_code == 302


def test_our_own_forms_say_where_they_come_from_and_other_hosts_learn_no_address(client: FlaskClient) -> None:
    assert client.get("/").headers["Referrer-Policy"] == "same-origin"


def test_pages_are_shielded(client: FlaskClient) -> None:
    headers = client.get("/").headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
