"""What the body of each Filestack action looks like, as far as anybody knows; a payload that differs is drift.

Read 2026-11 from https://www.filestack.com/docs/api/webhooks/, the older https://www.filestack.com/docs/webhooks, and
the bodies in the tests of filestack-js and filestack-python. Filestack leaves fields out at will, so only what
identity and handlers lean on is required; but what comes has to be of the known type, and a field that nobody has
seen is drift. Where no body was ever published, unknown fields are let pass.
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, fields

from receiver.sources.schemas import Flag, Strict, Time, Whole
from receiver.sources.wire import unix_time


def _nullable_text() -> fields.String:
    return fields.String(allow_none=True)


class Open(Schema):
    class Meta:
        unknown = INCLUDE


class UploadData(Strict):
    filename = fields.String()
    type = _nullable_text()
    size = Whole()


class Upload(Strict):
    """A link to somebody's cloud drive has neither `container` nor `key`; filestack-js has a body with `data`."""

    url = fields.String(required=True)
    client = fields.String()
    filename = _nullable_text()
    type = _nullable_text()
    size = Whole(allow_none=True)
    container = _nullable_text()
    key = _nullable_text()
    status = _nullable_text()
    data = fields.Nested(UploadData)


class Link(Strict):
    url = fields.String()
    handle = fields.String()
    filename = _nullable_text()
    mimetype = _nullable_text()
    path = _nullable_text()
    provider = _nullable_text()
    size = Whole(allow_none=True)


class Conversion(Strict):
    """`url` is relative here; `link.provider` is the cloud drive where the original was only linked to."""

    url = fields.String(required=True)
    link = fields.Nested(Link)


class Overwrite(Strict):
    """The media type is `mimetype` here, though `type` in an upload."""

    url = fields.String(required=True)
    mimetype = _nullable_text()
    isWriteable = Flag()  # noqa: N815 - Filestack's spelling
    filename = _nullable_text()
    client = fields.String()
    size = Whole(allow_none=True)


class Deletion(Strict):
    url = fields.String(required=True)


class Export(Open):
    """Known from one old page that lost half of its sample: https://www.filestack.com/docs/box-integration."""

    source = _nullable_text()
    client = _nullable_text()
    filename = _nullable_text()
    created = _nullable_text()


class Dialog(Open):
    """The picker's options of 2015, full of nulls and of booleans written as text; any option may come."""

    id = fields.String()
    dialogType = fields.String()  # noqa: N815 - Filestack's spelling
    mimetypes = fields.List(fields.String(), allow_none=True)
    app = fields.Dict(allow_none=True)


class Workflow(Strict):
    """`jobid` by real receivers, `job` by Filestack's own plugin. `results` holds what the tasks' authors named."""

    workflow = fields.String(required=True)
    jobid = fields.String()
    job = fields.String()
    status = fields.String()
    createdAt = Time()  # noqa: N815 - Filestack's spelling
    updatedAt = Time()  # noqa: N815 - Filestack's spelling
    sources = fields.List(fields.String())
    results = fields.Dict(values=fields.Dict(allow_none=True), allow_none=True)


class Envelope(Strict):
    """What Filestack puts around every `text`. `timestamp` is missing from one of its own samples."""

    id = Whole(required=True)
    action = fields.String(required=True)
    timestamp = Whole()


class Timestamp(fields.Field[object]):
    """Unix seconds: text in the transcoding callback, a number everywhere else."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> object:
        if unix_time(value) is None:
            raise ValidationError("Not a number of seconds since 1970.")
        return value


class Transcoding(Strict):
    """The callback of video and audio transcoding: no `action`, no `id`, no `text`."""

    uuid = fields.String(required=True)
    status = fields.String()
    message = _nullable_text()
    timestamp = Timestamp()
    data = fields.Dict(allow_none=True)
    metadata = fields.Dict(allow_none=True)


def _event(text: type[Schema]) -> Schema:
    parts: dict[str, fields.Field[Any]] = {"text": fields.Nested(text, required=True)}
    return Envelope.from_dict(parts, name="FilestackEvent")()


def _unseen() -> Schema:
    """Give the schema of an event of which only the envelope is known."""
    parts: dict[str, fields.Field[Any]] = {"text": fields.Raw(allow_none=True)}
    return Envelope.from_dict(parts, name="FilestackEvent")()


UNKNOWN_ACTION = _unseen()

SCHEMAS: Mapping[str, Schema] = {
    "fp.upload": _event(Upload),
    "fp.converse": _event(Conversion),
    "fp.conversion": _event(Conversion),  # what people say; no sample of Filestack's has it
    "fp.overwrite": _event(Overwrite),
    "fp.delete": _event(Deletion),
    "fp.export": _event(Export),
    "fp.dialog": _event(Dialog),
    "fs.workflow": _event(Workflow),
    # Named in filestack/filestack-claude-plugin (2026); no body was ever published.
    "fp.scan": _unseen(),
    "fp.video_converse": _unseen(),
    "transcode": Transcoding(),
}
