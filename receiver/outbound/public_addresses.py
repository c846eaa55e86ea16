"""Which addresses are on the internet and which on this machine, however they are written or embedded."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

# What Python 3.11's `is_global` allows and the registries do not:
# https://www.iana.org/assignments/iana-ipv6-special-registry and
# https://www.iana.org/assignments/iana-ipv4-special-registry (as of 2026).
_NOT_GLOBAL = tuple(
    ip_network(one)
    for one in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
        "64:ff9b:1::/48",  # NAT64 of one network (RFC 8215)
        "100:0:0:1::/64",  # a dummy (RFC 9780)
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing (RFC 9602)
    )
)
_NAT64 = ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Return whether an address is on the internet, and does not lead to another one that is not."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    inner = embedded(found)
    if inner is not None:
        return is_public(str(inner))
    if isinstance(found, IPv6Address) and (found.teredo is not None or found.is_site_local):
        return False
    if any(found in network for network in _NOT_GLOBAL):
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name, or by a number in any spelling: `127.1`, `0x7f.1`."""
    found = number(host)
    if found is None:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
    return (embedded(found) or found).is_loopback


def number(host: str) -> IPv4Address | IPv6Address | None:
    """Parse a host that is an address, as a resolver does; None for a name.

    Resolvers read `127.1`, `0x7f.1`, `0177.0.0.1` and `2130706433` as 127.0.0.1
    (man7.org/linux/man-pages/man3/inet_aton.3.html).
    """
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return None if any(map(str.isspace, host)) else IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError, ValueError):
        return None


def embedded(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address inside an address, which a packet would reach; None if there is none."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
