"""One row of a manifest, as fields by name -> an item, or an item that failed.

Rows say what they are in the fields of EvaluationItem. A picture is its bytes or a content hash. An address is neither:
nothing is ever fetched.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.common.errors import ImageError, InvalidInputError, Reason
from services.common.images import MAX_BYTES
from services.gateway.domain import ItemError
from services.gateway.evaluations.model import EvaluationItem, EvaluationItemError, ItemResult, Prompts
from services.gateway.loops.text import storable
from services.gateway.profiles.model import PictureInput
from services.gateway.sessions import validation

FIELDS = ("item_id", "group", "system", "target", "image", "text", "prompt", "prompts", "seed")
MAX_SEED = 2**64 - 1

_PICTURE = 'a content hash, {"content_hash": ...}, or {"data": base64}'
_MAX_ERROR_CHARACTERS = 500


@dataclass(frozen=True)
class Row:
    """A row as it stands in the file.

    Attributes:
        place: Where, for people: "line 3".
        digest: SHA-256 of what the file says.
        size_bytes: How much that is.
        read: Reads the fields; InvalidInputError if they cannot be read.
    """

    place: str
    digest: bytes
    size_bytes: int
    read: Callable[[], Mapping[str, Any]]


def unreadable(problem: str, allowed: str) -> InvalidInputError:
    """The manifest as a whole cannot be read."""
    return InvalidInputError("manifest", problem, allowed=allowed, reason=Reason.MANIFEST_UNREADABLE)


def to_item(row: Row, offset: int) -> EvaluationItem | ItemResult:
    """The item of a row; where the row is wrong, the item that failed because of it."""
    fields: Mapping[str, Any] = {}
    try:
        fields = {name: value for name, value in row.read().items() if value is not None}
        return _item(row, offset, fields)
    except InvalidInputError as error:
        message = f"{row.place}: {error.message}"[:_MAX_ERROR_CHARACTERS]
        why = storable(ItemError(error.reason.value, message, error.field))
        item_id, group, system = (_known(fields, name) for name in ("item_id", "group", "system"))
        return ItemResult(offset, item_id, group, system, row.digest, error=EvaluationItemError(error.code, why))


def picture(field: str, value: object) -> PictureInput:
    """A picture as a row names it: bytes, a content hash, or an object with one of the two.

    Raises:
        InvalidInputError: it is none of these, or too large.
    """
    match value:
        case bytes():
            return _given(field, value)
        case str():
            return _named(field, value)
        case {"content_hash": str(content_hash), **rest} if not _present(rest):
            return _named(f"{field}.content_hash", content_hash)
        case {"data": str(data), **rest} if not _present(rest):
            return _given(f"{field}.data", _from_base64(f"{field}.data", data))
        # As Hugging Face stores pictures in Parquet; the path is where they once came from.
        case {"bytes": bytes(data), **rest} if rest.keys() <= {"path"}:
            return _given(f"{field}.bytes", data)
        case _:
            raise InvalidInputError(field, "is no picture", allowed=_PICTURE)


def _item(row: Row, offset: int, fields: Mapping[str, Any]) -> EvaluationItem:
    unknown = next((name for name in fields if name not in FIELDS), None)
    if unknown is not None:
        raise InvalidInputError(str(unknown)[:100], "is no field of an item", allowed=", ".join(FIELDS))
    target, image = fields.get("target"), fields.get("image")
    prompts = _prompts(fields)
    if image is not None and prompts is not None:
        raise InvalidInputError("image", "comes together with prompts", allowed="one of the two")
    return EvaluationItem(
        offset=offset,
        item_id=_text(fields, "item_id"),
        digest=row.digest,
        size_bytes=row.size_bytes,
        group=_text(fields, "group"),
        system=_text(fields, "system"),
        target=None if target is None else picture("target", target),
        text=_text(fields, "text"),
        subject=prompts if image is None else picture("image", image),
    )


def _prompts(fields: Mapping[str, Any]) -> Prompts | None:
    seed = fields.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED):
        raise InvalidInputError("seed", f"is {str(seed)[:40]}", allowed=f"a whole number, 0 to {MAX_SEED}")
    if "prompt" in fields:
        if "prompts" in fields:
            raise InvalidInputError("prompt", "comes together with prompts", allowed="one of the two")
        return Prompts((_text(fields, "prompt"),), seed)
    prompts = fields.get("prompts")
    if prompts is None:
        if seed is not None:
            raise InvalidInputError("seed", "comes without prompts", allowed="an item with prompts")
        return None
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise InvalidInputError("prompts", "is no list of texts", allowed="a list of texts")
    return Prompts(tuple(prompts), seed)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise InvalidInputError(name, f"is {str(value)[:40]}, no text", allowed="a text")
    return value


def _known(fields: Mapping[str, Any], name: str) -> str:
    """A name as far as a failed item may carry it."""
    value = fields.get(name, "")
    return value[: validation.MAX_DISPLAY_NAME_CHARACTERS].replace("\x00", "") if isinstance(value, str) else ""


def _given(field: str, data: bytes) -> PictureInput:
    if len(data) > MAX_BYTES:
        problem, allowed = f"the file has {len(data):,} bytes", f"at most {MAX_BYTES:,} bytes"
        raise ImageError(Reason.IMAGE_TOO_LARGE, problem, field=field, allowed=allowed)
    return PictureInput(data)


def _named(field: str, content_hash: str) -> PictureInput:
    if "://" in content_hash:
        raise InvalidInputError(field, "is an address, and nothing is fetched from addresses", allowed=_PICTURE)
    return PictureInput(None, validation.content_hash(field, content_hash))


def _from_base64(field: str, data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError(field, "is not base64", allowed="base64 with padding") from None


def _present(fields: Mapping[Any, Any]) -> bool:
    return any(value is not None for value in fields.values())
