"""Which addresses and triggers Box takes, as the sandbox knows its rules."""

import pytest
from box_sdk_gen.managers.webhooks import CreateWebhookTriggers
from hypothesis import given
from hypothesis import strategies as st

from receiver.registrations.rules import TRIGGERS, fits
from receiver.sandbox.rules import check_address, check_triggers, is_id


@pytest.mark.parametrize(
    "address",
    [
        "https://hooks.example.com/box",
        "https://hooks.example.com:443/box?x=1",
        "https://93.184.216.34/box",
        "http://localhost:8000/hooks/box",
        "http://127.0.0.1:8000/hooks/box",
        "https://127.8.8.8/x",
        "http://[::1]:8000/",
        "http://box.localhost:1/",
        "http://127.1:8000/hooks/box",
        "http://0x7f.1:8000/hooks/box",
        "http://2130706433/",
    ],
)
def test_these_addresses_are_taken(address: str) -> None:
    assert list(check_address(address)) == []


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("http://hooks.example.com/", "https"),
        ("https://hooks.example.com:8443/", "443"),
        ("https://box.com/", "box.com"),
        ("https://app.box.com/", "box.com"),
        ("https://10.0.0.1/", "public"),
        ("https://192.168.1.1/", "public"),
        ("https://169.254.169.254/", "public"),
        ("https://10.1/", "public"),
        ("https://0xa9.0xfe.0xa9.0xfe/", "public"),
        ("https://[64:ff9b::a00:1]/", "public"),
        ("https://[3fff::1]/", "public"),
        ("https://192.88.99.1/", "public"),
        ("https://signalbox/", "public"),
        ("ftp://hooks.example.com/", "not an HTTP address"),
        ("https://", "not an HTTP address"),
        ("https://user:word@hooks.example.com/", "not an HTTP address"),
        ("https://hooks.example.com:99999/", "not an HTTP address"),
        ("https://hooks.example.com/a b", "not an HTTP address"),
        ("https://[::1/", "not an HTTP address"),
        ("", "not an HTTP address"),
        ("https://exämple.com/", "not an HTTP address"),
        (f"https://hooks.example.com/{'a' * 2000}", "not an HTTP address"),
    ],
)
def test_these_addresses_are_refused_with_the_reason(address: str, word: str) -> None:
    assert any(word in wrong.message for wrong in check_address(address))


@pytest.mark.parametrize("address", ["http://web:8000/hooks/box", "https://10.0.0.1:8443/"])
def test_on_request_every_http_address_is_taken(address: str) -> None:
    assert list(check_address(address, any_address=True)) == []


@given(st.text(max_size=40))
def test_any_text_can_be_judged(text: str) -> None:
    list(check_address(text))
    list(check_triggers([text], "file"))
    is_id(text)


def test_every_trigger_of_the_sdk_is_known() -> None:
    assert {one.value for one in CreateWebhookTriggers} <= TRIGGERS


@pytest.mark.parametrize(
    ("trigger", "types"),
    [
        ("FILE.UPLOADED", {"folder"}),
        ("FILE.TRASHED", {"file", "folder"}),
        ("FOLDER.RENAMED", {"folder"}),
        ("COLLABORATION.CREATED", {"folder"}),
        ("COMMENT.CREATED", {"file", "folder"}),
        ("SIGN_REQUEST.COMPLETED", {"file", "folder"}),
        ("DOCGEN_DOCUMENT_GENERATION_STARTED", {"file"}),
    ],
)
def test_a_trigger_fits_files_or_folders_or_both(trigger: str, types: set[str]) -> None:
    assert {type_ for type_ in ("file", "folder") if fits(trigger, type_)} == types
