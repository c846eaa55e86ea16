"""A source of another package: the code of docs/adding-a-source.md, registered, and everything opened with it."""

import hmac
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.installation import ROOT
from tests.waiting import PATIENCE_SECONDS
from tests.web.test_copy_as import run

SECRET = "secret-of-acme-of-the-tests"
GUIDE = (ROOT / "docs" / "adding-a-source.md").read_text(encoding="utf-8")
_MODULE = re.compile(r"```python\n# (acme/\w+\.py)\n(.*?)```", re.DOTALL)
_POINTS = re.compile(r'```toml\n\[project\.entry-points\."([\w.]+)"\]\n(.*?)```', re.DOTALL)

Report = dict[str, Any]


def install(folder: Path, points: str | None = None) -> None:
    """Put the package of the guide into a folder, as an installer would, with its entry points or others."""
    for name, code in _MODULE.findall(GUIDE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(code, encoding="utf-8")
    ((group, written),) = _POINTS.findall(GUIDE)
    distribution = folder / "acme-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text(f"[{group}]\n{points or written.replace(chr(34), '')}")


def opened(folder: Path, template_file: Path, *, source: str = "acme") -> tuple[Report, str]:
    """Return what tests/sources/third_source.py reports with this folder on its path, and its log."""
    shutil.copyfile(template_file, folder / "signalbox.db")
    environ = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "THIRD_SOURCE": source,
        "DATABASE_URL": f"sqlite:///{folder / 'signalbox.db'}",
        "ACME_SECRET": SECRET,
        "ACME_MAX_AGE_SECONDS": "120",
        "BOX_PRIMARY_KEY": "primary-key-of-the-tests",
        "LOG_FORMAT": "json",
    }
    command = [sys.executable, str(ROOT / "tests" / "sources" / "third_source.py")]
    done = subprocess.run(
        command, env=environ, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS * 4, check=False
    )
    assert done.returncode == 0, done.stderr
    report: Report = json.loads(done.stdout.splitlines()[-1])
    return report, done.stdout + done.stderr


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, template_file: Path) -> Report:
    folder = tmp_path_factory.mktemp("third")
    install(folder)
    return opened(folder, template_file)[0]


def test_an_entry_point_registers_it_after_ours(report: Report) -> None:
    assert report["sources"] == ["box", "filestack", "acme"]
    assert report["trouble"] == {}


def test_its_keys_and_its_age_are_read_from_the_settings_that_it_names(report: Report) -> None:
    assert report["gate"] == {"keys": {"secret": SECRET}, "max_age": "0:02:00"}


def test_its_deliveries_are_accepted_refused_and_quarantined(report: Report) -> None:
    delivered = report["delivered"]
    good = {what: delivered[what]["said"]["status"] for what in ("accepted", "again", "drifted", "unreadable")}
    assert good == {"accepted": "accepted", "again": "duplicate", "drifted": "accepted", "unreadable": "quarantined"}
    refused = {what: delivered[what]["said"].get("reason") for what in delivered if what not in good}
    assert refused["stale"] == "timestamp_stale"
    assert refused["unsigned"] == "signature_missing"
    assert all(refused.values()), refused


def test_every_page_and_every_listing_opens(report: Report) -> None:
    assert {address: status for address, status in report["opened"].items() if status not in (200, 204)} == {}
    assert {what: status for what, status in report["forms"].items() if status != 200} == {}


def test_pages_speak_of_it_in_its_own_words(report: Report) -> None:
    texts = report["texts"]
    event = report["delivered"]["accepted"]["said"]["event"]
    assert "by the secret of Acme" in texts[f"/events/{event}"]
    assert "thing 1.txt" in texts["/"]
    assert ">Acm</span>" in texts["/"]
    assert ">Acm</span>" in texts["/rejected"]
    assert "<code>thing.done</code>" in texts["/rejected"]
    assert ">Acme</a>" in texts["/send"]
    assert '<option value="">the secret</option>' in texts["/send?source=acme"]


def test_the_diagnosis_names_its_settings_and_finds_what_its_profile_tries(report: Report) -> None:
    pages = " ".join(report["texts"][f"/rejected/{one}"] for one in report["ids"]["rejected"])
    assert "Acme signs with X-Acme-Signature." in pages
    assert "Check ACME_SECRET against Acme&#39;s settings (Developers, Webhooks)" in pages
    assert "It would match if the signature were written in lower-case letters." in pages
    assert "The limit: ACME_MAX_AGE_SECONDS." in pages


@pytest.mark.parametrize("form", ["curl", "httpie"])
def test_a_copied_command_signs_as_it_does(report: Report, form: str, tmp_path: Path) -> None:
    body, words = run(report["copied"][form], tmp_path, ACME_SECRET=SECRET)
    headers = dict(word.split(":", 1) for word in words if word.startswith("X-Acme-"))
    message = headers["X-Acme-Time"].encode() + b":" + body
    assert headers["X-Acme-Signature"] == hmac.digest(SECRET.encode(), message, "sha256").hex()


def test_every_form_can_be_copied_and_the_python_of_it_is_python(report: Report) -> None:
    assert {what: status for what, status in report["copies"].items() if status != 200} == {}
    for form in ("python", "pytest"):
        compile(report["copied"][form], form, "exec")
        assert 'os.environ["ACME_SECRET"]' in report["copied"][form]


MAY_FAIL = {"doctor", "rejected verify --all"}


def test_no_command_breaks_on_it(report: Report) -> None:
    commands = report["commands"]
    assert {line: done["crash"] for line, done in commands.items() if done["crash"]} == {}
    # Doctor fails for other reasons here: no web process, no worker. Verify says by its code that some do not verify.
    failed = {line: done for line, done in commands.items() if done["exit"] and line not in MAY_FAIL}
    assert failed == {}
    assert "acme" in commands["send --list"]["output"]


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ("acme = acme.nowhere:PROFILE", "ModuleNotFoundError"),
        ("acme = acme:NAME", "It is no receiver.sources.profile.Profile but a str."),
        ("box = acme.profile:PROFILE", "There is a source box already"),
        ("other = acme.profile:PROFILE", "Its NAME is 'acme'"),
    ],
    ids=["not there", "no profile", "a name twice", "another name"],
)
def test_one_that_does_not_load_is_reported_and_stops_nothing(
    points: str, says: str, tmp_path: Path, template_file: Path
) -> None:
    install(tmp_path, f"{points}\n")
    report, log = opened(tmp_path, template_file)
    assert report["sources"] == ["box", "filestack"]
    assert says in report["trouble"][points]
    assert says in re.sub(r"\s+", " ", report["doctor"]["output"])
    assert "source_not_loaded" in log
    assert report["page"] == 200
