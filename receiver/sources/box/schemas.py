"""What the body of each Box trigger looks like, as far as anybody knows; a payload that differs is drift.

Read 2026-11 from https://developer.box.com/guides/webhooks/triggers/ (names), https://developer.box.com/reference/
(the resources in `source`) and from bodies that people have published. Box leaves fields out at will (a trashed file
is told as `id` and `type`), so only what identity and handlers lean on is required; but what comes has to be of the
known type, and a field that nobody has seen is drift. Where no body was ever published, unknown fields are let pass.
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE, Schema, fields, validate

from receiver.sources.schemas import Flag, ObjectOrEmptyList, Strict, Time, Whole


def _nullable_text() -> fields.String:
    return fields.String(allow_none=True)


def _nullable_time() -> Time:
    return Time(allow_none=True)


def _object(schema: type[Schema], **options: Any) -> fields.Nested:
    return fields.Nested(schema, **options)


class Webhook(Strict):
    id = fields.String(required=True)
    type = fields.String(validate=validate.Equal("webhook"))


class Reference(Strict):
    id = fields.String(required=True)
    type = fields.String(required=True)


class User(Strict):
    type = fields.String()
    id = _nullable_text()
    name = _nullable_text()
    login = _nullable_text()


class FileVersion(Strict):
    type = fields.String()
    id = fields.String()
    sha1 = fields.String()


class ItemMini(Strict):
    """A file or folder named from elsewhere; the root folder has no `sequence_id` and no `etag`."""

    type = fields.String(required=True)
    id = fields.String(required=True)
    sequence_id = _nullable_text()
    etag = _nullable_text()
    sha1 = fields.String()
    name = fields.String()
    file_version = _object(FileVersion, allow_none=True)


class PathCollection(Strict):
    total_count = Whole()
    entries = fields.List(_object(ItemMini))


class Permissions(Strict):
    can_preview = Flag()
    can_download = Flag()
    can_edit = Flag()


class SharedLink(Strict):
    url = fields.String()
    download_url = _nullable_text()
    vanity_url = _nullable_text()
    vanity_name = _nullable_text()
    access = _nullable_text()
    effective_access = fields.String()
    effective_permission = fields.String()
    permissions = _object(Permissions)
    is_password_enabled = Flag()
    unshared_at = _nullable_time()
    download_count = Whole()
    preview_count = Whole()


class Item(Reference):
    """What files and folders share."""

    sequence_id = _nullable_text()
    etag = _nullable_text()
    name = fields.String()
    description = _nullable_text()
    size = Whole()
    path_collection = _object(PathCollection)
    created_at = _nullable_time()
    modified_at = _nullable_time()
    trashed_at = _nullable_time()
    purged_at = _nullable_time()
    content_created_at = _nullable_time()
    content_modified_at = _nullable_time()
    created_by = _object(User, allow_none=True)
    modified_by = _object(User, allow_none=True)
    owned_by = _object(User, allow_none=True)
    shared_link = _object(SharedLink, allow_none=True)
    parent = _object(ItemMini, allow_none=True)
    item_status = fields.String()


class File(Item):
    type = fields.String(required=True, validate=validate.Equal("file"))
    sha1 = fields.String()
    file_version = _object(FileVersion, allow_none=True)


class Folder(Item):
    type = fields.String(required=True, validate=validate.Equal("folder"))
    folder_upload_email = fields.Raw(allow_none=True)  # null in every published body; an object in the API


class Comment(Reference):
    is_reply_comment = Flag()
    message = fields.String()
    created_by = _object(User, allow_none=True)
    created_at = Time()
    modified_at = _nullable_time()
    item = _object(ItemMini, allow_none=True)


class TaskAssignment(Reference):
    """From the API's reference: no body of these triggers was ever published."""

    class Meta:
        unknown = INCLUDE

    item = _object(ItemMini, allow_none=True, unknown=INCLUDE)
    assigned_to = _object(User, allow_none=True, unknown=INCLUDE)
    assigned_by = _object(User, allow_none=True, unknown=INCLUDE)
    message = _nullable_text()
    completed_at = _nullable_time()
    assigned_at = _nullable_time()
    reminded_at = _nullable_time()
    resolution_state = _nullable_text()


class SharedLinkSource(SharedLink):
    """From other people's field lists: no body of these triggers was ever published, nor was an `id` seen."""

    class Meta:
        unknown = INCLUDE

    type = fields.String(required=True)
    item = _object(ItemMini, allow_none=True, unknown=INCLUDE)


class Collaboration(Reference):
    """From other people's code: no body was ever published. A pending invitation is accessible by nobody yet."""

    class Meta:
        unknown = INCLUDE

    role = fields.String()
    status = fields.String()
    accessible_by = _object(User, allow_none=True, unknown=INCLUDE)
    item = _object(ItemMini, allow_none=True, unknown=INCLUDE)


class NoInfo(Strict):
    """`additional_info` where nothing was ever seen in it."""


class OldName(Strict):
    old_name = fields.String(required=True)


class Move(Strict):
    before = _object(Reference, required=True)
    after = _object(Reference, required=True)


class SignInfo(Strict):
    sign_request_id = fields.String()
    signer_emails = fields.List(fields.String())
    external_id = _nullable_text()


class OpenInfo(Schema):
    class Meta:
        unknown = INCLUDE


class DeletionInfo(OpenInfo):
    reason = fields.String()


class Envelope(Strict):
    """What Box puts around every source. `type` is missing from the bodies in the SDKs' tests."""

    type = fields.String(validate=validate.Equal("webhook_event"))
    id = fields.String(required=True)
    created_at = Time(required=True)
    trigger = fields.String(required=True)
    webhook = _object(Webhook, required=True)
    created_by = _object(User, allow_none=True)


class NoActiveSession(Schema):
    """Sent "without the full payload" when the token of the webhook's owner has expired; no body was published.

    https://developer.box.com/guides/webhooks/v2/limitations-v2/ (as of 2026)
    """

    class Meta:
        unknown = INCLUDE

    trigger = fields.String(required=True)
    webhook = fields.Dict()
    source = fields.Dict(allow_none=True)


def _event(source: type[Schema], info: type[Schema] = NoInfo) -> Schema:
    parts: dict[str, fields.Field[Any]] = {
        "source": _object(source, required=True),
        "additional_info": ObjectOrEmptyList(info),
    }
    return Envelope.from_dict(parts, name="BoxEvent")()


def _unseen(info: type[Schema] = OpenInfo) -> Schema:
    """Give the schema of an event of which only the envelope is known."""
    parts: dict[str, fields.Field[Any]] = {
        "source": fields.Raw(allow_none=True),
        "additional_info": ObjectOrEmptyList(info, allow_none=True),
    }
    return Envelope.from_dict(parts, name="BoxEvent")()


def _family(name: str, verbs: str, schema: Schema) -> dict[str, Schema]:
    return {f"{name}.{verb}": schema for verb in verbs.split()}


UNKNOWN_TRIGGER = _unseen()

# The verbs of SIGN_REQUEST: the guides write SIGNER_SIGNED, the OpenAPI file SIGN_SIGNER_SIGNED, and so on; a
# changelog of 2024-05-08 has a dot in the family. Which of them is on the wire nobody has shown: all are known.
_SIGN_VERBS = (
    "COMPLETED DECLINED EXPIRED SIGNER_EMAIL_BOUNCED SIGNER_SIGNED SIGNATURE_REQUESTED ERROR_FINALIZING "
    "SIGN_SIGNER_SIGNED SIGN_DOCUMENT_CREATED SIGN_ERROR_FINALIZING"
)

SCHEMAS: Mapping[str, Schema] = {
    **_family("FILE", "UPLOADED PREVIEWED DOWNLOADED TRASHED DELETED RESTORED COPIED LOCKED UNLOCKED", _event(File)),
    "FILE.MOVED": _event(File, Move),
    "FILE.RENAMED": _event(File, OldName),
    **_family("FOLDER", "CREATED DOWNLOADED RESTORED DELETED COPIED TRASHED", _event(Folder)),
    "FOLDER.MOVED": _event(Folder, Move),
    "FOLDER.RENAMED": _event(Folder, OldName),
    **_family("COMMENT", "CREATED UPDATED DELETED", _event(Comment)),
    **_family("COLLABORATION", "CREATED ACCEPTED REJECTED REMOVED UPDATED", _event(Collaboration, OpenInfo)),
    **_family("TASK_ASSIGNMENT", "CREATED UPDATED", _event(TaskAssignment, OpenInfo)),
    **_family("SHARED_LINK", "CREATED UPDATED DELETED", _event(SharedLinkSource, OpenInfo)),
    **_family("SIGN_REQUEST", _SIGN_VERBS, _event(File, SignInfo)),
    "SIGN.REQUEST.SIGNER_SIGNED": _event(File, SignInfo),
    **_family("METADATA_INSTANCE", "CREATED UPDATED DELETED", _unseen()),
    # https://developer.box.com/guides/docgen/docgen-getting-started/ (as of 2026) names the facts, not the fields.
    "DOCGEN_DOCUMENT_GENERATION_STARTED": _unseen(),
    "DOCGEN_DOCUMENT_GENERATION_SUCCEEDED": _unseen(),
    "DOCGEN_DOCUMENT_GENERATION_FAILED": _unseen(),
    "WEBHOOK.DELETED": _unseen(DeletionInfo),
    "NO_ACTIVE_SESSION": NoActiveSession(),
}
