"""How `.env` comes into being and when it is read."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT, load, misspelt
from config.__main__ import write_env_file
from receiver.errors import SettingsError

EXAMPLE = ROOT / ".env.example"
LONG = "0123456789abcdef"
GENERATED = ["SECRET_KEY", "BOX_PRIMARY_KEY", "BOX_SECONDARY_KEY", "FILESTACK_SECRETS"]


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_development_reads_the_file(env_file: Path) -> None:
    env_file.write_text("PORT=8123\n")
    assert load({}, env_file=env_file)["PORT"] == 8123


def test_the_environment_wins_over_the_file(env_file: Path) -> None:
    env_file.write_text("PORT=8123\n")
    assert load({"PORT": "8456"}, env_file=env_file)["PORT"] == 8456


def test_an_empty_variable_hides_the_one_in_the_file(env_file: Path) -> None:
    env_file.write_text("BOX_PRIMARY_KEY=key\n")
    assert load({"BOX_PRIMARY_KEY": ""}, env_file=env_file)["BOX_PRIMARY_KEY"] is None


def test_production_does_not_read_the_file(env_file: Path) -> None:
    env_file.write_text("PORT=8123\n")
    environ = {"ENV": "production", "SECRET_KEY": LONG, "ADMIN_PASSWORD": LONG, "API_TOKEN": LONG}
    assert load(environ, env_file=env_file)["PORT"] == 8000


def test_the_file_may_say_production_itself(env_file: Path) -> None:
    env_file.write_text(f"ENV=production\nSECRET_KEY={LONG}\nADMIN_PASSWORD={LONG}\nAPI_TOKEN={LONG}\n")
    assert load({}, env_file=env_file)["LOG_FORMAT"] == "json"


def test_a_dollar_in_a_key_stays_as_it_is(env_file: Path) -> None:
    env_file.write_text("BOX_PRIMARY_KEY=a${HOME}b\n")
    assert load({}, env_file=env_file)["BOX_PRIMARY_KEY"] == "a${HOME}b"


def test_a_file_that_cannot_be_read_is_a_settings_error(env_file: Path) -> None:
    env_file.write_bytes(b"BOX_PRIMARY_KEY=\xff\n")
    with pytest.raises(SettingsError, match=r"\.env: cannot be read"):
        load({}, env_file=env_file)


def test_a_first_run_gets_random_keys(env_file: Path) -> None:
    assert write_env_file(EXAMPLE, env_file) == GENERATED
    settings = load({}, env_file=env_file)
    (secret,) = settings["FILESTACK_SECRETS"]
    keys = {secret, *(settings[name] for name in GENERATED[:3])}
    assert len(keys) == 4
    assert all(re.fullmatch(r"[\w-]{43}", key) for key in keys)


def test_the_first_run_changes_nothing_but_the_keys(env_file: Path) -> None:
    write_env_file(EXAMPLE, env_file)
    fresh, plain = load({}, env_file=env_file), load({}, env_file=env_file.with_name("none"))
    assert {name for name in plain if fresh[name] != plain[name]} == set(GENERATED)


def test_nobody_else_may_read_the_keys(env_file: Path) -> None:
    write_env_file(EXAMPLE, env_file)
    assert env_file.stat().st_mode & 0o777 == 0o600


def test_an_existing_file_is_left_alone(env_file: Path) -> None:
    env_file.write_text("PORT=8123\n")
    assert write_env_file(EXAMPLE, env_file) == []
    assert env_file.read_text() == "PORT=8123\n"


def run_config(project: Path) -> str:
    command = [sys.executable, "-m", "config"]
    environ = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=True).stdout


def test_the_command_says_what_it_did_and_then_nothing(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / ".env.example").write_text("SECRET_KEY=\n")
    assert run_config(tmp_path) == "Wrote .env with random keys: SECRET_KEY.\n"
    assert run_config(tmp_path) == ""


def test_where_the_file_is_not_read_the_error_says_why(env_file: Path) -> None:
    env_file.write_text(f"SECRET_KEY={LONG}\n")
    with pytest.raises(SettingsError, match=r"\.env is not read, because ENV=production is set in the environment"):
        load({"ENV": "production"}, env_file=env_file)
    env_file.write_text("ENV=production\n")
    with pytest.raises(SettingsError, match=r"Settings to fix \(in the environment or \.env\)"):
        load({}, env_file=env_file)


def test_a_name_that_is_almost_a_settings_is_told_with_the_one_that_was_meant(env_file: Path) -> None:
    env_file.write_text(
        "BOX_PRIMRY_KEY=key\nport=1\nLEASE=30\nPORT=8123\nSTRIPE_KEY=key\nHOSTNAME=me\nBOX_COLOUR=red\n"
    )
    meant = {"BOX_PRIMRY_KEY": "BOX_PRIMARY_KEY", "port": "PORT", "LEASE": "LEASE_SECONDS"}
    assert misspelt({}, env_file=env_file) == meant
    assert misspelt({"ENV": "production"}, env_file=env_file) == {}


def test_a_setting_that_is_missing_because_it_is_misspelt_is_said_with_its_misspelling(env_file: Path) -> None:
    env_file.write_text(f"ENV=production\nSECRET_KEY={LONG}\nADMIN_PASWORD=of-the-tests\nAPI_TOKEN={LONG}\n")
    with pytest.raises(SettingsError, match=r"\(\.env has ADMIN_PASWORD\.\)") as caught:
        load({}, env_file=env_file)
    assert "of-the-tests" not in str(caught.value)
