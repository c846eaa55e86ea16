"""Header lines as people may see them."""

import pytest

from receiver.events import Headers

MASK = "•••"


def shown(name: str, value: str = "value-of-the-tests-in-full") -> str:
    ((_, seen),) = Headers([(name, value)]).redacted()
    return seen


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Proxy-Authorization",
        "X-Forwarded-Authorization",
        "Cookie",
        "Set-Cookie",
        "X-Original-Cookie",
        "X-Auth-Token",
        "X-Gitlab-Token",
        "x-goog-channel-token",
        "X-AMZ-SECURITY-TOKEN",
        "X-Access-Token",
        "X-Telegram-Bot-Api-Secret-Token",
        "X-Bin-Secret",
        "X-Api-Key",
        "Api-Key",
        "apikey",
        "X_Api_Key",
        "X-Auth-Key",
        "Php-Auth-Password",
    ],
)
def test_a_header_whose_name_says_that_it_is_a_credential_is_masked(name: str) -> None:
    assert shown(name) == MASK
    assert "value-of-the-tests" not in repr(Headers([(name, "value-of-the-tests")]))


@pytest.mark.parametrize(
    "name",
    [
        "BOX-DELIVERY-ID",
        "BOX-DELIVERY-TIMESTAMP",
        "BOX-SIGNATURE-VERSION",
        "BOX-SIGNATURE-ALGORITHM",
        "FS-Timestamp",
        "Content-Type",
        "User-Agent",
        "Idempotency-Key",
        "Sec-Websocket-Key",
        "X-Forwarded-For",
        "Www-Authenticate",
    ],
)
def test_other_headers_are_shown(name: str) -> None:
    assert shown(name, "1") == "1"


@pytest.mark.parametrize("name", ["BOX-SIGNATURE-PRIMARY", "BOX-SIGNATURE-SECONDARY", "FS-Signature"])
def test_of_a_signature_both_ends_are_shown(name: str) -> None:
    assert shown(name) == "value-…full"


def test_what_is_masked_is_kept_whole() -> None:
    lines = Headers([("X-Gitlab-Token", "value")])
    assert Headers.from_bytes(lines.to_bytes())["X-Gitlab-Token"] == "value"
