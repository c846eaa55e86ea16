"""The sources that there are: those of this package, and those that an entry point of another one registers.

Loaded once, when somebody first asks `receiver.sources` for SOURCES, PROFILES or TROUBLE. A source that does not load
stops nothing else: TROUBLE says why, `signalbox doctor` and the log at start repeat it.
"""

import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from receiver.errors import SignalboxError
from receiver.sources.box.profile import PROFILE as BOX
from receiver.sources.filestack.profile import PROFILE as FILESTACK
from receiver.sources.profile import Profile, Source

GROUP = "signalbox.sources"
_NAME = re.compile(r"[a-z0-9_]{1,40}", re.ASCII)


class _UnfitError(SignalboxError):
    """Says why an entry point is no source."""


def load(points: Iterable[EntryPoint]) -> tuple[dict[str, Profile], dict[str, str]]:
    """Return the profiles by their names, ours first, and by its name why an entry point gives none."""
    profiles = {profile.name: profile for profile in (BOX, FILESTACK)}
    trouble: dict[str, str] = {}
    for point in sorted(points, key=lambda one: (one.name, one.value)):
        try:
            profiles[point.name] = _profile(point, profiles)
        except _UnfitError as error:
            trouble[f"{point.name} = {point.value}"] = str(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a package of others raises when it is imported
            trouble[f"{point.name} = {point.value}"] = f"It does not load: {type(error).__name__}: {error}"
    return profiles, trouble


def _profile(point: EntryPoint, profiles: dict[str, Profile]) -> Profile:
    if point.name in profiles:
        raise _UnfitError(f"There is a source {point.name} already: a name is taken once.")
    profile = point.load()
    if not isinstance(profile, Profile):
        raise _UnfitError(f"It is no receiver.sources.profile.Profile but a {type(profile).__name__}.")
    if profile.name != point.name or not _NAME.fullmatch(point.name):
        raise _UnfitError(
            f"Its NAME is {profile.name!r}: it has to be the entry point's name, of at most 40 lower-case letters, "
            "digits and underscores."
        )
    start = f"{point.name.upper()}_"
    if not all(name.startswith(start) for name in (*profile.settings, profile.max_age_setting)):
        raise _UnfitError(f"Each of its settings has to begin with {start}.")
    if not profile.max_age_setting.endswith("_SECONDS"):
        raise _UnfitError(f"{profile.max_age_setting} has to end with _SECONDS.")
    taken = {name for one in profiles.values() for name in (*one.settings, one.max_age_setting)}
    if both := taken & {*profile.settings, profile.max_age_setting}:
        raise _UnfitError(f"Another source has the setting {min(both)} already.")
    return profile


PROFILES, TROUBLE = load(entry_points(group=GROUP))
SOURCES: dict[str, Source] = {name: profile.source for name, profile in PROFILES.items()}
