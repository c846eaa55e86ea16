"""What every profile keeps to, whatever its provider."""

from datetime import UTC, datetime

import pytest

from receiver.app import gates
from receiver.settings import SETTINGS
from receiver.sources import PROFILES, SOURCES, Profile, profile_of
from tests.installation import KEYS, settings

BY_NAME = {setting.name: setting for setting in SETTINGS}
EVERY = pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))


def test_every_source_has_a_profile_under_its_own_name() -> None:
    assert {name: profile.source for name, profile in PROFILES.items()} == SOURCES
    assert [profile.name for profile in PROFILES.values()] == list(PROFILES)
    assert profile_of("nobody") is None


@EVERY
def test_the_example_and_the_aliases_are_names_that_it_can_send(profile: Profile) -> None:
    assert profile.example in profile.source.KNOWN
    at = datetime.now(UTC)
    assert all(profile.samples.sample(alias, at=at, number=1) for alias in profile.aliases)


@EVERY
def test_its_settings_exist_and_its_age_is_the_default(profile: Profile) -> None:
    assert {*profile.settings, profile.max_age_setting} <= BY_NAME.keys()
    assert int(profile.max_age.total_seconds()) == int(BY_NAME[profile.max_age_setting].default or 0)


@EVERY
def test_the_headers_it_names_are_the_headers_that_it_sends(profile: Profile) -> None:
    sent = {name for name, _ in profile.source.sign(b"{}", KEYS[profile.name], at=datetime.now(UTC))}
    named = {*profile.signature_headers, profile.timestamp_header, profile.delivery_header} - {""}
    assert named | {fault.header for fault in profile.faults.values()} <= sent
    assert {name for name, _ in profile.signing.bash_headers} <= sent
    assert {name for name, _ in profile.signing.python_headers} <= sent


@EVERY
def test_a_name_field_tells_what_happened(profile: Profile) -> None:
    payload = profile.samples.sample(profile.example, at=datetime.now(UTC), number=1)
    assert payload[profile.named_by] == profile.example


def test_keys_come_from_the_settings_each_under_its_slot() -> None:
    found = gates(settings("sqlite:///unused.db", BOX_SECONDARY_KEY=None))
    assert found["box"].keys == {"primary": KEYS["box"]["primary"]}
    assert found["filestack"].keys == KEYS["filestack"]
    off = gates(settings("sqlite:///unused.db", BOX_PRIMARY_KEY=None, BOX_SECONDARY_KEY=None, FILESTACK_SECRETS=()))
    assert not any(gate.keys for gate in off.values())
