"""Second looks at what was kept apart, by the keys and limits of this installation: for pages, API and commands."""

import time
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app

from receiver.events import Reason, Refused, Unread, Verified
from receiver.inbox import diagnosis, reinstate
from receiver.inbox.diagnosis import UNREAD, Diagnosis, refused_unread, verify_now
from receiver.inbox.reinstate import Reinstated
from receiver.sources import SOURCES
from receiver.storage.tables import rejected

ANY_AGE = timedelta(days=10**6)


def diagnose(rejected_id: str, reason: str) -> Diagnosis:
    """Say in words why a delivery was refused, what would have made it verify, and what mends it."""
    delivery = reinstate.delivery_of(reinstate.find(_engine(), rejected, rejected_id))
    if reason in UNREAD or delivery.source not in SOURCES:  # a later release, beside this one, may know more of both
        return refused_unread(delivery.source, reason if reason in UNREAD else Unread.NO_SUCH_SOURCE)
    keys = {name: gate.keys for name, gate in current_app.extensions["signalbox.gates"].items()}
    return diagnosis.diagnose(delivery, keys, reason, pause=lambda: time.sleep(0))


def look(rejected_id: str, *, any_age: bool = False) -> Verified | Refused:
    """Say whether a rejected delivery verifies now. Nothing is changed by it."""
    return verify(reinstate.find(_engine(), rejected, rejected_id), any_age=any_age)


def verify(kept: sa.Row[Any], *, any_age: bool = False) -> Verified | Refused:
    """Say whether a kept delivery verifies now, judged at the time that it came at."""
    if (lacking := _lacking(kept)) is not None:
        return lacking
    delivery = reinstate.delivery_of(kept)
    gate = current_app.extensions["signalbox.gates"][delivery.source]
    max_age, max_skew = (ANY_AGE, ANY_AGE) if any_age else (gate.max_age, gate.max_skew)
    return verify_now(delivery, {delivery.source: gate.keys}, max_age=max_age, max_skew=max_skew)


def let_in(rejected_id: str, *, any_age: bool = False, unverified: bool = False) -> Reinstated | Refused:
    """Let a rejected delivery in if it verifies now, or if it is said that it need not; else say why it stays."""
    kept = reinstate.find(_engine(), rejected, rejected_id)
    verdict = verify(kept, any_age=any_age)
    if isinstance(verdict, Refused):
        if not unverified or _lacking(kept) is not None:
            return verdict
        verdict = reinstate.BY_NOBODY
    return reinstate.release_rejected(_engine(), current_app.extensions["signalbox.inbox"], rejected_id, verdict)


def _lacking(kept: sa.Row[Any]) -> Refused | None:
    """Say why there is nothing to verify and nothing to let in: only a part of it is here, or it meant no source."""
    if kept.is_cut:
        otherwise, detail = (
            Unread.CUT_OFF,
            "Only the beginning of its body was kept: it can neither be verified nor let in.",
        )
    elif kept.source not in current_app.extensions["signalbox.gates"]:
        otherwise, detail = (
            Unread.NO_SUCH_SOURCE,
            "It was sent to no source of ours: it can neither be verified nor let in.",
        )
    else:
        return None
    # The reason may be one of a later release, which runs beside this one.
    known = next((kind(kept.reason) for kind in (Unread, Reason) if kept.reason in {*kind}), otherwise)
    return Refused(known, detail)


def _engine() -> sa.Engine:
    found: sa.Engine = current_app.extensions["signalbox.engine"]
    return found
