"""`signalbox send`: genuine and faulty deliveries, over HTTP, to an application that is really there."""

import json
import socket

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask.cli import ScriptInfo

from receiver import service
from receiver.app import create_app
from receiver.cli import cli
from receiver.observe.queries import Filters
from receiver.sources.samples import names
from tests import listings
from tests.cli.conftest import Signalbox
from tests.installation import settings
from tests.waiting import until


@pytest.mark.usefixtures("served")
def test_a_sample_is_sent_accepted_and_where_to_look_is_said(signalbox: Signalbox, engine: sa.Engine) -> None:
    result = signalbox("send", "box", "FILE.UPLOADED")
    event = listings.show_event(engine, "last")
    assert (result.exit_code, event["type"]) == (0, "box:FILE.UPLOADED")
    assert result.stdout.startswith(f"200  accepted     {event['id']}  ")
    assert result.stderr == f"See it: signalbox events show {event['id']}\n"


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("name", ["fp.converse", "fp.conversion"])
def test_both_words_for_a_conversion_are_known(signalbox: Signalbox, engine: sa.Engine, name: str) -> None:
    assert "known" not in signalbox("send", "filestack", name).stderr
    assert listings.show_event(engine, "last")["type"] == "filestack:fp.conversion"


@pytest.mark.usefixtures("served")
def test_a_count_is_so_many_events(signalbox: Signalbox, engine: sa.Engine) -> None:
    assert len(signalbox("send", "filestack", "fp.upload", "--count", "5").stdout.splitlines()) == 5
    assert len(listings.list_events(engine)["items"]) == 5


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(("source", "name"), [("box", "FILE.UPLOADED"), ("filestack", "fp.upload")])
def test_a_duplicate_is_one_event_with_two_deliveries(
    signalbox: Signalbox, engine: sa.Engine, source: str, name: str
) -> None:
    result = signalbox("send", source, name, "--duplicate")
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [["200", "accepted"], ["200", "duplicate"]]
    assert listings.show_event(engine, "last")["deliveries"] == 2


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("source", ["box", "filestack"])
@pytest.mark.parametrize(("fault", "reason"), [("--tamper", "signature_mismatch"), ("--stale", "timestamp_stale")])
def test_a_faulty_delivery_is_rejected_and_that_is_exit_1(
    signalbox: Signalbox, engine: sa.Engine, source: str, fault: str, reason: str
) -> None:
    result = signalbox("send", source, names(source)[0], fault)
    assert (result.exit_code, result.stdout.split()[:3]) == (1, ["401", "rejected", reason])
    kept = until(lambda: listings.list_rejected(engine)["items"], "the refusal is written")
    assert [item["reason"] for item in kept] == [reason]


@pytest.mark.usefixtures("served")
def test_a_changed_payload_is_signed_as_changed(signalbox: Signalbox, engine: sa.Engine) -> None:
    words = (
        "--set",
        "source.name=report.pdf",
        "--set",
        "source.size=7",
        "--set",
        "source.path_collection.entries.0.id=9",
    )
    assert signalbox("send", "box", "FILE.UPLOADED", *words).exit_code == 0
    source = listings.show_event(engine, "last")["payload"]["source"]
    assert (source["name"], source["size"], source["path_collection"]["entries"][0]["id"]) == ("report.pdf", 7, 9)


@pytest.mark.usefixtures("served")
def test_an_unreadable_payload_is_quarantined(signalbox: Signalbox) -> None:
    result = signalbox("send", "box", "FILE.UPLOADED", "--set", "trigger=5")
    assert (result.exit_code, result.stdout.split()[:2]) == (1, ["422", "quarantined"])
    assert "signalbox quarantine show last" in result.stderr


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("name", ["file.uploaded", "FILE.UPLAODED"])
def test_a_name_that_is_nearly_known_is_sent_with_a_hint(signalbox: Signalbox, engine: sa.Engine, name: str) -> None:
    result = signalbox("send", "box", name)
    assert (result.exit_code, "Did you mean FILE.UPLOADED?" in result.stderr) == (0, True)
    assert listings.list_events(engine, Filters(type=f"box:{name}"))["items"] != []


@pytest.mark.usefixtures("served")
def test_json_is_one_document_with_every_answer(signalbox: Signalbox) -> None:
    items = json.loads(signalbox("send", "box", "FILE.UPLOADED", "--duplicate", "--json").stdout)["items"]
    assert [(item["status"], item["answer"]["status"]) for item in items] == [(200, "accepted"), (200, "duplicate")]


def test_another_address_is_asked_with_or_without_the_path(signalbox: Signalbox, served: str) -> None:
    for to in (served, f"{served}/", f"{served}/hooks/box"):
        assert signalbox("send", "box", "FILE.UPLOADED", "--to", to).exit_code == 0


def test_a_proxy_for_the_world_is_not_asked_for_this_machine(
    signalbox: Signalbox, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert signalbox("send", "box", "FILE.UPLOADED", "--to", served).exit_code == 0


def test_where_nobody_listens_what_mends_it_is_said(signalbox: Signalbox) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        result = signalbox("send", "box", "FILE.UPLOADED", "--to", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert (result.exit_code, "make run" in result.stderr, "--to" in result.stderr) == (1, True, True)


@pytest.mark.parametrize("to", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://a:b", "nonsense"])
def test_what_is_no_address_is_wrong_usage(signalbox: Signalbox, to: str) -> None:
    assert signalbox("send", "box", "FILE.UPLOADED", "--to", to).exit_code == 2


@pytest.mark.parametrize("change", ["trigger", "trigger.x=1", 'source.name="\\ud800"'])
def test_a_change_that_cannot_be_made_is_wrong_usage(signalbox: Signalbox, served: str, change: str) -> None:
    source, name = ("filestack", "fp.upload") if "ud800" in change else ("box", "FILE.UPLOADED")
    assert signalbox("send", source, name, "--to", served, "--set", change).exit_code == 2


def test_a_source_without_a_key_names_the_setting(database_url: str) -> None:
    app = create_app(settings(database_url, FILESTACK_SECRETS=()))
    info = ScriptInfo(create_app=lambda: app)
    result = CliRunner().invoke(cli, ["send", "filestack", "fp.upload"], obj=info)
    service.of(app).engine.dispose()
    assert (result.exit_code, "FILESTACK_SECRETS" in result.stderr) == (1, True)


def test_every_name_with_a_sample_is_listed(signalbox: Signalbox) -> None:
    items = json.loads(signalbox("send", "--list", "--json").stdout)["items"]
    assert [item["name"] for item in items] == [*names("box"), *names("filestack")]
    assert signalbox("send", "filestack", "--list").stdout.split()[2::2] == ["filestack"] * len(names("filestack"))
