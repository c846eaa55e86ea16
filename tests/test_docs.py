"""What the documents say is so: links lead somewhere, commands exist, settings exist, examples run."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import cast

import click
import pytest

from config import ROOT
from receiver.cli import cli
from receiver.settings import SETTINGS
from receiver.sources import box
from receiver.storage.tables import metadata

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "tests/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
WITH_EXAMPLES = ["README.md", "docs/handlers.md"]

# In capitals, in backticks, and no settings of ours.
NOT_SETTINGS = {
    "API_EXAMPLES",  # of the tests
    "COVERED",  # of the mutation tester
    "CATALOGUE",  # a variable of the example in docs/handlers.md
    "FORWARDED_ALLOW_IPS",  # gunicorn's
    "GUNICORN_CMD_ARGS",  # gunicorn's
    "KNOWN",  # what the module of a source gives
    "PATIENCE_SECONDS",  # of the tests
    "SOURCES",  # in receiver/sources
    "PROFILES",  # in receiver/sources
    "TROUBLE",  # the same
    "ACME_",  # of the example in docs/adding-a-source.md
    "ACME_SECRET",  # of the same
} | {name for name in box.KNOWN if "." not in name}  # triggers of Box

_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(r"(?:\$ )?(?:\.venv/bin/)?signalbox (.+)")
_EXAMPLE = re.compile(r"# ((?:handlers|tests)/\w+\.py)\n")

# Extends `handlers` by the modules of a document, in the process that runs its tests.
CONFTEST = "import handlers\n\nhandlers.__path__.append({folder!r})\n"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def fenced(name: str, *languages: str) -> list[str]:
    return [dedent(code) for language, code in _FENCED.findall(read(name)) if language in languages]


def prose(name: str) -> str:
    return _FENCED.sub("", read(name))


def anchors(path: Path) -> set[str]:
    """Give the anchors that a page has for its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_broken(link: str, document: Path) -> bool:
    target, _, anchor = link.partition("#")
    path = (document.parent / target).resolve() if target else document
    return not path.exists() or (bool(anchor) and anchor not in anchors(path))


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    links = [link for link in _LINK.findall(prose(str(document.relative_to(ROOT)))) if "://" not in link]
    assert [link for link in links if is_broken(link, document)] == []


def test_the_readme_leads_to_every_page() -> None:
    linked = {link.partition("#")[0] for link in _LINK.findall(read("README.md"))}
    assert {name for name in NAMES if re.fullmatch(r"docs/(sources/)?[\w-]+\.md", name)} <= linked


def pages_of(navigation: object) -> Iterator[str]:
    """Yield the pages that a part of the site's navigation lists."""
    if isinstance(navigation, str):
        yield navigation
    else:
        parts = navigation.values() if isinstance(navigation, dict) else cast("list[object]", navigation)
        for part in parts:
            yield from pages_of(part)


def test_the_navigation_of_the_site_lists_every_page_once() -> None:
    listed = sorted(pages_of(tomllib.loads(read("zensical.toml"))["project"]["nav"]))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert listed == sorted(page for page in pages if not re.match(r"decisions/\d", page))


def test_the_list_of_decisions_has_every_one_by_its_heading() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("0*.md"))
    headings = {path.name: path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for path in decisions}
    lines = [f"- [{heading}]({name})" for name, heading in headings.items()]
    assert [line for line in read("docs/decisions/index.md").splitlines() if line.startswith("- ")] == lines


def test_how_it_works_describes_every_table() -> None:
    section = read("docs/how-it-works.md").partition("## The tables\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == sorted(metadata.tables)


def complaint(words: list[str], *, whole: bool) -> str:
    """Say what the command line has against these words; nothing is run. Not `whole`: arguments may be missing."""
    command: click.Command = cli
    context: click.Context | None = None
    while isinstance(command, click.Group):
        if command.invoke_without_command and (not words or words[0].startswith("-")):
            break  # it does something by itself, with options of its own
        if not words:
            return "names no command" if whole else ""
        context = click.Context(command, parent=context, info_name=command.name, **command.context_settings)
        if words[0].startswith("-"):
            return "" if words[0] in ("-h", "--help", "--version") else f"no option {words[0]}"
        found = command.get_command(context, words[0])
        if found is None:
            return f"no command {words[0]}"
        command, words = found, words[1:]
    try:
        command.make_context(command.name, list(words), parent=context)
    except click.exceptions.Exit:
        return ""
    except click.MissingParameter as error:
        return error.format_message() if whole else ""
    except click.UsageError as error:
        return error.format_message()
    return ""


def words_of(line: str) -> list[str]:
    return shlex.split(re.split(r" (?:[|>]|&&) ", line)[0], comments=True)


def shown_commands(name: str) -> Iterator[tuple[str, bool]]:
    """Give what follows `signalbox` wherever a document shows it, and whether that is all there is to type."""
    for block in fenced(name, "console", "text", ""):
        for line in block.splitlines():
            if found := _COMMAND.fullmatch(line):
                yield found[1], True
    for code in _CODE.findall(prose(name)):
        if found := _COMMAND.fullmatch(code):
            yield found[1], False


@pytest.mark.parametrize("name", NAMES)
def test_every_command_that_is_shown_can_be_typed(name: str) -> None:
    complaints = {line: complaint(words_of(line), whole=whole) for line, whole in shown_commands(name)}
    assert {line: said for line, said in complaints.items() if said} == {}


@pytest.mark.parametrize("line", ["nothing", "events lost", "events list --no-such-option", "jobs show x", "jobs show"])
def test_a_command_that_does_not_exist_would_be_found(line: str) -> None:
    assert complaint(words_of(line), whole=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_that_is_shown_exists(name: str) -> None:
    shown = re.findall(r"^(?:\$ )?(?:\w+=\S+ )*make ([a-z]+)", "\n".join(fenced(name, "console")), re.MULTILINE)
    shown += re.findall(r"`(?:\w+=\S* )*make ([a-z]+)", prose(name))
    assert set(shown) <= set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_that_is_named_exists(name: str) -> None:
    named = {word for code in _CODE.findall(prose(name)) for word in re.findall(r"^[A-Z][A-Z_]{4,}(?==|$)", code)}
    assert named - {setting.name for setting in SETTINGS} - NOT_SETTINGS == set()


def test_what_is_listed_as_no_setting_is_still_named_somewhere() -> None:
    everything = "\n".join(map(prose, NAMES))
    assert {name for name in NOT_SETTINGS if f"`{name}" not in everything} == set()


def test_every_file_that_is_named_exists() -> None:
    invented = r"receiver/sources/acme/\w+\.py|(?:tests|handlers)/(?:sources/test_acme|hello)\.py"
    named = {
        code
        for name in NAMES
        for code in _CODE.findall(prose(name))
        if re.fullmatch(r"(?:receiver|config|handlers|tests)/[\w/]+\.py", code)
    }
    assert {code for code in named if not re.fullmatch(invented, code) and not (ROOT / code).exists()} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_piece_of_python_can_be_read(name: str) -> None:
    for code in fenced(name, "python"):
        ast.parse(code)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_an_example_imports_nothing_private(name: str) -> None:
    imported = re.findall(r"^(?:from|import) (.+)$", "\n".join(fenced(name, "python")), re.MULTILINE)
    assert [words for words in imported if re.search(r"\b_\w", words)] == []


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_example_of_a_handler_passes_its_own_tests(name: str, tmp_path: Path) -> None:
    examples = {found[1]: code for code in fenced(name, "python") if (found := _EXAMPLE.match(code))}
    assert {path.partition("/")[0] for path in examples} == {"handlers", "tests"}
    for path, code in examples.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(code, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(CONFTEST.format(folder=str(tmp_path / "handlers")), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_importing_the_package_loads_no_framework_and_no_database() -> None:
    heavy = "{'celery', 'flask', 'gevent', 'httpcore2', 'httpx2', 'marshmallow', 'requests', 'sqlalchemy', 'werkzeug'}"
    code = f"import sys, receiver; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_everything_is_caught_where_the_decision_says_and_nowhere_else() -> None:
    decided = re.findall(r"^\| `([\w/.]+)`, `(\w+)`", read("docs/decisions/0006-where-everything-is-caught.md"), re.M)
    assert sorted(catching()) == sorted(decided)


def catching() -> Iterator[tuple[str, str]]:
    """Give the file and the function of every place that is allowed to catch everything."""
    for path in sorted((ROOT / "receiver").rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if "noqa: BLE001" in line:
                above = re.findall(r"^ *def (\w+)", "\n".join(lines[:number]), re.MULTILINE)
                yield str(path.relative_to(ROOT)), above[-1]
