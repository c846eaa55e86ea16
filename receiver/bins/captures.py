"""The captures: listed, followed, and read in full, with the fields and files of their forms."""

import base64
import io
import re
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any
from urllib.parse import parse_qsl

import sqlalchemy as sa
from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from receiver.bins.store import LIMIT, Item, ItemPage, place, show_bin
from receiver.errors import NotFoundError
from receiver.events import Headers
from receiver.humanize import iso
from receiver.storage import db
from receiver.storage.tables import captures

_ID = re.compile(r"[0-9A-Z]{26}", re.ASCII)
_MOST_FIELDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it was received.

    `path` is what follows the bin's address, "" or with its slash; it and `query` are as they were sent, in ASCII. A
    request that was `refused_with` a status has only the beginning of its body (`is_cut`); `announced` is the length
    that it announced, None if it did not.
    """

    method: str
    path: str
    query: str
    client: str
    headers: Headers
    body: bytes
    is_cut: bool = False
    announced: int | None = None
    refused_with: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """A recorded request, complete and unmasked: for forwarding it, never for a page."""

    id: str
    bin: str
    number: int
    captured_at: datetime
    request: Request


def list_captures(engine: sa.Engine, name: str, *, limit: int = LIMIT, cursor: str | None = None) -> ItemPage:
    """Return the captures of a bin, newest first; NotFoundError if the bin does not exist."""
    show_bin(engine, name)
    wanted = sa.select(*_LINE).where(captures.c.bin == name)
    if cursor is not None:
        wanted = wanted.where(captures.c.number < place(cursor))
    with db.reading(engine) as connection:
        rows = connection.execute(wanted.order_by(captures.c.number.desc()).limit(limit + 1)).all()
    following = str(rows[limit - 1].number) if len(rows) > limit else None
    return {"items": [_line(row) for row in rows[:limit]], "next": following}


def captures_after(engine: sa.Engine, name: str, number: int, *, limit: int = LIMIT) -> list[Item]:
    """Return the captures of a bin above a number, oldest first."""
    wanted = sa.select(*_LINE).where(captures.c.bin == name, captures.c.number > number)
    with db.reading(engine) as connection:
        return [_line(row) for row in connection.execute(wanted.order_by(captures.c.number).limit(limit))]


def show_capture(engine: sa.Engine, name: str, capture_id: str, *, in_clear: bool = False) -> Item:
    """Return a capture for people: credentials masked unless `in_clear`, body, form, files; `last` is the newest."""
    row = _find(engine, name, capture_id)
    headers = Headers.from_bytes(row.headers)
    fields, files = read_form(headers, row.body)
    return _line(row) | {
        "query_fields": read_fields(row.query),
        "headers": [list(pair) for pair in (headers.pairs if in_clear else headers.redacted())],
        "body_base64": base64.b64encode(row.body).decode("ascii"),
        "form": fields,
        "files": files,
    }


def read_capture(engine: sa.Engine, name: str, capture_id: str) -> Capture:
    """Return one capture as it was received; its id is as in `show_capture`."""
    row = _find(engine, name, capture_id)
    return Capture(
        id=row.id,
        bin=row.bin,
        number=row.number,
        captured_at=row.captured_at,
        request=Request(
            method=row.method,
            path=row.path,
            query=row.query,
            client=row.client,
            headers=Headers.from_bytes(row.headers),
            body=row.body,
            is_cut=row.is_cut,
            announced=row.announced,
        ),
    )


def read_fields(written: str) -> list[list[str]]:
    """Return the fields of a query or an urlencoded form; an empty list if there are too many."""
    try:
        return [list(pair) for pair in parse_qsl(written, keep_blank_values=True, max_num_fields=_MOST_FIELDS)]
    except ValueError:
        return []


def read_form(headers: Headers, body: bytes) -> tuple[list[list[str]], list[Item]]:
    """Return the fields of a form, and its files with their own metadata; empty lists if it is not a form."""
    mimetype, options = parse_options_header(headers.get("Content-Type"))
    if mimetype == "application/x-www-form-urlencoded":
        return read_fields(body.decode("utf-8", "replace")), []
    try:
        parser = FormDataParser(
            stream_factory=_in_memory,
            max_form_parts=_MOST_FIELDS,
            max_form_memory_size=len(body) + 1,
        )
        _, form, files = parser.parse(io.BytesIO(body), mimetype, len(body), options)
    except (HTTPException, ValueError):
        return [], []
    fields = [[name, value] for name, value in form.items(multi=True)]
    return fields, [
        {
            "name": name,
            "filename": file.filename or "",
            "content_type": file.content_type or "",
            "bytes": len(file.read()),
        }
        for name, file in files.items(multi=True)
    ]


def _in_memory(
    total_content_length: int | None,
    content_type: str | None,
    filename: str | None,
    content_length: int | None = None,
) -> IO[bytes]:
    return io.BytesIO()


_LINE = [column for column in captures.c if column.name not in ("seq", "headers", "body")]


def _find(engine: sa.Engine, name: str, capture_id: str) -> sa.Row[Any]:
    show_bin(engine, name)
    wanted = sa.select(captures).where(captures.c.bin == name).order_by(captures.c.number.desc()).limit(1)
    if capture_id != "last":
        given = capture_id.upper() if _ID.fullmatch(capture_id.upper()) else ""
        wanted = wanted.where(captures.c.id == given)
    with db.reading(engine) as connection:
        row = connection.execute(wanted).first()
    if row is None:
        raise NotFoundError(
            f"there is no such capture in the bin {name}: it may have been deleted to make room for newer ones"
        )
    return row


def _line(row: sa.Row[Any]) -> Item:
    return {
        "id": row.id,
        "bin": row.bin,
        "number": row.number,
        "captured_at": iso(row.captured_at),
        "method": row.method,
        "path": row.path,
        "query": row.query,
        "client": row.client,
        "answered": row.answered,
        "body_bytes": row.size,
        "is_cut": row.is_cut,
        "announced_bytes": row.announced,
    }
