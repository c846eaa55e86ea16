"""How this installation is set up: `load` turns the environment into the settings that the app is made from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from environs import Env, EnvError, ValidationError

from config.settings import ADMIN_PASSWORD_LENGTH, API_TOKEN_LENGTH, ROOT, SECRET_KEY_LENGTH, SETTINGS
from receiver.errors import SettingsError

__all__ = ["ENV_FILE", "ROOT", "load"]

ENV_FILE = ROOT / ".env"
_LENGTHS = {
    "SECRET_KEY": SECRET_KEY_LENGTH,
    "ADMIN_PASSWORD": ADMIN_PASSWORD_LENGTH,
    "API_TOKEN": API_TOKEN_LENGTH,
}
_TOO_SHORT = (
    "must be set in production, to {} random characters or more: "
    "python -c 'import secrets; print(secrets.token_urlsafe())' prints some."
)


def load(environ: Mapping[str, str], *, env_file: Path = ENV_FILE) -> dict[str, Any]:
    """Give every setting, typed, under its `Setting.key`; `environ` itself stays as it is.

    `env_file` fills in what `environ` does not have, unless that says ENV=production. Whitespace around a value is
    dropped, and an empty value is the same as none. Raises SettingsError, which names every mistake and no value.
    """
    given = _given(environ, env_file)
    reader = MappingEnv(_defaults(given) | given)
    settings: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for setting in SETTINGS:
        try:
            settings[setting.key] = setting.kind.read(reader, setting.name)
        except (EnvError, ValidationError):
            problems[setting.name] = [f"must be {setting.kind.takes}."]
    if settings.get("ENV") == "production":
        for name, length in _LENGTHS.items():
            if len(settings.get(name) or "") < length:
                problems.setdefault(name, [_TOO_SHORT.format(length)])
    elif settings.get("ADMIN_PASSWORD") and not settings.get("SECRET_KEY"):
        problems.setdefault("SECRET_KEY", ["must be set where ADMIN_PASSWORD is: it signs the cookie of a login."])
    if problems:
        raise SettingsError(problems)
    return settings


class MappingEnv(Env):
    """environs' reader over a mapping that it is given, where environs itself looks into `os.environ`."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__()
        self._given = values

    def _get_value(self, env_key: str, default: Any) -> Any:
        return self._given.get(env_key, default)


def _given(environ: Mapping[str, str], env_file: Path) -> dict[str, str]:
    in_file = {} if _is_production(environ) else _read(env_file)
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
    defaults = {setting.name: setting.default for setting in SETTINGS if setting.default is not None}
    if _is_production(given):
        defaults |= {setting.name: setting.in_production for setting in SETTINGS if setting.in_production is not None}
        if "PORT" in given:
            defaults["HOST"] = "0.0.0.0"  # noqa: S104 - a platform's router comes from outside, to the port it names
    return defaults


def _is_production(values: Mapping[str, str]) -> bool:
    return values.get("ENV", "").strip().lower() == "production"
