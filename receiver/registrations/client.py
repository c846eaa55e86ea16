"""The five operations of Box's Webhooks API, on Box's own SDK, with its errors in our words.

Importing this module loads the SDK, which takes a third of a second: commands import it where they need it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, NoReturn, Self, cast

from receiver.errors import BoxError

try:
    import requests
    from box_sdk_gen import BaseUrls, BoxAPIError, BoxClient, BoxNetworkClient, BoxSDKError, NetworkSession
    from box_sdk_gen.managers.webhooks import (
        CreateWebhookTarget,
        CreateWebhookTargetTypeField,
        CreateWebhookTriggers,
        UpdateWebhookByIdTriggers,
    )
except ModuleNotFoundError as error:
    raise BoxError("Box's SDK is not installed. Run: pip install 'signalbox[box]'") from error

from receiver.humanize import plain
from receiver.outbound import OutboundError, Trouble
from receiver.registrations.account import Account, Kind
from receiver.registrations.box_errors import refusal
from receiver.registrations.rules import MOST_REGISTRATIONS, Content, Listed, Target, Webhook
from receiver.registrations.sign_in import Patience, Waiting, sign_in
from receiver.registrations.transport import NoApiError, Transport, Unreached

# The most that Box accepts is 1000 (https://developer.box.com/reference/get-webhooks/, as of 2026).
ON_A_PAGE = 500
# Far more than an account can have: a list with more pages than this never ends.
MOST_PAGES = 1000
MOST_LISTED = 10 * MOST_REGISTRATIONS
WITHIN = timedelta(minutes=30)
_LONGEST_ID, _LONGEST_TEXT = 100, 4000
# What the SDK (box_sdk_gen 10.18) raises if a response has another shape.
_ODD = (AttributeError, KeyError, TypeError, ValueError)


class WebhookClient:
    """Calls Box as one account; every error is a BoxError that says what fixes it, and contains no credential.

    `waiting` is called before Box is asked again later; `pause` is the unit of those waits. If all calls together take
    longer than `within` from now, that is an error, which ends with `advice`.
    """

    def __init__(
        self,
        account: Account,
        *,
        waiting: Waiting | None = None,
        pause: timedelta = timedelta(seconds=1),
        within: timedelta = WITHIN,
        advice: str = "",
    ) -> None:
        self._account = account
        self._transport = Transport(within, advice=advice)
        self._session = requests.Session()
        self._session.trust_env = False  # the transport decides which settings of the environment are for Box
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, self._transport)
        self._auth = sign_in(account)
        self._patience = Patience(waiting, pause, is_here=account.is_here, transport=self._transport)
        self._network = NetworkSession(
            network_client=BoxNetworkClient(self._session),
            base_urls=BaseUrls(base_url=account.api_url, upload_url=account.api_url, oauth_2_url=account.api_url),
            retry_strategy=self._patience,
        )
        self._webhooks = BoxClient(auth=self._auth, network_session=self._network).webhooks
        self._has_token = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._session.close()

    def list(self) -> Iterator[Listed]:
        """Yield every webhook of this account, page by page, whichever way the last page is marked.

        Box has been seen to end with a `next_marker` of null, with an empty one, and without one. BoxError if no page
        is the last.
        """
        marker: str | None = None
        seen: set[str] = set()
        count = 0
        for number in range(1, MOST_PAGES + 1):
            with self._in_words("list webhooks", about="list of webhooks"):
                page = self._webhooks.get_webhooks(marker=marker, limit=ON_A_PAGE)
                if page.entries is None:
                    raise ValueError("no entries")
                entries = [Listed(_id(entry), _target(entry)) for entry in page.entries]
                marker = _marker(page.next_marker)
            yield from entries
            count += len(entries)
            if not marker:
                return
            if marker in seen:
                raise BoxError("Box returns the same pages of webhooks again and again.")
            if count > MOST_LISTED or number == MOST_PAGES:
                raise BoxError(
                    f"Box returns pages of webhooks without end: {count:,} webhooks on {number:,} pages, and there are "
                    f"{MOST_REGISTRATIONS:,} at most for one user of an application."
                )
            seen.add(marker)

    def get(self, webhook_id: str) -> Webhook:
        """Return one webhook with all its fields."""
        with self._in_words(f"show webhook {webhook_id}", about=f"webhook {webhook_id}"):
            return _whole(self._webhooks.get_webhook_by_id(webhook_id))

    def create(self, target: Target, content: Content) -> Webhook:
        """Make a webhook; if the target has one already, the BoxError has its `existing_id`."""
        triggers = cast("list[CreateWebhookTriggers]", [*content.triggers])
        with self._in_words(f"make a webhook on {target}", about=str(target)):
            where = CreateWebhookTarget(id=target.id, type=CreateWebhookTargetTypeField(target.type))
            return _whole(self._webhooks.create_webhook(where, content.address, triggers))

    def update(self, webhook_id: str, *, address: str | None = None, triggers: Sequence[str] | None = None) -> Webhook:
        """Change the address, all of the triggers, or both."""
        asked = cast("list[UpdateWebhookByIdTriggers] | None", None if triggers is None else [*triggers])
        with self._in_words(f"change webhook {webhook_id}", about=f"webhook {webhook_id}"):
            return _whole(self._webhooks.update_webhook_by_id(webhook_id, address=address, triggers=asked))

    def delete(self, webhook_id: str) -> None:
        with self._in_words(f"delete webhook {webhook_id}", about=f"webhook {webhook_id}"):
            self._webhooks.delete_webhook_by_id(webhook_id)

    @contextmanager
    def _in_words(self, wish: str, *, about: str) -> Iterator[None]:
        if not self._has_token:
            self._get_token()
        self._patience.is_in_doubt = False
        try:
            with self._translated(wish, about=about):
                yield
        except BoxError as error:
            error.is_in_doubt |= self._patience.is_in_doubt
            raise

    @contextmanager
    def _translated(self, wish: str, *, about: str) -> Iterator[None]:
        try:
            yield
        except BoxAPIError as error:
            answer = error.response_info
            raise refusal(answer.status_code, answer.body or {}, wish=wish, about=about) from None
        except BoxSDKError as error:
            self._give_up(error)
        except NoApiError as error:
            raise self._no_api(str(error)) from None
        except OutboundError as error:
            raise self._out_of_reach(error) from None
        except _ODD:
            raise self._no_api() from None

    def _get_token(self) -> None:
        """Sign in before the call, so that an error of signing in differs from one of the call."""
        try:
            self._sign_in()
        except BoxError as error:
            error.is_in_doubt = False  # nothing was asked of it yet
            raise

    def _sign_in(self) -> None:
        kind = self._account.kind
        try:
            self._auth.retrieve_token(network_session=self._network)
        except BoxAPIError as error:
            status, said = error.response_info.status_code, plain((error.response_info.body or {}).get("error"))
            message = (
                f"Box does not accept the {kind.value} ({f'{status}, {said}' if said else status}). Compare them with "
                "the developer console, and check that an admin has authorised the application."
            )
            raise BoxError(message, status=status) from None
        except BoxSDKError as error:
            self._give_up(error)
        except NoApiError as error:
            raise self._no_api(str(error)) from None
        except OutboundError as error:
            raise self._out_of_reach(error) from None
        except _ODD:
            if kind is not Kind.JWT:
                raise self._no_api() from None
            raise BoxError("BOX_JWT_CONFIG has a private key, or a passphrase, that cannot be used.") from None
        self._has_token = True

    def _give_up(self, error: BoxSDKError) -> NoReturn:
        if isinstance(error.error, Unreached):
            raise self._out_of_reach(error.error.error) from None
        if isinstance(error.error, requests.RequestException):  # before anything was sent: the URL is invalid
            raise self._out_of_reach(OutboundError(Trouble.NO_URL, str(error.error))) from None
        if self._account.kind is Kind.DEVELOPER_TOKEN:
            message = (
                "Box does not accept the developer token: it lasts an hour. Make a new one in the developer console "
                "and set BOX_DEVELOPER_TOKEN; or set BOX_CLIENT_ID and BOX_CLIENT_SECRET, which last."
            )
            raise BoxError(message, status=401) from None
        if self._account.kind is Kind.SANDBOX:
            # The SDK does not tell which of them it was.
            message = (
                "The sandbox responded with 401. It was asked to (signalbox sandbox refuse); or it takes listed tokens "
                "only (--token), then set BOX_DEVELOPER_TOKEN to one of them; or the token's session is over."
            )
            raise BoxError(message, status=401) from None
        raise BoxError(f"Box's SDK gave up: {plain(error.message)}") from None

    def _out_of_reach(self, error: OutboundError) -> BoxError:
        why, url = str(error).rstrip("."), self._account.api_url
        is_sandbox = self._account.kind is Kind.SANDBOX
        if error.trouble not in (Trouble.UNREACHED, Trouble.NO_ADDRESS):
            who = "The sandbox" if is_sandbox else "Box"
            return BoxError(f"{who} cannot be called at {url}: {why}. Check BOX_API_URL.")
        if is_sandbox:
            return BoxError(
                f"No sandbox responds at {url} ({why}): signalbox sandbox starts one, and BOX_API_URL has its address. "
                "For Box itself, set its credentials: BOX_CLIENT_ID, or BOX_JWT_CONFIG (docs/registrations.md)."
            )
        return BoxError(f"Box cannot be reached at {url} ({why}). Check BOX_API_URL.")

    def _no_api(self, why: str = "the body of its response has another shape") -> BoxError:
        url = self._account.api_url
        return BoxError(f"What responds at {url} is not Box's API, or has a problem: {why}. Check BOX_API_URL.")


def _whole(webhook: Any) -> Webhook:
    return Webhook(
        id=_id(webhook),
        target=_target(webhook),
        content=Content.of(_text(webhook.address or ""), [_word(trigger) for trigger in webhook.triggers or ()]),
        created_at=webhook.created_at if isinstance(webhook.created_at, datetime) else None,
        created_by=_text(getattr(webhook.created_by, "login", None) or "") or None,
    )


def _marker(found: Any) -> str | None:
    return _text(found) if found else None


def _id(webhook: Any) -> str:
    return _text(webhook.id, most=_LONGEST_ID)


def _target(webhook: Any) -> Target:
    return Target(_word(webhook.target.type), _text(webhook.target.id, most=_LONGEST_ID))


def _word(value: Any) -> str:
    """Return a word of Box's as text: the SDK returns an enum for words that it knows, and a text for others."""
    return _text(getattr(value, "value", value), most=_LONGEST_ID)


def _text(value: Any, *, most: int = _LONGEST_TEXT) -> str:
    """Return a text or a number of Box's as text; ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int) or len(text := str(value)) > most:
        raise ValueError("a value of another shape")
    return text
