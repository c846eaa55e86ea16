"""What the files around the code promise: settings, requirements, processes."""

import json
import os
import re
import tomllib
from pathlib import Path

import pytest

from config import ROOT
from receiver.settings import SETTINGS, Setting
from tests.acceptance.service import Service

PINNED = re.compile(r"[\w.-]+(\[[\w,-]+\])?==[\w.+!-]+( ; [^-]*?)?( +--hash=sha256:[0-9a-f]{64})+")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins_of(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", read(name), re.MULTILINE))


def test_the_example_lists_exactly_the_settings_in_their_order() -> None:
    assert re.findall(r"^(?:# )?([A-Z_]+)=", read(".env.example"), re.MULTILINE) == [each.name for each in SETTINGS]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_example_explains_each_setting_and_shows_its_default(setting: Setting) -> None:
    pattern = rf"^# {re.escape(setting.help)}\n(?:# )?{setting.name}={re.escape(setting.default or '')}$"
    assert re.search(pattern, read(".env.example"), re.MULTILINE)


def row_of(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default else "not set"
    if setting.in_production:
        default += f"; `{setting.in_production}` in production"
    return f"| `{setting.name}` | {setting.help} | {setting.kind.takes} | {default} |"


def test_the_settings_page_is_the_table_of_the_settings() -> None:
    assert re.findall(r"^\| `.*$", read("docs/settings.md"), re.MULTILINE) == [row_of(each) for each in SETTINGS]


def test_heroku_is_asked_only_for_settings_that_exist() -> None:
    assert set(json.loads(read("app.json"))["env"]) <= {each.name for each in SETTINGS}


def test_the_processes_are_those_of_the_procfile() -> None:
    assert read("Procfile").splitlines() == [
        "release: python wsgi.py db upgrade",
        "web: gunicorn --config config/gunicorn.py wsgi:app",
        "worker: python wsgi.py worker",
    ]


def test_the_requirements_are_those_of_the_package_with_every_extra_and_what_installs_it() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    assert sorted(read("requirements.in").split()) == sorted([*project["dependencies"], *extras, "setuptools"])


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_by_hash_and_names_no_index(name: str) -> None:
    without_comments = re.sub(r"^ *#.*\n", "", read(name), flags=re.MULTILINE)
    entries = without_comments.replace("\\\n", "").splitlines()
    assert entries
    assert [entry for entry in entries if not PINNED.fullmatch(entry)] == []


def test_development_runs_on_the_same_pins_as_production() -> None:
    production, development = pins_of("requirements.txt"), pins_of("requirements-dev.txt")
    assert {name: development.get(name) for name in production} == production


def test_ci_runs_what_make_check_runs() -> None:
    assert "make check" in read(".ci/run")
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_workflow_runs_what_ci_runs() -> None:
    steps = re.findall(r"^ +run: (.+)$", read(".github/workflows/ci.yml"), re.MULTILINE)
    assert steps == ["bash .ci/run", "bash .ci/run coverage"]


def test_the_hooks_of_git_run_the_checks_of_make_check() -> None:
    recipe = re.search(r"^check:.*\n((?:\t.+\n)+)", read("Makefile"), re.MULTILINE)
    assert recipe
    lines = recipe[1].replace("$(VENV)", ".venv").replace("$(PYTEST) $(ARGS)", "make test")
    lines = lines.replace("$(MAKE) --no-print-directory docs audit", "make docs\nmake audit")
    hooks = re.findall(r"^ +entry: (.+)$", read(".pre-commit-config.yaml"), re.MULTILINE)
    assert hooks == [line.lstrip("\t@") for line in lines.splitlines()]


def test_coverage_reaches_the_processes_that_tests_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tomllib.loads(read("pyproject.toml"))["tool"]["coverage"]["run"]
    assert "subprocess" in run["patch"]
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "as coverage sets it")
    assert Service(tmp_path).environ["COVERAGE_PROCESS_CONFIG"] == "as coverage sets it"


@pytest.mark.xdist_group("together")
def test_tests_of_a_group_are_given_to_one_process(request: pytest.FixtureRequest) -> None:
    # Silently given to any, they would start a browser, a service and a stock in each.
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@together")
