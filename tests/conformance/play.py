"""Registers, sets off, receives and handles every case with real processes, and judges what became of each."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx2 as httpx
from box_sdk_gen import BaseUrls, BoxClient, BoxDeveloperTokenAuth, BoxSDKError, NetworkSession
from box_sdk_gen.managers.webhooks import CreateWebhookTarget, CreateWebhookTargetTypeField, CreateWebhookTriggers

from tests.acceptance.service import Service, free_port
from tests.conformance.catalogue import Case
from tests.waiting import PATIENCE_SECONDS, until

TOKENS = {"ada": "token-of-ada", "ben": "token-of-ben"}
FIRST_TARGET = 1200
PACKAGE = "dropped"
SETTLED = ("done", "dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one case: the webhook, what the sandbox says that it sent, what the receiver has of it.

    `runs` are the names under which its handler says that it was called.
    """

    case: Case
    webhook_id: str = ""
    registered: Sequence[str] = ()
    deliveries: Sequence[Mapping[str, Any]] = ()
    events: Sequence[Mapping[str, Any]] = ()
    runs: Sequence[str] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table, and what is wrong with it."""

    case: Case
    cells: Sequence[str]
    wrong: Sequence[str] = field(default_factory=list)


def event_type(case: Case) -> str:
    """Give the type of its events: Filestack writes fp.converse, and its users say conversion."""
    return f"{case.source}:{'fp.conversion' if case.name == 'fp.converse' else case.name}"


def handler_name(case: Case) -> str:
    word = "".join(letter if letter.isalnum() else "_" for letter in event_type(case)).lower()
    return f"{PACKAGE}.each.{word}"


def handler_module(cases: Iterable[Case], notes: Path) -> str:
    """Give a module with a handler for each type, which notes whom it was called for."""
    head = f"from receiver import on\n\nNOTES = {str(notes)!r}\n"
    bodies = {
        event_type(case): f"""
@on({event_type(case)!r})
def {handler_name(case).rpartition(".")[2]}(event):
    with open(NOTES, "ab", buffering=0) as file:
        file.write(f"{{event.id}} {{event.type}} {{event.name}}\\n".encode())
"""
        for case in cases
    }
    return head + "".join(bodies.values())


class Stage:
    """Web, worker and sandbox as processes, and Box's official SDK as the one who registers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._url = f"http://127.0.0.1:{free_port()}"
        self._http = httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS)
        self._notes = service.folder / "notes"

    def play(self, cases: Sequence[Case]) -> list[Outcome]:
        """Do everything, and give what became of each case."""
        self._open(cases)
        started = [self._start(case, FIRST_TARGET + number) for number, case in enumerate(cases)]
        kept = self._keep_up([one for _, ids in started for one in ids])
        return [self._finish(outcome, ids, kept) for outcome, ids in started]

    def close(self) -> None:
        self._http.close()

    def _open(self, cases: Sequence[Case]) -> None:
        service = self._service
        service.handlers({"each": handler_module(cases, self._notes)}, PACKAGE)
        service.environ["BOX_API_URL"] = self._url
        tokens = " ".join(f"--token {name}={token}" for name, token in TOKENS.items())
        sandbox = service.start(f"python wsgi.py sandbox {tokens}", "sandbox.log")
        service.worker()
        service.web()
        until(lambda: self._answers() or sandbox.poll() is not None, "the sandbox answers")
        assert sandbox.poll() is None, service.log("sandbox.log")

    def _answers(self) -> bool:
        try:
            return self._http.get(f"{self._url}/sandbox/").is_success
        except httpx.TransportError:
            return False

    def _start(self, case: Case, number: int) -> tuple[Outcome, list[int]]:
        """Register, and set off; give the sandbox's ids of what is on its way."""
        webhook_id, registered = "", list[str]()
        try:
            if case.asks_for is not None:
                webhook_id, registered = self._register(case, str(number))
            here = f"{case.target_type}:{number}" if case.target_type == "file" else str(number)
            sent: list[dict[str, Any]] = []
            for command in case.commands:
                sent = self._command(command.replace("HERE", here).replace("WEBHOOK", webhook_id))
        except (BoxSDKError, httpx.HTTPError, AssertionError, ValueError) as error:
            # What stops one case is said of that case, and the others go on.
            return Outcome(case=case, webhook_id=webhook_id, registered=registered, error=str(error)), []
        return Outcome(case=case, webhook_id=webhook_id, registered=registered), [one["id"] for one in sent]

    def _register(self, case: Case, item: str) -> tuple[str, list[str]]:
        """Make a webhook and read it again, as Box's own SDK does; give its id and what it asks for."""
        token = TOKENS["ben" if case.name == "NO_ACTIVE_SESSION" else "ada"]
        urls = BaseUrls(base_url=self._url, upload_url=self._url, oauth_2_url=self._url)
        client = BoxClient(auth=BoxDeveloperTokenAuth(token=token), network_session=NetworkSession(base_urls=urls))
        made = client.webhooks.create_webhook(
            CreateWebhookTarget(id=item, type=CreateWebhookTargetTypeField(case.target_type)),
            f"{self._service.url}/hooks/box",
            cast("list[CreateWebhookTriggers]", [case.asks_for]),  # the SDK passes on what it does not know, too
        )
        found = client.webhooks.get_webhook_by_id(str(made.id))
        return str(found.id), [str(getattr(one, "value", one)) for one in found.triggers or []]

    def _command(self, command: str) -> list[dict[str, Any]]:
        """Do what `signalbox sandbox` and these words do, by the same calls; a process for each would take minutes."""
        path, body = request_of(command)
        answer = self._http.post(f"{self._url}/sandbox{path}", json=body).json()
        assert "error" not in answer, answer["error"]
        return list(answer.get("events", ()) if isinstance(answer.get("events"), list) else ())

    def _keep_up(self, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        """Wait until everything was sent once, and give the deliveries by event."""

        def sent() -> dict[int, list[dict[str, Any]]] | None:
            found: dict[int, list[dict[str, Any]]] = {}
            for one in self._http.get(f"{self._url}/sandbox/deliveries?limit=1000").json()["items"]:
                found.setdefault(one["event"], []).append(one)
            return found if set(ids) <= set(found) else None

        return dict(until(sent, "everything is delivered once"))

    def _finish(self, outcome: Outcome, ids: Sequence[int], kept: Mapping[int, list[dict[str, Any]]]) -> Outcome:
        deliveries = [delivery for id_ in ids for delivery in kept[id_]]
        answers = [_read(one["answer"]) for one in deliveries]
        events = [self._settled(answer["event"]) for answer in answers if "event" in answer]
        noted = [line.split() for line in self._service.log("notes").splitlines()]
        own = {event["id"] for event in events}
        return Outcome(
            case=outcome.case,
            webhook_id=outcome.webhook_id,
            registered=outcome.registered,
            deliveries=deliveries,
            events=events,
            runs=[f"{type_} {name}" for id_, type_, name in noted if id_ in own],
            error=outcome.error,
        )

    def _settled(self, event_id: str) -> dict[str, Any]:
        """Give an event when it is routed and its jobs have come to an end."""

        def settled() -> dict[str, Any] | None:
            event: dict[str, Any] = self._http.get(f"{self._service.url}/api/events/{event_id}").json()
            is_settled = event["state"] == "routed" and all(job["state"] in SETTLED for job in event["jobs"])
            return event if is_settled else None

        return dict(until(settled, f"event {event_id} is handled"))


def request_of(command: str) -> tuple[str, dict[str, Any]]:
    """Give the call that a command of `signalbox sandbox` makes: the path below /sandbox, and the body."""
    area, *words = command.split()
    step = words.pop() if "--as" in words else ""
    words = [word for word in words if word != "--as"]
    if area == "do":
        action, item, *to = words
        asked = {"action": action, "item": item, "to": " ".join(to), "step": step}
        return "/actions", {name: value for name, value in asked.items() if value}
    if area == "filestack":
        return "/filestack", {"action": words[0], **({"way": step} if step else {})}
    if area == "expire":
        return "/tokens/expire", {"name": words[0]}
    assert area == "give-up", command
    return f"/webhooks/{words[0]}/give-up", {}


def _read(answer: str) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def judge(outcome: Outcome) -> Row:
    """Give the line of one case, with everything that is not as it has to be."""
    case, events = outcome.case, outcome.events
    jobs = [job for event in events for job in event["jobs"]]
    own = [job for job in jobs if job["handler"] == handler_name(case)]
    drift = sum(len(event["drift"]) for event in events)
    cells = (
        case.name,
        outcome.webhook_id or ("-" if case.asks_for else "in its portal"),
        case.set_off_by,
        ", ".join(str(one["status"] or "---") for one in outcome.deliveries) or "-",
        ", ".join(dict.fromkeys(str(event["verified_by"]) for event in events)) or "-",
        " + ".join(str(len(event["jobs"])) for event in events) or "-",
        ", ".join(job["state"] for job in own) or "-",
        "none" if events and not drift else str(drift) if events else "-",
    )
    return Row(case=case, cells=cells, wrong=list(_wrong(outcome, own, jobs)))


def _wrong(outcome: Outcome, own: Sequence[Any], jobs: Sequence[Any]) -> Iterator[str]:
    case, number = outcome.case, outcome.case.events
    if outcome.error:
        yield outcome.error
        return
    if case.asks_for is not None and list(outcome.registered) != [case.asks_for]:
        yield f"the webhook asks for {list(outcome.registered)}"
    if [(one["name"], one["status"], one["delivered"]) for one in outcome.deliveries] != [
        (case.name, 200, True)
    ] * number:
        said = [f"{one['name']} {one['status']} {one['answer'][:200]}" for one in outcome.deliveries]
        yield f"{number} deliveries of {case.name} answered 200 were to be, and these were: {said}"
    if len({event["id"] for event in outcome.events}) != number:
        yield f"{len(outcome.events)} events were kept, and {number} happened"
    for event in outcome.events:
        if (event["type"], event["verified_by"] in _KEYS[case.source]) != (event_type(case), True):
            yield f"event {event['id']} is {event['type']}, verified by {event['verified_by']}"
        if event["drift"]:
            yield f"it drifts: {event['drift']}"
    if astray := {job["handler"] for job in jobs if job["handler"].startswith(PACKAGE)} - {handler_name(case)}:
        yield f"it was routed to {sorted(astray)}"
    if [(job["state"], len(job["attempts"])) for job in own] != [("done", 1)] * number:
        yield f"its handler is to be done by one attempt: {[(job['state'], len(job['attempts'])) for job in own]}"
    if [job["handler"] for job in jobs if job["state"] != "done"]:
        yield "another handler of it failed"
    if list(outcome.runs) != [f"{event_type(case)} {case.name}"] * number:
        yield f"its handler was called for {list(outcome.runs)}"


_KEYS = {"box": ("primary", "secondary"), "filestack": ("secret 1", "secret 2")}
