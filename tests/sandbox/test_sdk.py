"""Box's official SDK, unchanged, against the sandbox: what it takes for Box's answers and errors is right."""

import re
from pathlib import Path

import pytest
from box_sdk_gen import (
    Authentication,
    BaseUrls,
    BoxAPIError,
    BoxCCGAuth,
    BoxClient,
    BoxDeveloperTokenAuth,
    BoxRetryStrategy,
    CCGConfig,
    NetworkSession,
    Webhook,
    WebhookMini,
)
from box_sdk_gen.managers.webhooks import (
    CreateWebhookTarget,
    CreateWebhookTargetTypeField,
    CreateWebhookTriggers,
)

from receiver.registrations.rules import fits
from receiver.sandbox import World
from tests.sandbox.calls import ADDRESS, Controls

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sandbox.md"
TYPES = CreateWebhookTargetTypeField


def client_at(base: str, *, auth: Authentication | None = None) -> BoxClient:
    network = NetworkSession(
        base_urls=BaseUrls(base_url=base, upload_url=base, oauth_2_url=base),
        retry_strategy=BoxRetryStrategy(max_attempts=3, retry_base_interval=0.01),
    )
    return BoxClient(auth=auth or BoxDeveloperTokenAuth(token="sdk"), network_session=network)


def names(webhook: Webhook) -> list[str]:
    return [str(CreateWebhookTriggers(trigger).value) for trigger in webhook.triggers or []]


def listed(sdk: BoxClient) -> list[WebhookMini]:
    return sdk.webhooks.get_webhooks().entries or []


@pytest.fixture
def sdk(served: str) -> BoxClient:
    return client_at(served)


def create(sdk: BoxClient, id_: str, *triggers: CreateWebhookTriggers, kind: TYPES = TYPES.FOLDER) -> str:
    target = CreateWebhookTarget(id=id_, type=kind)
    return str(sdk.webhooks.create_webhook(target, ADDRESS, list(triggers or [CreateWebhookTriggers.FILE_UPLOADED])).id)


def test_the_sdk_does_all_five_operations(sdk: BoxClient) -> None:
    id_ = create(sdk, "11")
    found = sdk.webhooks.get_webhook_by_id(id_)
    assert (found.address, names(found)) == (ADDRESS, ["FILE.UPLOADED"])
    assert found.target is not None
    assert found.target.id == "11"
    assert found.created_at is not None
    changed = sdk.webhooks.update_webhook_by_id(id_, address=f"{ADDRESS}?again")
    assert (changed.id, changed.address) == (id_, f"{ADDRESS}?again")
    assert [one.id for one in listed(sdk)] == [id_]
    sdk.webhooks.delete_webhook_by_id(id_)
    assert listed(sdk) == []


def test_the_sdk_pages_by_marker(sdk: BoxClient) -> None:
    ids = [create(sdk, str(number)) for number in range(1, 4)]
    first = sdk.webhooks.get_webhooks(limit=2)
    second = sdk.webhooks.get_webhooks(limit=2, marker=first.next_marker)
    assert [one.id for page in (first, second) for one in page.entries or []] == ids
    assert not second.next_marker


@pytest.mark.parametrize("kind", [TYPES.FILE, TYPES.FOLDER])
def test_the_sdk_registers_every_trigger_that_fits(sdk: BoxClient, kind: TYPES) -> None:
    triggers = [one for one in list(CreateWebhookTriggers) if fits(str(one.value), str(kind.value))]
    id_ = create(sdk, "12", *triggers, kind=kind)
    assert names(sdk.webhooks.get_webhook_by_id(id_)) == [one.value for one in triggers]


def test_the_sdk_reads_a_conflict_and_the_id_in_its_words(sdk: BoxClient) -> None:
    id_ = create(sdk, "13")
    with pytest.raises(BoxAPIError) as caught:
        create(sdk, "13")
    told = caught.value.response_info
    assert (told.status_code, told.code) == (409, "conflict")
    assert f"Webhook:{id_} " in str(told.context_info)
    assert told.request_id
    assert told.help_url


@pytest.mark.parametrize(("status", "code"), [(403, "forbidden"), (400, "bad_request")])
def test_the_sdk_reads_other_errors(sdk: BoxClient, controls: Controls, status: int, code: str) -> None:
    controls.post("/refusals", status=status)
    with pytest.raises(BoxAPIError) as caught:
        sdk.webhooks.get_webhooks()
    assert (caught.value.response_info.status_code, caught.value.response_info.code) == (status, code)


def test_the_sdk_comes_again_after_429(sdk: BoxClient, controls: Controls) -> None:
    controls.post("/refusals", status=429, retry_after=0.01)
    assert sdk.webhooks.get_webhooks().entries == []
    assert controls.get("/state")["planned_refusals"] == []


def test_the_sdk_signs_in_with_client_credentials(served: str) -> None:
    auth = BoxCCGAuth(CCGConfig(client_id="app", client_secret="secret", enterprise_id="5"))
    sdk = client_at(served, auth=auth)
    id_ = create(sdk, "14")
    user = sdk.webhooks.get_webhook_by_id(id_).created_by
    assert user is not None
    assert user.name == "enterprise 5"


def test_the_examples_of_the_page_do_what_it_says(served: str, world: World) -> None:
    with_the_sdk, in_tests = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    exec(with_the_sdk.replace("http://127.0.0.1:8100", served), {})
    assert [one.target for one in world.registrations.all()] == [("folder", "1200")]
    names: dict[str, World] = {}
    exec(in_tests, names)
    names["world"].close()
