"""What the event page copies, pasted: cURL by bash, Python and the pytest test by Python, against a real service."""

import base64
import json
import subprocess
import sys
from datetime import UTC, datetime

import httpx2 as httpx
import pytest

from receiver.sources import SOURCES, samples
from tests.acceptance.service import Service, needs
from tests.installation import FILESTACK_KEYS, KEYS
from tests.waiting import PATIENCE_SECONDS

pytestmark = needs("bash", "curl", "openssl")

# What a terminal would change on its way in: a tab, CRLF, quotes, what the shell itself reads, what does not show.
ODD = '\t{"trigger": "ODD.ONE", "id": "1", "text": "it\'s $HOME `x` \ufeff \\u0000 ü"}\r\n'.encode()


def page(service: Service, address: str) -> str:
    answer = httpx.get(f"{service.url}{address}", trust_env=False, timeout=PATIENCE_SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.text


def kept(service: Service, event_id: str) -> bytes:
    item = json.loads(service.signalbox(f"events show {event_id} --json"))
    return base64.b64decode(item["body_base64"])


def pasted(service: Service, command: list[str], text: str) -> str:
    done = subprocess.run(
        command, input=text, env=service.environ, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("source", ["box", "filestack"])
def test_what_is_copied_runs_and_the_very_bytes_arrive_again(service: Service, source: str) -> None:
    service.web()
    name = {"box": "FILE.UPLOADED", "filestack": "fp.upload"}[source]
    body, headers = samples.forge(source, name, KEYS[source], at=datetime.now(UTC))
    event_id = service.post(source, body, headers).json()["event"]
    answers = [
        json.loads(pasted(service, ["bash"], page(service, f"/events/{event_id}/copy/curl"))),
        json.loads(
            pasted(service, [sys.executable], page(service, f"/events/{event_id}/copy/python")).partition(" ")[2]
        ),
    ]
    # The same event again says that the bytes are read alike; that they are the same the delivery itself tells.
    assert answers == [{"status": "duplicate", "event": event_id}] * 2
    item = json.loads(service.signalbox(f"events show {event_id} --json"))
    assert [repeat["body_differs"] for repeat in item["repeats"]] == [False, False]


def test_odd_bytes_come_back_as_they_were_after_the_event_is_gone(service: Service) -> None:
    service.web()
    event_id = service.post("box", ODD, SOURCES["box"].sign(ODD, KEYS["box"], at=datetime.now(UTC))).json()["event"]
    command = page(service, f"/events/{event_id}/copy/curl")
    other = Service(service.folder / "other", DATABASE_URL=f"sqlite:///{service.folder}/other.db")
    other.folder.mkdir()
    try:
        other.signalbox("db upgrade")
        other.web()
        service.environ["SIGNALBOX_URL"] = other.url
        answer = json.loads(pasted(service, ["bash"], command))
        assert answer["status"] == "accepted"
        assert kept(other, answer["event"]) == ODD
    finally:
        other.stop()


def test_the_copied_test_passes_and_fails_without_the_right_key(service: Service) -> None:
    service.web()
    body, headers = samples.forge("filestack", "fp.upload", FILESTACK_KEYS, at=datetime.now(UTC))
    event_id = service.post("filestack", body, headers).json()["event"]
    file = service.folder / "test_pasted.py"
    file.write_text(page(service, f"/events/{event_id}/copy/pytest"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(service.folder),
        str(file),
    ]
    assert "1 passed" in pasted(service, command, "")
    service.environ["FILESTACK_SECRETS"] = "another-secret"
    done = subprocess.run(
        command,
        env=service.environ,
        cwd=service.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert "1 failed" in done.stdout
    assert "signature_mismatch" in done.stdout
