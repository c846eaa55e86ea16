"""Every form of the pages that sends something: what it asks before it destroys or repeats, or why it is harmless.

tests/browser/test_questions.py clicks what asks; tests/web/test_controls.py finds a form that stands in neither list.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Control:
    """A button that asks. `form` names it in the templates, `where` is a place that test_questions.py prepares.

    `first` are fields to fill in, by their labels, and then buttons and links to click, before `button` asks `asks`
    (regular expressions both). `is_page`: the question is a page of its own with JavaScript too.
    """

    form: str
    where: str
    button: str
    asks: str
    first: Mapping[str, str | None] | None = None
    is_page: bool = False


EVENT = "{{ address(path ~ '/replay') }}"
RELEASE = "{{ address(path ~ '/release') }}"
WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"

CONTROLS = [
    Control("_bin.html {{ path }}/clear", "bin", "^Clear 2 captures$", r"Delete 2 captures of the bin b-[\w-]+\?"),
    Control(
        "_bin.html {{ path }}/delete",
        "bin",
        "^Delete b-[a-z0-9-]+ with 2 captures",
        r"Delete the bin b-[\w-]+ and its 2 captures\?",
    ),
    Control(
        "_bin.html {{ path }}/setup",
        "bin",
        "^Save$",
        r"Save how b-[\w-]+ is set up\?",
        first={"The newest": "1"},
        is_page=True,
    ),
    Control(
        "_capture.html {{ its }}/forward",
        "capture",
        "hooks.box$",
        r"Send POST /lamps again, to /hooks/box\?",
    ),
    Control(
        "_capture.html {{ its }}/forward",
        "capture",
        "^Send$",
        r"Send POST /lamps again, to http://127\.0\.0\.1:9/\?",
        first={"to a URL": "http://127.0.0.1:9/"},
    ),
    Control(f"_event.html {EVENT}", "paused", "^Replay to", r"Replay box:SIGN_REQUEST\.COMPLETED to 2 handlers\?"),
    Control(
        f"_event.html {EVENT}",
        "paused",
        "^Replay to this one$",
        r"Replay box:SIGN_REQUEST\.COMPLETED to office\.crm\.sync_access\?",
        first={"Give it to another handler": None, "Another handler": "office.crm.sync_access"},
    ),
    Control(
        "_jobs.html {{ address('/jobs/' ~ job.id ~ '/replay') }}",
        "paused",
        "^Replay to office.archive",
        r"Replay box:SIGN_REQUEST\.COMPLETED to office\.archive\.keep_signed\?",
    ),
    Control(
        "_jobs.html {{ address('/jobs/' ~ job.id ~ '/discard') }}",
        "paused jobs",
        "^Discard for office.archive",
        r"Discard the job of office\.archive\.keep_signed for box:SIGN_REQUEST\.COMPLETED\?",
    ),
    Control(
        f"_rejected.html {RELEASE}",
        "rejected",
        "^Let it in",
        rf"Let box:FILE\.LOCKED of {WHEN} in as an event\?",
        first={"Verify again with today's keys": None},
    ),
    Control(
        f"_quarantined.html {RELEASE}",
        "quarantine",
        "let it in$",
        rf"Let box:FILE\.UNLOCKED of {WHEN} in as an event\?",
    ),
    Control(
        "handler.html {{ url_for('handlers.replay', name=one.name) }}",
        "handler",
        "^Replay [0-9]+ dead job",
        r"Replay \d+ dead jobs? to office\.crm\.sync_access\?",
    ),
    Control(
        "api_docs.html try",
        "api",
        "^Send DELETE$",
        r"Send DELETE to this Signalbox\?",
        first={"#delete_bin [name=name]": "sand-otter"},
    ),
    Control("sandbox/drive.html /do", "sandbox file", "^Delete$", r"Delete the file .+ for good\?"),
    Control(
        "sandbox/drive.html /give-up/{{ one.id }}",
        "sandbox file",
        "^Give up",
        r"Give up the webhook \d+ on folder:1200\?",
    ),
    Control(
        "sandbox/faults.html /clock",
        "sandbox faults",
        "^Skip 15 days$",
        r"Move the clock of the sandbox 15 days ahead\?",
    ),
    Control(
        "sandbox/faults.html /users",
        "sandbox faults",
        "^End the session",
        r"End the session of .+, with \d+ webhooks?\?",
    ),
    Control(
        "sandbox/faults.html /users",
        "sandbox faults",
        "^Revoke",
        r"Revoke the tokens of .+, and remove its \d+ webhooks?\?",
    ),
]

HARMLESS: Mapping[str, str] = {
    "_handlers.html {{ url_for('handlers.' ~ act, name=one.name) }}": "pause and resume undo each other",
    "_hints.html /send/sample": "it makes an event of its own, which is what the button says",
    "_rejected.html {{ address(path ~ '/verify') }}": "it looks, and changes nothing",
    "base.html /logout": "logging in undoes it",
    "bins.html /bins": "it makes a bin, which can be deleted",
    "handler.html {{ url_for('handlers.pause', name=one.name) }}": "resume undoes it",
    "handler.html {{ url_for('handlers.resume', name=one.name) }}": "pause undoes it, and its button says how many run",
    "login.html /login": "it lets in who knows the password",
    "sandbox/_filestack.html /filestack": "something new happens in a pretend world; nothing is taken from it",
    "sandbox/drive.html /do": "what is no deletion can be undone there, and the trash gives back what it has",
    "sandbox/faults.html /faults": "the next form undoes it",
    "sandbox/faults.html /refusals": "the next form undoes it",
    "send.html {{ url_for('send.check') }}": "it looks, and changes nothing",
    "send.html {{ url_for('send.go') }}": "the page is there for that: it sends what was just written, as a new event",
}
