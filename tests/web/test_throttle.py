"""How fast passwords and tokens may be guessed."""

import pytest

from receiver.web.auth.throttle import Throttle, address_of, network_of


def after_failures(*addresses: str, at: float = 100.0) -> Throttle:
    throttle = Throttle()
    for address in addresses:
        throttle.failed(network_of(address), at)
    return throttle


def strangers() -> list[str]:
    return [f"192.0.2.{number}" for number in range(Throttle.IN_ALL)]


def test_it_forgets_after_a_minute_and_tells_addresses_apart() -> None:
    throttle = after_failures(*["192.0.2.1"] * Throttle.PER_ADDRESS)
    assert throttle.wait_seconds("192.0.2.1", 110.0) == 51
    assert throttle.wait_seconds("192.0.2.2", 110.0) == 0
    assert throttle.wait_seconds("192.0.2.1", 160.0) == 0


def test_past_the_limit_for_all_who_comes_back_after_the_wait_gets_a_try_every_two_seconds() -> None:
    throttle = after_failures(*strangers())
    assert throttle.wait_seconds("198.51.100.1", 101.0) == 3
    assert throttle.wait_seconds("198.51.100.2", 101.0) == 3
    assert throttle.wait_seconds("198.51.100.1", 103.0) == 0
    throttle.failed("198.51.100.1", 103.0)
    assert throttle.wait_seconds("198.51.100.1", 110.0) == 54
    assert throttle.wait_seconds("198.51.100.2", 104.0) == 2
    assert throttle.wait_seconds("198.51.100.2", 105.0) == 0


def test_past_the_limit_for_all_who_never_comes_back_takes_no_turn_of_anybody() -> None:
    throttle = after_failures(*strangers())
    waits = [throttle.wait_seconds(f"2001:db8:{number}::/64", 101.0 + number / 40) for number in range(400)]
    assert min(waits) > 0
    throttle.wait_seconds("198.51.100.1", 111.0)
    assert throttle.wait_seconds("198.51.100.1", 113.0) == 0


def test_past_the_limit_for_all_a_known_network_has_its_own_few_failures_still() -> None:
    throttle = after_failures(*strangers())
    for _ in range(Throttle.PER_ADDRESS):
        assert throttle.wait_seconds("198.51.100.1", 101.0, is_known=True) == 0
        throttle.failed("198.51.100.1", 101.0)
    assert throttle.wait_seconds("198.51.100.1", 102.0, is_known=True) == 60


def test_however_many_are_told_to_wait_the_newest_are_remembered() -> None:
    throttle = after_failures(*strangers())
    for number in range(Throttle.MOST_IN_LINE + 10):
        throttle.wait_seconds(f"network {number}", 101.0)
    assert len(throttle._in_line) == Throttle.MOST_IN_LINE
    assert throttle.wait_seconds(f"network {Throttle.MOST_IN_LINE}", 103.0) == 0


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1:4711", "192.0.2.1:4712", True),
        ("[2001:db8::1]:443", "2001:db8::2", True),
        ("fe80::1%eth0", "fe80::1", True),
        ("unknown", "unknown", True),
    ],
)
def test_a_network_of_ipv6_is_one_client_and_a_port_makes_no_other(one: str, other: str, is_same: bool) -> None:
    assert (network_of(one) == network_of(other)) == is_same


def test_what_is_no_address_cannot_write_lines_into_the_log() -> None:
    assert address_of("a\nlogin outcome=opened \x1b[2J") == "a?login outcome=opened ?[2J"
    assert len(address_of("x" * 5000)) == 60
