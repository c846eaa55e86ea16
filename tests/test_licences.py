"""The licences of what Signalbox needs at run time: known ones, which an MIT program may use as libraries."""

import re
from email.message import Message
from importlib import metadata

import pytest

from config import ROOT

# By SPDX names. Weak copyleft ends at the library: psycopg (LGPL) is only imported, and certifi (MPL) is only read.
PERMISSIVE = {
    "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0", "Unlicense", "ZPL-2.1",
}  # fmt: skip
WEAK_COPYLEFT = {"LGPL-3.0-only": {"psycopg", "psycopg-binary"}, "MPL-2.0": {"certifi"}}

# How packages without a `License-Expression` (PEP 639, 2024) say it in a classifier or in a line of text.
OLDER_WORDS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}

# Needed on other systems or Python releases only, so there is nothing installed here to ask.
ELSEWHERE = {"async-timeout", "httpx2-jsfetch", "tzdata"}

PINS = re.findall(
    r"^([\w.-]+)(?:\[[\w,-]+\])?==", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE
)


def licences(package: Message) -> set[str]:
    """Return the licences that a package names in its metadata; where it lets one choose, the permissive ones."""
    if expression := package.get("License-Expression"):
        choices = [set(re.findall(r"[\w.-]+", choice)) - {"AND"} for choice in expression.split(" OR ")]
        return next((choice for choice in choices if choice <= PERMISSIVE), set().union(*choices))
    classifiers = [line.rpartition(" :: ")[2] for line in package.get_all("Classifier", []) if "License ::" in line]
    if classifiers:
        return {OLDER_WORDS.get(words, words) for words in classifiers}
    return {(package.get("License") or "unknown").partition("\n")[0]}


def complaint(name: str, found: set[str]) -> str:
    """Return what is wrong with the licences of a package, or an empty text."""
    allowed = PERMISSIVE | {licence for licence, packages in WEAK_COPYLEFT.items() if name in packages}
    wrong = found - allowed
    return f"{name}: {', '.join(sorted(wrong))}" if wrong else ""


def package(*lines: str) -> Message:
    message = Message()
    for line in lines:
        name, _, value = line.partition(": ")
        message[name] = value
    return message


def test_every_requirement_has_a_licence_that_an_mit_program_may_use() -> None:
    installed = {
        str(each.metadata["Name"]).lower().replace("_", "-").replace(".", "-") for each in metadata.distributions()
    }
    assert set(PINS) - installed <= ELSEWHERE
    complaints = [complaint(name, licences(metadata.metadata(name))) for name in PINS if name in installed]  # type: ignore[arg-type]
    assert [words for words in complaints if words] == []


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["License-Expression: MIT AND PSF-2.0"], {"MIT", "PSF-2.0"}),
        (["License-Expression: GPL-3.0-only OR MIT"], {"MIT"}),
        (["License-Expression: Apache-2.0 AND (BSD-3-Clause AND MIT)"], {"Apache-2.0", "BSD-3-Clause", "MIT"}),
        (["License: BSD", "Classifier: License :: OSI Approved :: MIT License"], {"MIT"}),
        (["License: New BSD"], {"New BSD"}),
        ([], {"unknown"}),
    ],
)
def test_a_licence_is_read_as_packages_write_it(lines: list[str], found: set[str]) -> None:
    assert licences(package(*lines)) == found


@pytest.mark.parametrize("licence", ["AGPL-3.0-only", "GPL-3.0-or-later", "LGPL-3.0-only", "Proprietary", "unknown"])
def test_copyleft_and_unknown_licences_are_refused(licence: str) -> None:
    assert complaint("acme", {licence}) == f"acme: {licence}"
