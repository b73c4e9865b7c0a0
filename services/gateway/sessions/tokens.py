"""Opaque strings that callers give back: cursors of a session's log and tokens of pages."""

from __future__ import annotations

import base64
import binascii
import zlib
from datetime import UTC, datetime, timedelta

from services.common.errors import InvalidInputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def encode_cursor(session_id: str, sequence: int) -> str:
    """Cursor after the event with this sequence; 0 is the beginning."""
    return _encode(f"c1:{session_id}:{sequence}")


def decode_cursor(session_id: str, cursor: str) -> int:
    """Sequence of a cursor; "" is the beginning.

    Raises:
        InvalidInputError: after_cursor is no cursor, or another session's.
    """
    if not cursor:
        return 0
    parts = _decode(cursor).split(":")
    if len(parts) != 3 or parts[0] != "c1" or not parts[2].isdecimal() or len(parts[2]) > 18:
        raise InvalidInputError("after_cursor", "is not a cursor", allowed="a cursor of an event of this session")
    if parts[1] != session_id:
        raise InvalidInputError("after_cursor", "belongs to another session", allowed="a cursor of this session")
    return int(parts[2])


def encode_page_token(create_time: datetime, session_id: str) -> str:
    """Token of the page after this session."""
    return _encode(f"p1:{(create_time - _EPOCH) // _MICROSECOND}:{session_id}")


def decode_page_token(token: str) -> tuple[datetime, str] | None:
    """Create time and id of the last session of the page before; None for the first page.

    Raises:
        InvalidInputError: page_token is no token.
    """
    if not token:
        return None
    parts = _decode(token).split(":")
    if len(parts) != 3 or parts[0] != "p1" or not parts[1].isdecimal() or len(parts[1]) > 17:
        raise InvalidInputError("page_token", "is not a page token", allowed="next_page_token of the page before")
    return _EPOCH + int(parts[1]) * _MICROSECOND, parts[2]


def _encode(text: str) -> str:
    # The checksum tells a token cut short or mistyped from one of ours; it is no protection, and need not be.
    data = text.encode() + zlib.crc32(text.encode()).to_bytes(4, "big")
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(token: str) -> str:
    try:
        data = base64.b64decode(token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        text = data[:-4].decode()
    except (binascii.Error, UnicodeError):
        return ""
    # Compared as spelled: base64 has several spellings for the same bytes.
    return text if text.isascii() and _encode(text) == token else ""
