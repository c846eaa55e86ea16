"""The services that we accept webhooks from: a module and a profile each, all of the same shape.

Who imports one of its modules loads no other source: what needs all of them asks for SOURCES or PROFILES.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from receiver.sources.profile import Profile as Profile
from receiver.sources.profile import Source as Source

SOURCES: Mapping[str, Source]
PROFILES: Mapping[str, Profile]
TROUBLE: Mapping[str, str]  # the entry points that are no source, each with the reason

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Load the sources when one of the three is first asked for: afterwards they are plain names of this module."""
        if name not in ("SOURCES", "PROFILES", "TROUBLE"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from receiver.sources import registered

        for one in ("SOURCES", "PROFILES", "TROUBLE"):
            globals()[one] = getattr(registered, one)
        return globals()[name]


def profile_of(name: str) -> Profile | None:
    """Return the profile of a source; None for one that is not, or no longer, registered."""
    from receiver.sources import registered

    return registered.PROFILES.get(name)
