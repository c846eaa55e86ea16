"""The audit of the requirements, by reports as pip-audit 2.10 writes them."""

import json
from collections.abc import Mapping

import pytest

from tests.audit import verdict

SOUND = {"name": "flask", "version": "3.2.0", "vulns": []}
FLAWED = {
    "name": "jinja2",
    "version": "2.4.1",
    "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"], "aliases": [], "description": "A sandbox escape."}],
}
MISSING = {"name": "rich", "skip_reason": "Dependency not found on PyPI and could not be audited: rich (15.0)"}
UNREACHED = "requests.exceptions.ProxyError: HTTPSConnectionPool(host='index.example', port=443): Max retries exceeded"


def report(*packages: Mapping[str, object]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_known_vulnerability_fails_and_says_which_release_fixes_it() -> None:
    passes, words = verdict(report(SOUND, FLAWED), "Found 1 known vulnerability in 1 package")
    assert not passes
    assert words.splitlines()[1:] == ["jinja2 2.4.1 has PYSEC-2019-217; fixed in 2.10.1"]


@pytest.mark.parametrize(
    ("written", "errors", "said"),
    [
        (report(SOUND), "", "no known vulnerability in 1 requirements"),
        (report(SOUND, MISSING), "", "no data on 1 of 2 requirements"),
        ("", f"Traceback (most recent call last):\n{UNREACHED}\n", "nothing was audited"),
    ],
    ids=["nothing found", "not known there", "not reached"],
)
def test_without_a_vulnerability_it_passes_and_says_what_was_audited(written: str, errors: str, said: str) -> None:
    passes, words = verdict(written, errors)
    assert passes
    assert said in words


def test_an_audit_that_did_not_run_fails() -> None:
    passes, words = verdict("", "ERROR:pip_audit._cli:requirements.txt is not a file")
    assert not passes
    assert "requirements.txt is not a file" in words
