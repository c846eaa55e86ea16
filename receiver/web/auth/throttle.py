"""How fast passwords and tokens may be guessed: by each network, and by all strangers together."""

from collections import OrderedDict, deque
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

LONGEST_WORD = 60


class Throttle:
    """Lets a few failures through, for each network and for all strangers together, until they are a minute old.

    Past the limit for all, a network that is known still has its own few failures. An unknown one gets a try every two
    seconds, and only when it comes back after it was told to wait: strangers who change their network for each try
    never do. Who has failed within the minute waits for a minute. Each process counts for itself, so that
    `WEB_CONCURRENCY` times as many come through.
    """

    PER_ADDRESS = 5
    IN_ALL = 50
    WINDOW_SECONDS = 60.0
    SPACE_SECONDS = 2.0
    MOST_IN_LINE = 20_000

    def __init__(self) -> None:
        self._failures: deque[tuple[float, str]] = deque()
        self._in_line: OrderedDict[str, float] = OrderedDict()  # who was told to wait, and since when
        self._next_at = 0.0  # when a stranger may try again, past the limit for all

    def wait_seconds(self, network: str, now: float, *, is_known: bool = False) -> int:
        """Return how long this network has to wait; 0 when it may try now."""
        self._forget(now - self.WINDOW_SECONDS)
        its = [at for at, failed in self._failures if failed == network]
        free_at = now
        if len(its) >= self.PER_ADDRESS:
            free_at = its[-self.PER_ADDRESS] + self.WINDOW_SECONDS
        elif len(self._failures) >= self.IN_ALL and not is_known:
            free_at = its[-1] + self.WINDOW_SECONDS if its else self._turn_of(network, now)
        return int(free_at - now) + 1 if free_at > now else 0

    def _turn_of(self, network: str, now: float) -> float:
        came_at = self._in_line.setdefault(network, now)
        if len(self._in_line) > self.MOST_IN_LINE:
            self._in_line.popitem(last=False)
        return max(self._next_at, came_at + self.SPACE_SECONDS)

    def _forget(self, until: float) -> None:
        while self._failures and self._failures[0][0] <= until:
            self._failures.popleft()
        while self._in_line and next(iter(self._in_line.values())) <= until:
            self._in_line.popitem(last=False)

    def failed(self, network: str, now: float) -> None:
        """Count a failure, which may be the one that makes others wait."""
        self._failures.append((now, network))
        self._in_line.pop(network, None)
        self._next_at = now + self.SPACE_SECONDS


def address_of(told: str) -> str:
    """Return an address in its usual form, without the port that some proxies add, fit for a line of the log.

    Azure's Application Gateway writes `192.0.2.1:4711` into X-Forwarded-For (learn.microsoft.com, "How an application
    gateway works"): every connection would be a network of its own.
    """
    found = _parse(told)
    return "".join(c if c.isprintable() else "?" for c in told[:LONGEST_WORD]) if found is None else str(found)


def network_of(told: str) -> str:
    """Return what one client has to itself: an address of IPv4, but of IPv6 a whole /64."""
    found = _parse(told)
    if isinstance(found, IPv6Address):
        return str(ip_network((found, 64), strict=False))
    return address_of(told)


def _parse(told: str) -> IPv4Address | IPv6Address | None:
    host = told.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
