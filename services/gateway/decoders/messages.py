"""What goes between the gateway and a worker: a picture's bytes there, what they show back.

A worker has handled bytes that nobody vouches for, so its answers are bounded and checked like any other input.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import asdict, dataclass

from services.common.errors import Reason
from services.common.images import MAX_PIXELS

READY = b"ready"
"""A worker's first message."""
MAX_ANSWER_BYTES = 4096
_LENGTH = struct.Struct(">Q")


@dataclass(frozen=True)
class Facts:
    """What a decoded picture is."""

    pixel_hash: str
    media_type: str
    width_pixels: int
    height_pixels: int


@dataclass(frozen=True)
class Refusal:
    """Why a picture cannot be taken, as in ImageError."""

    reason: Reason
    problem: str
    allowed: str


def send(connection: socket.socket, data: bytes) -> None:
    """Sends one message. Raises OSError."""
    connection.sendall(_LENGTH.pack(len(data)))
    connection.sendall(data)


def receive(connection: socket.socket, most: int) -> bytearray:
    """One message. Raises EOFError if the other side is gone, ValueError for one over `most` bytes, OSError."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > most:
        raise ValueError(f"a message of {length} bytes")
    return _exactly(connection, length)


def to_bytes(answer: Facts | Refusal) -> bytes:
    """An answer as JSON."""
    return json.dumps(asdict(answer)).encode()


def from_bytes(data: bytes | bytearray) -> Facts | Refusal:
    """An answer from JSON. Raises ValueError for anything else than one."""
    match json.loads(data):
        case {"pixel_hash": str(pixels), "media_type": str(media), "width_pixels": int(w), "height_pixels": int(h)}:
            if 0 < w * h <= MAX_PIXELS:
                return Facts(pixels, media, w, h)
        case {"reason": str(reason), "problem": str(problem), "allowed": str(allowed)}:
            return Refusal(Reason(reason), problem, allowed)
    raise ValueError("no answer of a worker")


def _exactly(connection: socket.socket, size: int) -> bytearray:
    found = bytearray(size)
    view = memoryview(found)
    while view:
        read = connection.recv_into(view)
        if not read:
            raise EOFError("the other side is gone")
        view = view[read:]
    return found
