"""Plan and apply against the stand-in: what is done, what is left alone, and what an interruption leaves behind."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from requests.adapters import HTTPAdapter

from receiver.errors import BoxError, RegistrationError
from receiver.registrations import LOOKED_INTO, Kept, Plan, Wanted, apply, list_kept, make, store
from receiver.registrations.client import WebhookClient
from receiver.registrations.rules import MOST_REGISTRATIONS, Content, Listed, Target
from receiver.storage.tables import registrations
from tests.installation import Clock
from tests.registrations.stand_in import ADDRESS, ELSEWHERE, RENAMED, UPLOADED, StandIn, folder


class Interrupted(BaseException):
    """What Ctrl-C is to a process."""


@dataclass
class Office:
    """Plans and applies, with a database and a client of its own."""

    engine: sa.Engine
    client: WebhookClient
    clock: Clock

    def plan(self, wanted: Sequence[Wanted], *, prune: bool = False, looked_into: int | None = LOOKED_INTO) -> Plan:
        look = partial(apply.look_at, self.client)
        listed, rows = list(self.client.list()), list_kept(self.engine)
        return make(wanted, listed, rows, look, prune=prune, looked_into=looked_into)

    def apply(self, wanted: Sequence[Wanted], *, prune: bool = False) -> list[str]:
        """Make it so, and say what was done: `created folder:1`, or `failed`."""
        done = apply.carry_out(
            self.client, self.engine, self.plan(wanted, prune=prune), clock=self.clock, told=lambda _: None
        )
        return [f"{'failed' if one.error else one.step.do} {one.step.target}" for one in done]

    def rows(self) -> dict[Target, Kept]:
        return list_kept(self.engine)


@pytest.fixture
def office(engine: sa.Engine, client: WebhookClient, clock: Clock) -> Office:
    return Office(engine, client, clock)


def wanted(**contents: Content) -> list[Wanted]:
    """`wanted(f1=UPLOADED)` wants that of folder 1."""
    return [Wanted(folder(int(name[1:])), content) for name, content in contents.items()]


def steps_of(plan: Plan) -> list[tuple[str, str, str]]:
    return [(step.do, str(step.target), step.why.name) for step in plan.steps]


def test_what_is_new_is_created(office: Office, box: StandIn) -> None:
    new = wanted(f1=UPLOADED, f2=RENAMED)
    assert steps_of(office.plan(new)) == [("create", "folder:1", "NEW"), ("create", "folder:2", "NEW")]
    assert office.apply(new) == ["create folder:1", "create folder:2"]
    assert box.content() == {"folder:1": UPLOADED, "folder:2": RENAMED}


def test_done_once_there_is_nothing_to_do(office: Office, box: StandIn) -> None:
    new = wanted(f1=UPLOADED, f2=RENAMED)
    office.apply(new)
    box.calls.clear()
    assert office.apply(new) == []
    assert {call.split()[0] for call in box.calls} == {"GET"}


def test_a_plan_changes_nothing(office: Office, box: StandIn) -> None:
    office.apply(wanted(f1=UPLOADED))
    before = box.content(), office.rows()
    office.plan(wanted(f2=UPLOADED), prune=True)
    assert (box.content(), office.rows()) == before


def test_what_the_file_changes_is_changed(office: Office, box: StandIn) -> None:
    office.apply(wanted(f1=UPLOADED))
    id_ = box.ids()["folder:1"]
    assert steps_of(office.plan(wanted(f1=RENAMED))) == [("change", "folder:1", "FILE")]
    office.apply(wanted(f1=RENAMED))
    assert (box.content(), box.ids()) == ({"folder:1": RENAMED}, {"folder:1": id_})


def test_what_somebody_changed_at_box_is_drift_and_is_put_right(
    office: Office, box: StandIn, client: WebhookClient
) -> None:
    office.apply(wanted(f1=UPLOADED))
    client.update(box.ids()["folder:1"], address=ELSEWHERE, triggers=["FILE.TRASHED"])
    plan = office.plan(wanted(f1=UPLOADED))
    assert steps_of(plan) == [("change", "folder:1", "DRIFT")]
    assert plan.steps[0].before == Content.of(ELSEWHERE, ["FILE.TRASHED"])
    office.apply(wanted(f1=UPLOADED))
    assert box.content() == {"folder:1": UPLOADED}


def test_what_was_made_from_the_file_goes_with_it(office: Office, box: StandIn) -> None:
    office.apply(wanted(f1=UPLOADED, f2=UPLOADED))
    assert steps_of(office.plan(wanted(f1=UPLOADED))) == [("delete", "folder:2", "UNWANTED")]
    office.apply(wanted(f1=UPLOADED))
    assert box.content() == {"folder:1": UPLOADED}
    assert set(office.rows()) == {folder(1)}


def test_what_was_made_by_hand_is_left_alone_unless_it_is_pruned(office: Office, box: StandIn) -> None:
    box.make(folder(7))
    office.apply(wanted(f1=UPLOADED))
    assert [str(one.target) for one in office.plan(wanted(f1=UPLOADED)).left_alone] == ["folder:7"]
    assert set(box.content()) == {"folder:1", "folder:7"}
    assert office.apply(wanted(f1=UPLOADED), prune=True) == ["delete folder:7"]
    assert set(box.content()) == {"folder:1"}


def test_what_was_made_by_hand_and_is_in_the_file_is_changed_and_never_deleted(office: Office, box: StandIn) -> None:
    id_ = box.make(folder(7), RENAMED)
    assert office.apply(wanted(f7=UPLOADED)) == ["change folder:7"]
    assert box.ids() == {"folder:7": id_}
    assert office.apply([]) == []
    assert (box.content(), office.rows()) == ({"folder:7": UPLOADED}, {})


def test_what_was_made_by_hand_on_a_target_that_was_ours_is_not_ours(
    office: Office, box: StandIn, client: WebhookClient
) -> None:
    office.apply(wanted(f1=UPLOADED))
    client.delete(box.ids()["folder:1"])
    box.make(folder(1))
    assert steps_of(office.plan([])) == []


@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_what_was_made_by_hand_after_box_refused_to_make_it_is_left_alone(
    office: Office, box: StandIn, status: int
) -> None:
    plan = office.plan(wanted(f1=UPLOADED))
    box.world.plan_refusal(status=status, times=1, after=0, retry_after=None)
    with suppress(BoxError):
        apply.carry_out(office.client, office.engine, plan, clock=office.clock, told=lambda _: None)
    assert office.rows() == {}
    box.make(folder(1))
    assert office.apply([]) == []
    assert set(box.content()) == {"folder:1"}


def test_where_box_refuses_to_make_again_what_is_gone_it_is_still_known_to_be_gone(
    office: Office, box: StandIn, client: WebhookClient
) -> None:
    office.apply(wanted(f1=UPLOADED))
    before = office.rows()
    client.delete(box.ids()["folder:1"])
    plan = office.plan(wanted(f1=RENAMED))
    box.world.plan_refusal(status=404, times=1, after=0, retry_after=None)
    apply.carry_out(client, office.engine, plan, clock=office.clock, told=lambda _: None)
    assert office.rows() == before


@pytest.mark.parametrize("is_refused", [False, True])
def test_what_was_made_by_hand_after_box_removed_ours_is_left_alone(
    office: Office, box: StandIn, client: WebhookClient, is_refused: bool
) -> None:
    dead = removed(office, box)
    if is_refused:
        plan = office.plan(wanted(f1=UPLOADED))
        box.world.plan_refusal(status=404, times=1, after=0, retry_after=None)
        apply.carry_out(client, office.engine, plan, clock=office.clock, told=lambda _: None)
    assert office.rows() == dead
    box.make(folder(1))
    assert office.apply([]) == []
    assert set(box.content()) == {"folder:1"}


def removed(office: Office, box: StandIn) -> dict[Target, Kept]:
    """Have the webhook of folder 1 made, and removed by Box; gives what is known of it."""
    office.apply(wanted(f1=UPLOADED))
    id_ = box.ids()["folder:1"]
    office.client.delete(id_)
    store.bury(office.engine, id_, reason="auto_cleanup", now=office.clock())
    return office.rows()


def test_what_is_gone_from_box_is_created_again(office: Office, box: StandIn, client: WebhookClient) -> None:
    office.apply(wanted(f1=UPLOADED))
    client.delete(box.ids()["folder:1"])
    assert steps_of(office.plan(wanted(f1=UPLOADED))) == [("create", "folder:1", "GONE")]
    office.apply(wanted(f1=UPLOADED))
    assert box.content() == {"folder:1": UPLOADED}


def test_what_box_does_not_list_but_has_is_found_by_its_id(office: Office, box: StandIn) -> None:
    office.apply(wanted(f1=UPLOADED))
    plan = make(wanted(f1=UPLOADED), [], office.rows(), partial(apply.look_at, office.client))
    assert (plan.steps, len(plan.right)) == ([], 1)


def test_a_webhook_that_somebody_made_meanwhile_becomes_what_is_wanted(office: Office, box: StandIn) -> None:
    plan = office.plan(wanted(f1=UPLOADED))
    id_ = box.make(folder(1), Content.of(ELSEWHERE, ["FILE.TRASHED"]))
    apply.carry_out(office.client, office.engine, plan, clock=office.clock, told=lambda _: None)
    assert (box.content(), box.ids()) == ({"folder:1": UPLOADED}, {"folder:1": id_})
    assert not office.rows()[folder(1)].is_ours


def test_a_webhook_that_somebody_made_meanwhile_just_as_it_is_wanted_is_not_ours(office: Office, box: StandIn) -> None:
    plan = office.plan(wanted(f1=UPLOADED))
    box.make(folder(1))
    apply.carry_out(office.client, office.engine, plan, clock=office.clock, told=lambda _: None)
    assert not office.rows()[folder(1)].is_ours


def test_what_is_ours_and_was_neither_listed_nor_asked_about_is_found_to_be_ours(office: Office, box: StandIn) -> None:
    office.apply(wanted(f1=UPLOADED))
    plan = make(wanted(f1=RENAMED), [], office.rows(), partial(apply.look_at, office.client), looked_into=0)
    apply.carry_out(office.client, office.engine, plan, clock=office.clock, told=lambda _: None)
    assert box.content() == {"folder:1": RENAMED}
    assert office.rows()[folder(1)].is_ours


def test_a_folder_that_is_not_there_holds_up_no_other(office: Office, box: StandIn) -> None:
    plan = office.plan(wanted(f1=UPLOADED, f2=UPLOADED))
    box.world.plan_refusal(status=404, times=1, after=0, retry_after=None)
    done = apply.carry_out(office.client, office.engine, plan, clock=office.clock, told=lambda _: None)
    assert [str(one.error) for one in done] == ["Box has no folder:1 that this account can see.", "None"]
    assert office.apply(wanted(f2=UPLOADED)) == []
    assert set(office.rows()) == {folder(2)}


def test_what_would_fail_for_all_ends_it(office: Office, box: StandIn) -> None:
    plan = office.plan(wanted(f1=UPLOADED, f2=UPLOADED))
    box.world.plan_refusal(status=403, times=9, after=0, retry_after=None)
    with pytest.raises(BoxError, match="Manage webhooks"):
        apply.carry_out(office.client, office.engine, plan, clock=office.clock, told=lambda _: None)
    assert len(box.calls) == 2


def test_deleting_comes_first_and_makes_room(office: Office, box: StandIn) -> None:
    for number in range(1, MOST_REGISTRATIONS):
        box.make(folder(number))
    office.apply(wanted(f5000=UPLOADED))
    assert office.apply(wanted(f6000=UPLOADED)) == ["delete folder:5000", "create folder:6000"]


def test_more_than_a_thousand_are_refused_before_anything_is_changed(office: Office, box: StandIn) -> None:
    for number in range(1, MOST_REGISTRATIONS + 1):
        box.make(folder(number))
    with pytest.raises(RegistrationError, match=r"There would be 1,001 webhooks.* 1,000 at Box are not in the file"):
        office.plan(wanted(f5000=UPLOADED))


def test_of_a_thousand_strangers_none_is_asked_about(office: Office, box: StandIn) -> None:
    for number in range(1, 999):
        box.make(folder(number))
    office.apply(wanted(f5000=UPLOADED, f6000=UPLOADED))
    box.calls.clear()
    plan = office.plan(wanted(f5000=UPLOADED, f6000=UPLOADED))
    assert (plan.at_box, len(plan.left_alone), plan.steps) == (1000, 998, [])
    assert sorted(call.split("/webhooks")[1][:2] for call in box.calls) == ["", "", "/4", "/4"]


def test_of_a_thousand_in_the_file_fifty_are_asked_about_in_turn(office: Office, box: StandIn) -> None:
    many = [Wanted(folder(number), UPLOADED) for number in range(1, 1001)]
    seed(office, box, many)
    asked = []
    for _ in range(2):
        office.clock.pass_by(hours=1)
        box.calls.clear()
        assert office.apply(many) == []
        assert len(box.calls) == 2 + LOOKED_INTO
        asked.append(set(box.calls[2:]))
    assert not asked[0] & asked[1]
    assert office.plan(many).on_trust == 1000 - LOOKED_INTO


def test_asked_to_it_asks_about_each(office: Office, box: StandIn, client: WebhookClient) -> None:
    many = [Wanted(folder(number), UPLOADED) for number in range(1, LOOKED_INTO + 11)]
    seed(office, box, many)
    client.update(box.ids()[f"folder:{LOOKED_INTO + 10}"], triggers=["FILE.TRASHED"])
    assert steps_of(office.plan(many)) == []
    assert steps_of(office.plan(many, looked_into=None)) == [("change", f"folder:{LOOKED_INTO + 10}", "DRIFT")]


def seed(office: Office, box: StandIn, many: Sequence[Wanted]) -> None:
    """Have them at Box and noted here, without a call for each."""
    rows = [
        {
            "target_type": one.target.type,
            "target_id": one.target.id,
            "address": one.content.address,
            "triggers": list(one.content.triggers),
            "webhook_id": box.make(one.target, one.content),
            "state": "live",
            "is_ours": True,
            "noted_at": office.clock(),
            "seen_at": office.clock() + timedelta(milliseconds=number),
        }
        for number, one in enumerate(many)
    ]
    with office.engine.begin() as connection:
        connection.execute(sa.insert(registrations), rows)


def scene(office: Office, box: StandIn) -> Sequence[Wanted]:
    """Leave something of every kind to do, and give what is wanted."""
    office.apply(wanted(f1=UPLOADED, f2=UPLOADED, f3=UPLOADED, f4=UPLOADED, f5=UPLOADED))
    box.make(folder(6), RENAMED)
    box.make(folder(7))
    office.client.update(box.ids()["folder:3"], address=ELSEWHERE)
    dead = box.ids()["folder:4"]
    office.client.delete(dead)
    store.bury(office.engine, dead, reason="auto_cleanup", now=office.clock())
    return wanted(f1=UPLOADED, f2=RENAMED, f3=UPLOADED, f4=UPLOADED, f6=UPLOADED, f8=UPLOADED, f9=RENAMED)


def state(office: Office, box: StandIn) -> object:
    """Give what Box has and what is noted here, but for the ids, which depend on how often was tried."""
    rows = office.rows()
    assert {str(target): row.webhook_id for target, row in rows.items()}.items() <= box.ids().items()
    return box.content(), {target: (row.content, row.state, row.is_ours) for target, row in rows.items()}


def clear(office: Office, box: StandIn) -> None:
    for id_ in box.ids().values():
        office.client.delete(id_)
    with office.engine.begin() as connection:
        connection.execute(sa.delete(registrations))


class Cut(HTTPAdapter):
    """Interrupts at a call: before it reaches Box, or once Box has done it; or has Box fail to say that it did it."""

    def __init__(self, at: int, *, when: str) -> None:
        super().__init__()
        self._at, self._when = at, when

    def send(self, *request: Any, **options: Any) -> requests.Response:
        self._at -= 1
        if self._at == -1 and self._when == "before":
            raise Interrupted
        answer = super().send(*request, **options)
        if self._at == -1 and self._when == "after":
            raise Interrupted
        if self._at == -1:
            answer.status_code = 502
        return answer


def apply_cut_short(office: Office, wish: Sequence[Wanted], at: int, *, when: str) -> bool:
    """Apply with a client that is interrupted at a call, and say whether it came that far."""
    session = office.client._session
    session.mount("http://", Cut(at, when=when))
    try:
        office.apply(wish)
    except Interrupted:
        return True
    finally:
        session.get_adapter("http://").close()
        session.mount("http://", HTTPAdapter())
    return False


@pytest.mark.both_databases
@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupted_at_any_call_the_next_apply_ends_in_the_same_state(office: Office, box: StandIn, when: str) -> None:
    wish = scene(office, box)
    box.calls.clear()
    office.apply(wish)
    whole, calls = state(office, box), len(box.calls)
    for at in range(calls):
        clear(office, box)
        assert apply_cut_short(office, scene(office, box), at, when=when)
        office.apply(wish)
        assert state(office, box) == whole, f"interrupted {when} call {at}"
    assert calls == 12


def test_interrupted_and_no_longer_wanted_it_is_still_known_to_be_ours(office: Office, box: StandIn) -> None:
    assert apply_cut_short(office, wanted(f1=UPLOADED), 1, when="after")
    assert set(box.content()) == {"folder:1"}
    assert office.apply([]) == ["delete folder:1"]
    assert (box.content(), office.rows()) == ({}, {})


def test_what_was_being_made_in_place_of_a_dead_one_is_known_to_be_ours(office: Office, box: StandIn) -> None:
    removed(office, box)
    assert apply_cut_short(office, wanted(f1=UPLOADED), 1, when="after")
    assert office.rows()[folder(1)].state == "dead"
    assert office.apply([]) == ["delete folder:1"]


def test_what_box_made_and_could_not_say_so_is_ours(office: Office, box: StandIn) -> None:
    assert not apply_cut_short(office, wanted(f1=UPLOADED), 1, when="unsaid")
    assert box.calls.count("POST /2.0/webhooks") == 2
    assert office.rows()[folder(1)].is_ours


def test_what_was_interrupted_is_ours_as_it_was_asked_for_also_where_box_then_refuses_another(
    office: Office, box: StandIn
) -> None:
    assert apply_cut_short(office, wanted(f1=UPLOADED), 1, when="after")
    unlisted = make(wanted(f1=RENAMED), [], office.rows(), partial(apply.look_at, office.client))
    box.world.plan_refusal(status=404, times=1, after=0, retry_after=None)
    apply.carry_out(office.client, office.engine, unlisted, clock=office.clock, told=lambda _: None)
    assert office.apply([]) == ["delete folder:1"]


def test_what_box_made_and_then_refuses_may_still_be_ours(office: Office, box: StandIn) -> None:
    def refuse(number: int) -> None:
        if number == 2:
            box.world.plan_refusal(status=404, times=1, after=0, retry_after=None)

    box.after = refuse
    assert not apply_cut_short(office, wanted(f1=UPLOADED), 1, when="unsaid")
    assert office.apply([]) == ["delete folder:1"]


@pytest.mark.parametrize("is_listed", [True, False])
def test_what_was_made_by_hand_does_not_become_ours_by_being_changed_and_interrupted(
    office: Office, box: StandIn, is_listed: bool
) -> None:
    store.intend(office.engine, folder(1), UPLOADED, now=office.clock())
    plan = office.plan(wanted(f1=UPLOADED))
    box.make(folder(1), RENAMED)
    if is_listed:
        plan = office.plan(wanted(f1=UPLOADED))
    with pytest.raises(Interrupted):
        carry_out_cut_short(office, plan, 0 if is_listed else 2)
    assert box.content() == {"folder:1": UPLOADED}
    assert office.apply([]) == []


def carry_out_cut_short(office: Office, plan: Plan, at: int) -> None:
    office.client._session.mount("http://", Cut(at, when="after"))
    try:
        apply.carry_out(office.client, office.engine, plan, clock=office.clock, told=lambda _: None)
    finally:
        office.client._session.mount("http://", HTTPAdapter())


def test_of_two_webhooks_on_one_item_the_one_that_is_ours_stays(office: Office, box: StandIn) -> None:
    office.apply(wanted(f1=UPLOADED))
    listed = [Listed("9", folder(1)), *office.client.list()]
    look = partial(apply.look_at, office.client)
    plan = make(wanted(f1=UPLOADED), listed, office.rows(), look, prune=True)
    assert [(step.do, step.webhook_id) for step in plan.steps] == [("delete", "9")]
    apply.carry_out(office.client, office.engine, plan, clock=office.clock, told=lambda _: None)
    assert office.rows()[folder(1)].is_ours


@pytest.mark.parametrize("other", [Content.of(ELSEWHERE, ["FILE.UPLOADED"]), RENAMED])
def test_address_and_triggers_say_whether_an_interrupted_create_was_ours(
    office: Office, box: StandIn, other: Content
) -> None:
    store.intend(office.engine, folder(1), UPLOADED, now=office.clock())
    box.make(folder(1), other)
    assert office.apply(wanted(f1=UPLOADED)) == ["change folder:1"]
    assert not office.rows()[folder(1)].is_ours
    assert ADDRESS in box.content()["folder:1"].address
