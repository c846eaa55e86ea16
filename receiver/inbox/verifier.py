"""Rejected deliveries verified again, by the keys and limits of this installation, and let in."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from receiver.events import Reason, Refused, Unread, Verified
from receiver.inbox import diagnosis, reinstate
from receiver.inbox.diagnosis import UNREAD, Diagnosis, refused_unread, verify_now
from receiver.inbox.reinstate import Reinstated
from receiver.inbox.rows import Inbox
from receiver.sources import SOURCES
from receiver.sources.accounts import Gate
from receiver.storage.tables import rejected

ANY_AGE = timedelta(days=10**6)


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies again what was rejected, with the keys that are set now."""

    engine: sa.Engine
    inbox: Inbox
    gates: Mapping[str, Gate]

    def diagnose(self, rejected_id: str, reason: str) -> Diagnosis:
        """Return in words why a delivery was refused, what would have made it verify, and what fixes it."""
        delivery = reinstate.delivery_of(self._find(rejected_id))
        if (
            reason in UNREAD or delivery.source not in SOURCES
        ):  # a later release, beside this one, may know more of both
            return refused_unread(delivery.source, reason if reason in UNREAD else Unread.NO_SUCH_SOURCE)
        keys = {name: gate.keys for name, gate in self.gates.items()}
        return diagnosis.diagnose(delivery, keys, reason, pause=lambda: time.sleep(0))

    def look(self, rejected_id: str, *, any_age: bool = False) -> Verified | Refused:
        """Return whether a rejected delivery verifies now. Nothing is changed by it."""
        return self.verify(self._find(rejected_id), any_age=any_age)

    def verify(self, kept: sa.Row[Any], *, any_age: bool = False) -> Verified | Refused:
        """Return whether a kept delivery verifies now, judged at the time that it came at."""
        if (lacking := self._lacking(kept)) is not None:
            return lacking
        delivery = reinstate.delivery_of(kept)
        gate = self.gates[delivery.source]
        max_age, max_skew = (ANY_AGE, ANY_AGE) if any_age else (gate.max_age, gate.max_skew)
        return verify_now(delivery, {delivery.source: gate.keys}, max_age=max_age, max_skew=max_skew)

    def let_in(self, rejected_id: str, *, any_age: bool = False, unverified: bool = False) -> Reinstated | Refused:
        """Let a rejected delivery in if it verifies now, or need not; otherwise return why it stays."""
        kept = self._find(rejected_id)
        verdict = self.verify(kept, any_age=any_age)
        if isinstance(verdict, Refused):
            if not unverified or self._lacking(kept) is not None:
                return verdict
            verdict = reinstate.BY_NOBODY
        return reinstate.release_rejected(self.engine, self.inbox, rejected_id, verdict)

    def _find(self, rejected_id: str) -> sa.Row[Any]:
        return reinstate.find(self.engine, rejected, rejected_id)

    def _lacking(self, kept: sa.Row[Any]) -> Refused | None:
        """Return why there is nothing to verify or let in: only a part of it is here, or it meant no source."""
        if kept.is_cut:
            otherwise, detail = (
                Unread.CUT_OFF,
                "Only the beginning of its body was kept: it can neither be verified nor let in.",
            )
        elif kept.source not in self.gates:
            otherwise, detail = (
                Unread.NO_SUCH_SOURCE,
                "It was sent to no source of ours: it can neither be verified nor let in.",
            )
        else:
            return None
        # The reason may be one of a later release, which runs beside this one.
        known = next((kind(kept.reason) for kind in (Unread, Reason) if kept.reason in {*kind}), otherwise)
        return Refused(known, detail)
