"""The sandbox as a whole: its users, its drive, its registrations, its courier, and its planned faults."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Flask

from receiver.sandbox import bodies
from receiver.sandbox.actions import DriveTools, Order, carry_out
from receiver.sandbox.bodies import Happening
from receiver.sandbox.box_errors import SandboxRefusal, Wrong, bad_request
from receiver.sandbox.clock import Clock
from receiver.sandbox.drive import Drive, DriveItem
from receiver.sandbox.faults import Faults
from receiver.sandbox.filestack_events import Call, payloads
from receiver.sandbox.post import Post, post
from receiver.sandbox.registrations import Registration, Registrations
from receiver.sandbox.schedules import BOX, FILESTACK_DEFAULT
from receiver.sandbox.sender import Courier, Outgoing, Rounds, Told
from receiver.sandbox.sessions import Sessions, user_mini
from receiver.sandbox.store import SandboxStore
from receiver.sources.box import samples

LAST_PAGES = ("empty", "null", "absent")
_ACTOR = "Ada Moss"
_ACTOR_ID = 20_817_364
_EXTENSION = "signalbox.sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that the sandbox accepts, and its user."""

    name: str
    token: str
    is_developers: bool = False
    has_scope: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a sandbox is set up.

    `keys` are those of the receiver: {"box": {"primary": …, "secondary": …}, "filestack": {"secret 1": …}}. `last_page`
    is how the list ends: Box has been seen to write next_marker as "", as null, and not at all.
    """

    keys: Mapping[str, Mapping[str, str]]
    state: Path | None = None
    speed: float = 1
    tokens: Sequence[Token] = ()
    filestack_addresses: Sequence[str] = ()
    strict: bool = False
    any_address: bool = False
    last_page: str = "empty"


class World:
    """Everything that the sandbox's API and pages work with."""

    def __init__(self, plan: Plan, *, clock: Clock | None = None, post: Post = post, told: Told | None = None) -> None:
        self.plan = plan
        self.store = SandboxStore(plan.state)
        self.clock = clock or Clock(speed=plan.speed, not_before=self._last_moment())
        self.sessions = Sessions(self.store, self.clock.now)
        self.drive = Drive(self.store, self._moment, strict=plan.strict)
        self.registrations = Registrations(
            self.store, self.clock, is_there=self.drive.has, any_address=plan.any_address
        )
        keys: dict[str, Mapping[str, str]] = {"box": {}, "filestack": {}, **plan.keys}
        self.courier = Courier(self.store, self.clock, self.registrations, keys=keys, post=post, told=told)
        self.rounds = Rounds(self.courier, self.clock)
        for one in plan.tokens:
            self.sessions.list_token(one.name, one.token, is_developers=one.is_developers, has_scope=one.has_scope)

    @property
    def last_page(self) -> str:
        return self.plan.last_page

    def _last_moment(self) -> datetime | None:
        noted = self.store.noted("now")
        return None if noted is None else datetime.fromtimestamp(noted, UTC)

    def _moment(self) -> str:
        return samples.local(self.clock.wall()).isoformat(timespec="seconds")

    def start(self) -> None:
        """Start the courier in a thread of its own."""
        self.rounds.start()

    def stop(self) -> None:
        self.rounds.stop()
        self.close()

    def close(self) -> None:
        """Store the time and close the file; a second call does nothing."""
        if not self.store.is_closed:
            self.store.note("now", self.clock.now().timestamp())
            self.store.close()

    def faults(self) -> Faults:
        """Return what goes wrong with every event until it is changed."""
        return Faults.read(self.store.noted("faults", "{}"))

    def set_faults(self, faults: Faults) -> None:
        self.store.note("faults", faults.written())

    def act(self, order: Order, *, faults: Faults, by: str = "", count: int = 1) -> tuple[list[Happening], list[int]]:
        """Do an action so many times; return what it set off, and the ids of the events on their way."""
        happenings: list[Happening] = []
        with self.store.change():
            for _ in range(count):
                happenings += carry_out(DriveTools(self.drive, self.store), order)
            outgoing = [one for happening in happenings for one in self._outgoing(happening, faults, by)]
            return happenings, self.courier.take(outgoing)

    def _outgoing(self, happening: Happening, faults: Faults, by: str) -> Iterable[Outgoing]:
        for registration in self.registrations.watching(happening.watched, happening.trigger):
            self.registrations.set_off(registration)
            payload = self._payload(happening, registration, by)
            yield Outgoing(
                source="box",
                name=payload["trigger"],
                address=registration.address,
                payload=payload,
                schedule=BOX,
                faults=faults,
                webhook_id=registration.id,
            )

    def _payload(self, happening: Happening, registration: Registration, by: str) -> Any:
        at = self.clock.wall()
        if not self.sessions.is_active(registration.user_id, registration.application):
            return bodies.no_active_session(happening, registration, at=at)
        actor = user_mini(_ACTOR_ID, by or _ACTOR)
        return bodies.full(happening, registration, self.drive, by=actor, at=at)

    def call(
        self, call: Call, *, faults: Faults, to: Sequence[str] = (), schedule: str = "", count: int = 1
    ) -> tuple[list[str], list[int]]:
        """Let something happen at Filestack; return the names of the events, and the ids of those on their way."""
        addresses = list(to or self.plan.filestack_addresses)
        if not addresses:
            raise bad_request(Wrong("to", "No address is known: signalbox sandbox filestack … --to URL."))
        if faults.rotating:
            raise bad_request(Wrong("rotating", "Filestack signs with one secret only; wrong_key is what it can have."))
        with self.store.change():
            made = [one for _ in range(count) for one in payloads(call, self.store, at=self.clock.wall())]
            outgoing = [
                Outgoing(
                    source="filestack",
                    name=name,
                    address=address,
                    payload=payload,
                    schedule=schedule or FILESTACK_DEFAULT,
                    faults=faults,
                )
                for name, payload in made
                for address in addresses
            ]
            return [name for name, _ in made], self.courier.take(outgoing)

    def expire(self, name: str) -> int:
        """End a user's sessions; return how many webhooks send only NO_ACTIVE_SESSION from now on."""
        user_id = self.sessions.expire(name)
        return len(self.registrations.of_user(user_id))

    def revoke(self, name: str) -> list[int]:
        """Revoke a user's tokens: Box then removes the webhooks, and reports so to each address."""
        with self.store.change():
            user_id = self.sessions.expire(name)
            return [id_ for one in self.registrations.of_user(user_id) for id_ in self.courier.give_up(one.id)]

    def plan_refusal(self, *, status: int, times: int, after: int, retry_after: float | None) -> None:
        """Refuse so many of the API's calls with this status, after so many others went well."""
        with self.store.change():
            planned = self.store.noted("planned refusals", [])
            planned.append({"status": status, "times": times, "after": after, "retry_after": retry_after})
            self.store.note("planned refusals", planned)

    def refuse_if_planned(self) -> None:
        with self.store.change():
            planned = self.store.noted("planned refusals", [])
            if not planned:
                return
            first = planned[0]
            is_due = first["after"] == 0
            first["times" if is_due else "after"] -= 1
            self.store.note("planned refusals", [one for one in planned if one["times"] > 0])
        if is_due:
            retry_after = first["retry_after"]
            headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
            raise SandboxRefusal(first["status"], "Refused on request", headers=headers)

    def state(self) -> dict[str, Any]:
        """Return everything for tests to inspect; it contains no token and no key."""
        return {
            "now": self.clock.now().isoformat(timespec="milliseconds"),
            "speed": self.clock.speed,
            "users": self.sessions.users(),
            "webhooks": [{**one.full(), "application": one.application} for one in self.registrations.all()],
            "items": [item_view(self.drive, one) for one in self.drive.all()],
            "events": self.courier.events(),
            "faults": {name: value for name, value in asdict(self.faults()).items() if value},
            "planned_refusals": self.store.noted("planned refusals", []),
            "filestack_addresses": list(self.plan.filestack_addresses),
        }


def item_view(drive: Drive, item: DriveItem) -> dict[str, Any]:
    return {
        "type": item.type,
        "id": item.id,
        "path": drive.path(item),
        "name": item.name,
        "size": item.size,
        "version": item.version,
        "locked": item.is_locked,
        "state": item.state,
    }


def world_of(app: Flask) -> World:
    world: World = app.extensions[_EXTENSION]
    return world


def install(app: Flask, world: World) -> None:
    app.extensions[_EXTENSION] = world
