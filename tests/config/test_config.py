"""What `config.load` makes of an environment."""

import os
import re
import runpy
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from gunicorn.config import Config

from config import ROOT, load
from receiver import service
from receiver.errors import SettingsError
from tests.waiting import PATIENCE_SECONDS

NOWHERE = Path("/nonexistent/.env")
PRODUCTION = {
    "ENV": "production",
    "SECRET_KEY": "0123456789abcdef",
    "ADMIN_PASSWORD": "01234567",
    "API_TOKEN": "fedcba9876543210",
}


def settings_for(**environ: str) -> dict[str, Any]:
    return load(environ, env_file=NOWHERE)


def problems_of(**environ: str) -> dict[str, list[str]]:
    with pytest.raises(SettingsError) as caught:
        settings_for(**environ)
    return caught.value.problems


def test_an_empty_environment_gives_the_defaults() -> None:
    assert settings_for() == {
        "ENV": "development",
        "HOST": "127.0.0.1",
        "PORT": 8000,
        "WEB_CONCURRENCY": 2,
        "WORKER_THREADS": 8,
        "DATABASE_URL": f"sqlite:///{ROOT}/var/signalbox.db",
        "SECRET_KEY": None,
        "ADMIN_PASSWORD": None,
        "API_TOKEN": None,
        "BOX_PRIMARY_KEY": None,
        "BOX_SECONDARY_KEY": None,
        "FILESTACK_SECRETS": (),
        "BOX_MAX_AGE": timedelta(minutes=10),
        "FILESTACK_MAX_AGE": timedelta(days=1),
        "CLOCK_SKEW": timedelta(minutes=1),
        "MAX_BODY_BYTES": 1024 * 1024,
        "AUTO_BINS": True,
        "RETENTION": timedelta(days=30),
        "REJECTED_MAX_COUNT": 10_000,
        "REJECTED_MAX_BYTES": 256 * 1024 * 1024,
        "PUBLIC_URL": None,
        "BOX_API_URL": "https://api.box.com",
        "BOX_CLIENT_ID": None,
        "BOX_CLIENT_SECRET": None,
        "BOX_ENTERPRISE_ID": None,
        "BOX_USER_ID": None,
        "BOX_JWT_CONFIG": None,
        "BOX_DEVELOPER_TOKEN": None,
        "BOX_WEBHOOKS_FILE": ROOT / "config" / "box_webhooks.toml",
        "AUTO_REREGISTER": False,
        "HANDLERS": ("handlers",),
        "CELERY_BROKER_URL": None,
        "LEASE": timedelta(seconds=30),
        "STALL": timedelta(seconds=120),
        "LOG_LEVEL": "info",
        "LOG_FORMAT": "console",
        "SENTRY_DSN": None,
    }


def test_only_the_given_mapping_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9999")
    assert settings_for()["PORT"] == 8000


def test_loading_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BOX_PRIMARY_KEY=from-the-file\n")
    before = dict(os.environ)
    load(os.environ, env_file=tmp_path / ".env")
    assert dict(os.environ) == before


def test_an_empty_value_is_the_same_as_none() -> None:
    assert settings_for(PORT="", BOX_PRIMARY_KEY=" ", FILESTACK_SECRETS=" , ") == settings_for()


def test_whitespace_around_a_key_is_dropped() -> None:
    assert settings_for(BOX_PRIMARY_KEY=" key\r\n")["BOX_PRIMARY_KEY"] == "key"


def test_filestack_secrets_are_split_at_commas() -> None:
    assert settings_for(FILESTACK_SECRETS="one, two,,one")["FILESTACK_SECRETS"] == ("one", "two")


def test_handler_packages_are_added_to_our_own() -> None:
    assert settings_for(HANDLERS="acme.handlers, handlers")["HANDLERS"] == ("handlers", "acme.handlers")


def test_choices_may_be_written_in_capitals() -> None:
    assert settings_for(LOG_LEVEL="WARNING")["LOG_LEVEL"] == "warning"


def test_every_mistake_is_reported_at_once() -> None:
    assert problems_of(PORT="http", WORKER_THREADS="0", ENV="prod") == {
        "ENV": ["must be development or production."],
        "PORT": ["must be a whole number from 0 to 65535."],
        "WORKER_THREADS": ["must be a whole number from 1 to 256."],
    }


def test_the_message_names_each_setting_and_what_would_be_right() -> None:
    with pytest.raises(
        SettingsError, match=r"  PORT: must be a whole number.*\n  LOG_FORMAT: must be console or json\."
    ):
        settings_for(PORT="-1", LOG_FORMAT="xml")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOST", "localhost:8000"),
        ("HOST", "127.0.0.1:8000"),
        ("HOST", "[::1]"),
        ("HOST", "http://localhost"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("WEB_CONCURRENCY", "0"),
        ("WORKER_THREADS", "257"),
        ("MAX_BODY_BYTES", "0"),
        ("BOX_MAX_AGE_SECONDS", "0"),
        ("FILESTACK_MAX_AGE_SECONDS", "31536001"),
        ("CLOCK_SKEW_SECONDS", "-1"),
        ("LEASE_SECONDS", "30s"),
        ("RETENTION_DAYS", "-1"),
        ("RETENTION_DAYS", "1.5"),
        ("REJECTED_MAX_COUNT", "-1"),
        ("BOX_PRIMARY_KEY", "broken\nin two"),
        ("BOX_SECONDARY_KEY", "zero\u200bwidth"),
        ("FILESTACK_SECRETS", "one,zero\u200bwidth"),
        ("BOX_API_URL", "api.box.com"),
        ("PUBLIC_URL", "https://user@signalbox.example.com"),
        ("BOX_ENTERPRISE_ID", "acme"),
        ("AUTO_REREGISTER", "sometimes"),
        ("HANDLERS", "./handlers"),
        ("HANDLERS", "acme.class"),
        ("SENTRY_DSN", "sentry.example.com"),
        ("SENTRY_DSN", "https://sentry.example.com/1"),
    ],
)
def test_what_cannot_work_is_refused(name: str, value: str) -> None:
    assert list(problems_of(**{name: value})) == [name]


@pytest.mark.parametrize("host", ["0.0.0.0", "::1", "::", "localhost", "signalbox.example.com"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    assert settings_for(HOST=host)["HOST"] == host


def test_an_error_never_shows_a_value() -> None:
    secret = "hunter2\u200b"
    names = ("SECRET_KEY", "BOX_PRIMARY_KEY", "BOX_SECONDARY_KEY", "FILESTACK_SECRETS", "DATABASE_URL", "SENTRY_DSN")
    with pytest.raises(SettingsError) as caught:
        settings_for(**dict.fromkeys(names, secret))
    assert set(caught.value.problems) == set(names)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_by_psycopg(scheme: str) -> None:
    url = settings_for(DATABASE_URL=f"{scheme}://user:p%40ss@db.example.com:5432/box?sslmode=require")["DATABASE_URL"]
    assert url == "postgresql+psycopg://user:p%40ss@db.example.com:5432/box?sslmode=require"


def test_a_relative_sqlite_file_is_below_the_project_root() -> None:
    assert settings_for(DATABASE_URL="sqlite:///var/other.db")["DATABASE_URL"] == f"sqlite:///{ROOT}/var/other.db"


def test_an_absolute_sqlite_file_stays_where_it_is() -> None:
    assert settings_for(DATABASE_URL="sqlite:////srv/box.db")["DATABASE_URL"] == "sqlite:////srv/box.db"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://db/box",
        "postgresql+psycopg2://db/box",
        "postgresql://",
        "postgresql://user:pass@db:port/box",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:box?mode=memory&uri=true",
        "sqlite://var/box.db",
        "var/box.db",
    ],
)
def test_a_database_that_would_not_keep_is_refused(url: str) -> None:
    assert problems_of(DATABASE_URL=url) == {
        "DATABASE_URL": ["must be sqlite:/// with the path of a file, or postgresql:// with a database."]
    }


@pytest.mark.parametrize("password", ["p@ss", "p@s:s", "p@s@s"])
def test_a_password_in_an_address_has_to_be_percent_encoded(password: str) -> None:
    (messages,) = problems_of(DATABASE_URL=f"postgresql://user:{password}@db.example.com/box").values()
    assert messages[1:] == ["Percent-encode the password, such as %40 for an @."]


@pytest.mark.parametrize("url", ["postgresql:///box?host=/run/a@b", "postgresql://user@/box", "postgresql://db/b@x"])
def test_an_at_that_is_no_password_s_is_left_alone(url: str) -> None:
    assert settings_for(DATABASE_URL=url)["DATABASE_URL"].endswith(url.partition("://")[2])


@pytest.mark.parametrize(("name", "length"), [("SECRET_KEY", 16), ("ADMIN_PASSWORD", 8), ("API_TOKEN", 16)])
@pytest.mark.parametrize("is_set", [True, False])
def test_production_does_not_start_without_long_secrets(name: str, length: int, is_set: bool) -> None:
    problems = problems_of(**PRODUCTION | {name: "x" * (length - 1) if is_set else ""})
    assert list(problems) == [name]
    assert problems[name][0].startswith(f"must be set in production, to {length} random characters or more")


def test_a_password_is_of_no_use_without_a_key_to_sign_cookies_with() -> None:
    assert list(problems_of(ADMIN_PASSWORD="01234567")) == ["SECRET_KEY"]


def test_production_logs_json_and_makes_no_bin_by_itself() -> None:
    settings = settings_for(**PRODUCTION)
    assert settings["LOG_FORMAT"] == "json"
    assert settings["AUTO_BINS"] is False


def test_a_given_log_format_wins_in_production() -> None:
    assert settings_for(**PRODUCTION, LOG_FORMAT="console")["LOG_FORMAT"] == "console"


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        (PRODUCTION | {"PORT": "5000"}, "0.0.0.0"),
        (PRODUCTION | {"PORT": "5000", "HOST": "127.0.0.1"}, "127.0.0.1"),
        (PRODUCTION, "127.0.0.1"),
        ({"PORT": "5000"}, "127.0.0.1"),
    ],
)
def test_a_platform_that_gives_only_a_port_reaches_us_from_outside(environ: dict[str, str], host: str) -> None:
    assert settings_for(**environ)["HOST"] == host


def served_by(monkeypatch: pytest.MonkeyPatch, **environ: str) -> dict[str, Any]:
    for name, value in {**PRODUCTION, **environ}.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(ROOT / "config/gunicorn.py"))


@pytest.mark.parametrize(("host", "bind"), [("127.0.0.1", "127.0.0.1:8001"), ("::1", "[::1]:8001")])
def test_gunicorn_binds_to_host_and_port(monkeypatch: pytest.MonkeyPatch, host: str, bind: str) -> None:
    assert served_by(monkeypatch, HOST=host, PORT="8001")["bind"] == bind


def test_gunicorn_believes_a_proxy_only_where_there_has_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    assert served_by(monkeypatch, HOST="0.0.0.0")["forwarded_allow_ips"] == "*"
    assert "forwarded_allow_ips" not in served_by(monkeypatch, HOST="127.0.0.1")


def test_the_app_is_told_which_proxies_gunicorn_trusts(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8,::1")
    served = served_by(monkeypatch, HOST="0.0.0.0")
    cfg = Config()
    cfg.set("forwarded_allow_ips", served["forwarded_allow_ips"])
    log = SimpleNamespace(access_log_enabled=False)
    served["post_worker_init"](SimpleNamespace(cfg=cfg, wsgi=app, log=log, alive=True))
    assert service.of(app).proxies == ("10.0.0.0/8", "::1")


def test_gunicorn_stops_at_a_bad_setting_with_the_message_alone() -> None:
    command = [sys.executable, "-m", "gunicorn", "--config", "config/gunicorn.py", "wsgi:app"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**PRODUCTION, "PORT": "none"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"Settings to fix .*\n  PORT: must be a whole number from 0 to 65535\.\n", done.stderr)
