"""What people see of header lines, and of errors that quote them."""

import json
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from receiver.errors import Discard
from receiver.events import Event, Headers, Verified
from receiver.inbox.rows import Inbox
from receiver.jobs.routing import Router
from receiver.jobs.worker import Worker
from receiver.runtime import redaction
from receiver.runtime.redaction import MASK
from receiver.sources import SOURCES
from tests import listings
from tests.installation import Clock, delivery

VALUE = "value-of-the-tests-in-full"

MASKED = [
    *("X-Credential", "X-Amz-Credential", "Credentials", "X-Session-Id", "Session", "Sessionid", "X-Auth", "Auth"),
    *("X-Auth-User", "X-Webauth-User", "X-Oauth-Scopes", "Authentication-Info", "X-Csrf-Token", "X-Csrftoken"),
    *("X-Csrf", "X-Xsrf-Token", "X-Hub-Signature", "X-Hub-Signature-256", "Stripe-Signature", "X-Slack-Signature"),
    *("X-Shopify-Hmac-Sha256", "X-Hmac", "X-Sig", "Webhook-Signature", "Signature", "Signature-Input"),
    *("X-Twilio-Signature", "Svix-Signature", "X-Signature-Ed25519", "Box-Signature-Tertiary", "X-Api-Key", "X-Key"),
    *("Key", "X-Key-Id", "Apikey", "X-Accesskey", "X-Functions-Key", "Ocp-Apim-Subscription-Key", "X-Signing-Key"),
    *("Cf-Access-Jwt-Assertion", "X-Goog-Iap-Jwt-Assertion", "X-Pwd", "X-Passphrase", "X-Service-Secret"),
    *("Authorization", "Authorisation", "Proxy-Authorization", "X_Auth_Token", "Set-Cookie2", "Dpop-Token"),
]
IN_CLEAR = [
    *("Idempotency-Key", "X-Idempotency-Key", "Box-Delivery-Id", "Box-Delivery-Timestamp", "Box-Signature-Version"),
    *("Box-Signature-Algorithm", "Fs-Timestamp", "X-Signature-Version", "X-Signature-Algorithm", "Sec-Websocket-Key"),
    *("Surrogate-Key", "X-Cache-Key", "X-Routing-Key", "Ordering-Key", "X-Public-Key", "X-Monkey", "X-Keyword"),
    *("Keep-Alive", "Author", "X-Author-Name", "Authority", "X-Authority", "Www-Authenticate", "Proxy-Authenticate"),
    *("Access-Control-Allow-Credentials", "X-Ratelimit-Remaining-Tokens", "X-Github-Delivery", "X-Github-Event"),
    *("Webhook-Id", "Webhook-Timestamp", "X-Request-Id", "Traceparent", "Content-Digest", "Etag", "User-Agent"),
    *("X-Design", "X-Assigned-To", "X-Signal", "X-Passed-By", "X-Forwarded-For", "Content-Type", "Turkey", "X-Basket"),
]


def test_a_name_that_says_so_is_a_credential_or_a_signature_and_is_masked() -> None:
    for spelt in (str.lower, str.upper, str.title):
        assert [name for name in MASKED if redaction.shown(spelt(name), VALUE) != MASK] == []


def test_a_name_that_only_sounds_like_it_is_shown() -> None:
    for spelt in (str.lower, str.upper, str.title):
        assert [name for name in IN_CLEAR if redaction.shown(spelt(name), VALUE) != VALUE] == []


@pytest.mark.parametrize("name", ["BOX-SIGNATURE-PRIMARY", "box-signature-secondary", "FS-Signature"])
def test_of_the_signatures_that_we_verify_both_ends_are_shown(name: str) -> None:
    assert redaction.shown(name, VALUE) == "value-…full"
    assert redaction.shown(name, "short") == "short"


def test_a_signature_is_sent_on_and_a_credential_is_not() -> None:
    assert not redaction.is_secret("X-Hub-Signature-256")
    assert not redaction.is_secret("FS-Signature")
    assert redaction.is_secret("X-Session-Id")


QUOTING = Headers(
    [
        ("Content-Type", "application/json"),
        ("Authorization", "Bearer abc.def-ghi_jkl"),
        ("X-Session-Id", "s3ss"),
        ("X-Auth", "1"),
        ("Cookie", 'sid=c00kie"value; theme=dark'),
        ("FS-Signature", "0123456789abcdef0123456789abcdef"),
        ("X-Key", "a/b+c d"),
    ]
)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("refused: Bearer abc.def-ghi_jkl", "refused: •••"),
        ("refused: abc.def-ghi_jkl.", "refused: •••."),
        ("{'x-session-id': 's3ss'} at line 1", "{'x-session-id': '•••'} at line 1"),
        ("Xs3ssX stays: the word is another", "Xs3ssX stays: the word is another"),
        (json.dumps({"cookie": QUOTING["Cookie"]}), '{"cookie": "•••"}'),
        (f"?key={quote('a/b+c d', safe='')}", "?key=•••"),
        ("0123456789abcdef0123456789abcdef is not it", "012345…cdef is not it"),
        ("application/json is no secret", "application/json is no secret"),
    ],
)
def test_a_text_that_quotes_headers_has_their_values_as_people_see_them(text: str, seen: str) -> None:
    assert redaction.hide(QUOTING.pairs, text) == seen


@pytest.mark.parametrize(
    "failing",
    [
        ValueError,
        Discard,
        lambda quoted: ExceptionGroup("several", [KeyError(quoted)]),
    ],
)
def test_what_a_handler_quotes_from_the_headers_is_masked_before_it_is_written(
    engine: sa.Engine, inbox: Inbox, router: Router, clock: Clock, failing: Callable[[str], Exception]
) -> None:
    secret = "tr0ub4dor&3-of-the-tests"

    @router.on("box:*")
    def quote_it(event: Event) -> None:
        try:
            raise LookupError(dict(event.headers))
        except LookupError as error:
            raise failing(event.headers["X-Credential"]) from error

    came = delivery("box", "FILE.UPLOADED", at=clock())
    came = replace(came, headers=Headers([*came.headers.pairs, ("X-Credential", secret)]))
    event_id = inbox.accept(came, SOURCES["box"].parse(came), Verified("primary")).event_id
    Worker(engine, router, clock=clock).drain()
    shown = json.dumps(listings.show_event(engine, event_id))
    assert secret not in shown
    (job,) = listings.show_event(engine, event_id)["jobs"]
    assert MASK in job["attempts"][0]["error"]
    assert came.headers["Box-Signature-Primary"] not in shown
