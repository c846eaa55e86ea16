"""The environment and `.env` of an installation: `load` turns them into the settings that the app is made from."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from environs import Env, EnvError, ValidationError

from receiver.errors import SettingsError
from receiver.runtime.folder import folder
from receiver.settings import (
    ADMIN_PASSWORD_LENGTH,
    API_TOKEN_LENGTH,
    SECRET_KEY_LENGTH,
    SETTINGS,
    Setting,
    UnfitError,
    of_registered_sources,
)

# In the file other programs may have names of their own: only what is as good as a setting's name is taken for one.
CLOSE = 0.8
_WHERE = "in the environment or .env"
_NOT_IN_THE_FILE = "in the environment: .env is not read, because ENV=production is set in the environment"
_LENGTHS = {
    "SECRET_KEY": SECRET_KEY_LENGTH,
    "ADMIN_PASSWORD": ADMIN_PASSWORD_LENGTH,
    "API_TOKEN": API_TOKEN_LENGTH,
}
_TOO_SHORT = (
    "must be set in production, to {} random characters or more: "
    "python -c 'import secrets; print(secrets.token_urlsafe())' prints some."
)


def load(environ: Mapping[str, str], *, env_file: Path | None = None) -> dict[str, Any]:
    """Return every setting, typed, under its `Setting.key`; `environ` itself stays as it is.

    `env_file`, by default the `.env` of the installation's folder, fills in what `environ` does not have, unless that
    says ENV=production. Whitespace around a value is dropped, and an empty value is the same as none. Raises
    SettingsError, which names every mistake and no value.
    """
    env_file = env_file or folder() / ".env"
    in_file = _in_file(environ, env_file)
    given = _given(environ, in_file)
    reader = MappingEnv(_defaults(given) | given)
    settings: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for setting in _every_setting():
        try:
            settings[setting.key] = setting.kind.read(reader, setting.name)
        except UnfitError as error:
            problems[setting.name] = [f"must be {setting.kind.takes}.", *map(str, error.messages)]
        except (EnvError, ValidationError):
            problems[setting.name] = [f"must be {setting.kind.takes}."]
    if settings.get("ENV") == "production":
        for name, length in _LENGTHS.items():
            if len(settings.get(name) or "") < length:
                problems.setdefault(name, [_TOO_SHORT.format(length)])
    elif settings.get("ADMIN_PASSWORD") and not settings.get("SECRET_KEY"):
        problems.setdefault("SECRET_KEY", ["must be set where ADMIN_PASSWORD is: it signs the cookie of a login."])
    if problems:
        for name, close in _misspelt(in_file).items():
            if close in problems:
                problems[close].append(f"({env_file.name} has {name}.)")
        raise SettingsError(problems, where=_NOT_IN_THE_FILE if _is_production(environ) else _WHERE)
    return settings


def misspelt(environ: Mapping[str, str], *, env_file: Path | None = None) -> dict[str, str]:
    """Return the names in `env_file` that are no setting's but almost, each with the one that was probably meant."""
    return _misspelt(_in_file(environ, env_file or folder() / ".env"))


def _misspelt(names: Iterable[str]) -> dict[str, str]:
    # `LEASE` as well, which is what LEASE_SECONDS is called after loading.
    every = _every_setting()
    known = {setting.key: setting.name for setting in every} | {setting.name: setting.name for setting in every}
    strange = [name for name in names if known.get(name) != name]
    close = {name: get_close_matches(name.upper(), known, n=1, cutoff=CLOSE) for name in strange}
    return {name: known[found[0]] for name, found in close.items() if found}


def _every_setting() -> tuple[Setting, ...]:
    return (*SETTINGS, *of_registered_sources())


class MappingEnv(Env):
    """environs' reader over a mapping that it is given, where environs itself looks into `os.environ`."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__()
        self._given = values

    def _get_value(self, env_key: str, default: Any) -> Any:
        return self._given.get(env_key, default)


def _in_file(environ: Mapping[str, str], env_file: Path) -> dict[str, str]:
    return {} if _is_production(environ) else _read(env_file)


def _given(environ: Mapping[str, str], in_file: Mapping[str, str]) -> dict[str, str]:
    values = {name: value.strip() for name, value in {**in_file, **environ}.items()}
    return {name: value for name, value in values.items() if value}


def _read(env_file: Path) -> dict[str, str]:
    try:
        # Not interpolated: a key may well have a $ in it.
        values = dotenv_values(env_file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read ({type(error).__name__}): check its owner, mode and encoding (UTF-8)."
        raise SettingsError({env_file.name: [problem]}) from None
    return {name: value for name, value in values.items() if value is not None}


def _defaults(given: Mapping[str, str]) -> dict[str, str]:
    defaults = {setting.name: setting.default for setting in _every_setting() if setting.default is not None}
    if _is_production(given):
        defaults |= {setting.name: setting.in_production for setting in SETTINGS if setting.in_production is not None}
        if "PORT" in given:
            defaults["HOST"] = "0.0.0.0"  # noqa: S104 - a platform's router comes from outside, to the port it names
    return defaults


def _is_production(values: Mapping[str, str]) -> bool:
    return values.get("ENV", "").strip().lower() == "production"
