"""Every setting: what it takes, what it is when it is not set, and what it does.

`.env.example` and `docs/settings.md` say the same to people; `tests/test_project.py` keeps the three together.
"""

import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from environs import Env, ValidationError, validate
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from receiver.runtime.folder import folder

HANDLERS_PACKAGE = "handlers"
SECRET_KEY_LENGTH = 16
ADMIN_PASSWORD_LENGTH = 8
API_TOKEN_LENGTH = 16

_HOST = r"[A-Za-z0-9._-]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"
_SENTRY_DSN = r"https?://[^\s@/]+@[^\s@/]+/\S+"
_BROKER = r"(rediss?|amqps?|sqs)://\S*"
_URL = r"https?://[^\s@/?#]+(/[^\s@?#]*)?"
_YEAR = timedelta(days=365)


class UnfitError(ValidationError):
    """Says what mends a value, beside what its setting takes, and nothing of the value."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a setting takes, in words that complete "must be …", and how it is read."""

    takes: str
    read: Callable[[Env, str], Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable. Defaults are written as they would be in the environment; None is not set."""

    name: str
    kind: Kind
    help: str
    default: str | None = None
    in_production: str | None = None

    @property
    def key(self) -> str:
        """The name after loading: `LEASE_SECONDS=30` becomes `LEASE`, a timedelta."""
        return self.name.removesuffix("_SECONDS").removesuffix("_DAYS")


def choice(*names: str) -> Kind:
    def read(env: Env, name: str) -> str:
        chosen = env.str(name).lower()
        validate.OneOf(names)(chosen)
        return chosen

    return Kind(f"{', '.join(names[:-1])} or {names[-1]}", read)


def switch() -> Kind:
    return Kind("true or false", lambda env, name: env.bool(name))


def whole(low: int, high: int | None = None) -> Kind:
    takes = f"a whole number, {low} or more" if high is None else f"a whole number from {low} to {high}"
    return Kind(takes, lambda env, name: env.int(name, validate=validate.Range(low, high)))


def seconds(low: int, high: timedelta = _YEAR) -> Kind:
    limit = int(high.total_seconds())
    return Kind(
        f"a whole number of seconds from {low} to {limit}",
        lambda env, name: timedelta(seconds=env.int(name, validate=validate.Range(low, limit))),
    )


def days() -> Kind:
    return Kind(
        "a whole number of days from 0 to 36500",
        lambda env, name: timedelta(days=env.int(name, validate=validate.Range(0, 36500))),
    )


def text(takes: str, pattern: str) -> Kind:
    return Kind(takes, lambda env, name: env.str(name, None, validate=validate.Regexp(rf"(?:{pattern})\Z")))


def key(takes: str) -> Kind:
    # What a paste brings along unseen (line breaks, zero-width spaces) would make every signature fail.
    return Kind(takes, lambda env, name: env.str(name, None, validate=validate.Predicate("isprintable")))


def json_or_path(takes: str) -> Kind:
    return Kind(takes, lambda env, name: env.str(name, None))


def keys(takes: str) -> Kind:
    def read(env: Env, name: str) -> tuple[str, ...]:
        return _items(env, name, str.isprintable)

    return Kind(takes, read)


def packages() -> Kind:
    """Dotted packages, comma-separated; they add to `handlers`, which always stays."""

    def read(env: Env, name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys((HANDLERS_PACKAGE, *_items(env, name, _is_dotted_name))))

    return Kind("dotted Python packages, separated by commas", read)


def file() -> Kind:
    return Kind("the path of a file", lambda env, name: folder() / env.str(name))


def database_url() -> Kind:
    return Kind(
        "sqlite:/// with the path of a file, or postgresql:// with a database",
        lambda env, name: resolve_database_url(env.str(name)),
    )


def resolve_database_url(url: str) -> str:
    """Return the URL as SQLAlchemy wants it: psycopg for PostgreSQL, a file below `folder()` for SQLite."""
    scheme, _, rest = url.partition("://")
    # Heroku and others still hand out postgres://, which SQLAlchemy 1.4 dropped (its changelog, 2021).
    if scheme in {"postgres", "postgresql", "postgresql+psycopg"} and rest:
        return _postgresql(f"postgresql+psycopg://{rest}")
    path = rest.removeprefix("/")
    # SQLite in memory would lose all that was acknowledged, and web and worker would not even see the same.
    if scheme == "sqlite" and rest.startswith("/") and path and not path.startswith(("?", ":memory:", "file:")):
        return f"sqlite:///{folder() / path}"
    raise ValidationError("Not a database that Signalbox works with.")


def _postgresql(url: str) -> str:
    try:
        if "@" not in (make_url(url).host or ""):
            return url
    except (ArgumentError, ValueError):
        pass  # the port is no number, but may be the rest of a password
    if url.count("@") > 1:
        raise UnfitError("Percent-encode the password, such as %40 for an @.")
    raise ValidationError("Not an address.")


def _items(env: Env, name: str, is_valid: Callable[[str], bool]) -> tuple[str, ...]:
    stripped: list[str] = [item.strip() for item in env.list(name, [], subcast=str)]
    items = tuple(dict.fromkeys(filter(None, stripped)))
    if not all(map(is_valid, items)):
        raise ValidationError("Not a list of these.")
    return items


def _is_dotted_name(name: str) -> bool:
    return all(re.fullmatch(r"[^\W\d]\w*", part) and not keyword.iskeyword(part) for part in name.split("."))


def of_registered_sources() -> tuple[Setting, ...]:
    """Return the settings that the profiles of further sources name: their keys, and how old deliveries may be."""
    # Loaded here: the command's own help needs no settings, and no sources.
    from receiver.sources import PROFILES

    ours = {setting.name for setting in SETTINGS}
    found: dict[str, Setting] = {}
    for profile in PROFILES.values():
        for one in profile.keys:
            kind = keys("printable text, separated by commas") if one.is_list else key("one line of printable text")
            found[one.setting] = Setting(one.setting, kind, f"With one set, the source `{profile.name}` is on.")
        age, default = profile.max_age_setting, str(int(profile.max_age.total_seconds()))
        found[age] = Setting(age, seconds(1), f"A delivery of {profile.label} older than this is rejected.", default)
    return tuple(setting for name, setting in found.items() if name not in ours)


SETTINGS = (
    Setting(
        "ENV",
        choice("development", "production"),
        "What this installation is for; production insists on SECRET_KEY, ADMIN_PASSWORD and API_TOKEN.",
        "development",
    ),
    Setting(
        "HOST",
        text("a host name or an IP address, without port or brackets", _HOST),
        "Address to listen on; in production 0.0.0.0 where only PORT is set, as platforms expect.",
        "127.0.0.1",
    ),
    Setting("PORT", whole(0, 65535), "Port to listen on; 0 takes any that is free.", "8000"),
    Setting("WEB_CONCURRENCY", whole(1, 256), "Web processes.", "2"),
    Setting("WORKER_THREADS", whole(1, 256), "Jobs that one worker process runs at the same time.", "8"),
    Setting(
        "DATABASE_URL",
        database_url(),
        "Where everything is kept; a relative path is below the project root.",
        "sqlite:///var/signalbox.db",
    ),
    Setting(
        "SECRET_KEY",
        key(f"one line of printable text, {SECRET_KEY_LENGTH} characters or more in production"),
        "Signs the cookies of the pages; production does not start without it.",
    ),
    Setting(
        "ADMIN_PASSWORD",
        key(f"one line of printable text, {ADMIN_PASSWORD_LENGTH} characters or more"),
        "Opens the pages, also in development where it is set; production does not start without it.",
    ),
    Setting(
        "API_TOKEN",
        key(f"one line of printable text, {API_TOKEN_LENGTH} characters or more"),
        "Opens the JSON API, as `Authorization: Bearer …`; production does not start without it.",
    ),
    Setting(
        "BOX_PRIMARY_KEY",
        key("one line of printable text, as the Box Developer Console shows it"),
        "First signature key of the Box app; with either key set, the source `box` is on.",
    ),
    Setting(
        "BOX_SECONDARY_KEY",
        key("one line of printable text, as the Box Developer Console shows it"),
        "Second signature key of the Box app: both verify, so that keys can be rotated.",
    ),
    Setting(
        "FILESTACK_SECRETS",
        keys("printable text, separated by commas, as the Filestack Developer Portal shows it"),
        "Webhook secrets of Filestack, comma-separated: any verifies; with one set, the source `filestack` is on.",
    ),
    Setting("BOX_MAX_AGE_SECONDS", seconds(1), "A delivery of Box older than this is rejected.", "600"),
    Setting("FILESTACK_MAX_AGE_SECONDS", seconds(1), "A delivery of Filestack older than this is rejected.", "86400"),
    Setting("CLOCK_SKEW_SECONDS", seconds(0), "How far ahead of our clock a delivery's timestamp may be.", "60"),
    Setting("MAX_BODY_BYTES", whole(1), "A longer body is answered 413.", "1048576"),
    Setting(
        "AUTO_BINS",
        switch(),
        "Whether the first request to /b/NAME makes the bin NAME.",
        "true",
        in_production="false",
    ),
    Setting(
        "RETENTION_DAYS",
        days(),
        "Events are kept for so many days, 0 keeps them for ever; what still has work to do stays longer.",
        "30",
    ),
    Setting("REJECTED_MAX_COUNT", whole(0), "Rejected deliveries kept; the oldest go first.", "10000"),
    Setting("REJECTED_MAX_BYTES", whole(0), "Bytes of rejected deliveries kept; the oldest go first.", "268435456"),
    Setting(
        "PUBLIC_URL",
        text("an http:// or https:// address", _URL),
        "Where this installation is reached from outside: webhooks without an address deliver to its /hooks/box.",
    ),
    Setting(
        "BOX_API_URL",
        text("an http:// or https:// address", _URL),
        "Where Box's API is; in development, until credentials are set, it is the sandbox, http://127.0.0.1:8100.",
        "https://api.box.com",
    ),
    Setting(
        "BOX_CLIENT_ID",
        key("one line of printable text, as the Box Developer Console shows it"),
        "Client id of the Box app, to register webhooks with its own credentials.",
    ),
    Setting(
        "BOX_CLIENT_SECRET",
        key("one line of printable text, as the Box Developer Console shows it"),
        "Client secret of the Box app.",
    ),
    Setting(
        "BOX_ENTERPRISE_ID",
        text("a number", "[0-9]{1,20}"),
        "Box enterprise whose service account the webhooks are of.",
    ),
    Setting(
        "BOX_USER_ID",
        text("a number", "[0-9]{1,20}"),
        "Box user whom the webhooks are of, instead of the service account.",
    ),
    Setting(
        "BOX_JWT_CONFIG",
        json_or_path("the JSON that the Box Developer Console gives, or the path of its file"),
        "Credentials for JWT, instead of client id and secret.",
    ),
    Setting(
        "BOX_DEVELOPER_TOKEN",
        key("one line of printable text, as the Box Developer Console shows it"),
        "Token for an hour, to try things out; webhooks made with it lose their payloads when it ends.",
    ),
    Setting(
        "BOX_WEBHOOKS_FILE",
        file(),
        "The file that wants webhooks at Box; a relative path is below the project root.",
        "config/box_webhooks.toml",
    ),
    Setting(
        "AUTO_REREGISTER",
        switch(),
        "Whether the worker makes a webhook again that Box has removed, each once an hour at most.",
        "false",
    ),
    Setting(
        "HANDLERS",
        packages(),
        "Packages of handlers, comma-separated, added to `handlers`, which is always loaded.",
        HANDLERS_PACKAGE,
    ),
    Setting(
        "CELERY_BROKER_URL",
        text("the address of a broker: redis://, rediss://, amqp:// or sqs://", _BROKER),
        "Broker of Celery: with one set, `signalbox worker` hands jobs over, and Celery's workers run them.",
    ),
    Setting(
        "LEASE_SECONDS",
        seconds(1, timedelta(hours=1)),
        "A job whose worker has not been heard of for this long is given to another.",
        "30",
    ),
    Setting(
        "STALL_SECONDS",
        seconds(0, timedelta(hours=1)),
        "A worker that has not moved for this long is ended, with the stack of every thread in the log; 0 ends none.",
        "120",
    ),
    Setting("LOG_LEVEL", choice("debug", "info", "warning", "error"), "The least that is logged.", "info"),
    Setting(
        "LOG_FORMAT",
        choice("console", "json"),
        "How a line of the log is written: for people, or as JSON for machines.",
        "console",
        in_production="json",
    ),
    Setting(
        "SENTRY_DSN",
        text("the DSN that Sentry shows for the project, https://KEY@HOST/PROJECT", _SENTRY_DSN),
        "Sentry project that is told of errors; not set, none is.",
    ),
)
