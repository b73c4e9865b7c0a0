"""JSON lines: one object a line, UTF-8. Blank lines are skipped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, BinaryIO

from services.common.errors import InvalidInputError
from services.common.settings import MAX_MESSAGE_BYTES, MEBIBYTE
from services.gateway.evaluations.manifests.rows import Row

MAX_LINE_BYTES = MAX_MESSAGE_BYTES
"""As large as an item can be that comes over a stream."""


def rows(file: BinaryIO) -> Iterator[Row]:
    """The lines of a file."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        place = f"line {number}"
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            yield Row(place, _skip_line(file, line), len(line), _too_long)
        elif line.strip():
            yield Row(place, hashlib.sha256(line).digest(), len(line), partial(fields, line))


def fields(data: bytes) -> Mapping[str, Any]:
    """The fields of a JSON object; InvalidInputError if the bytes are none."""
    try:
        found = json.loads(data, parse_constant=_no_constant)
        if b"\\u" in data:
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # JSON may say it, but it is no text: nothing could store it.
        raise InvalidInputError("line", "has half of a surrogate pair", allowed="a JSON object in UTF-8") from None
    except UnicodeDecodeError:
        raise InvalidInputError("line", "is not UTF-8", allowed="a JSON object in UTF-8") from None
    except (ValueError, RecursionError) as error:
        problem = f"is not JSON ({str(error)[:80]})"
        raise InvalidInputError("line", problem, allowed="a JSON object") from None
    if not isinstance(found, dict):
        raise InvalidInputError("line", "is JSON, but no object", allowed="a JSON object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _skip_line(file: BinaryIO, start: bytes) -> bytes:
    """Reads on to the next line without keeping what it reads; returns the digest."""
    digest = hashlib.sha256(start)
    while part := file.readline(MEBIBYTE):
        digest.update(part)
        if part.endswith(b"\n"):
            break
    return digest.digest()


def _too_long() -> Mapping[str, Any]:
    raise InvalidInputError("line", "is too long", allowed=f"at most {MAX_LINE_BYTES // MEBIBYTE} MiB")
