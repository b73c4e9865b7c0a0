"""API keys: "lk_<id>_<secret>". The id is public, the secret is random and only its SHA-256 is stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from services.gateway.access.caller import Scope

_KEY = re.compile(r"lk_([0-9a-f]{16})_([0-9a-f]{64})")


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key; never its secret.

    Attributes:
        expire_time: When it stops working, set by rotating it; None if it does not.
        revoke_time: When somebody ended it; None if nobody did.
        successor: Id of the key that took its place, or "".
    """

    id: str
    tenant_id: str
    scope: Scope
    display_name: str
    create_time: datetime
    expire_time: datetime | None = None
    revoke_time: datetime | None = None
    successor: str = ""


@dataclass(frozen=True)
class NewKey:
    """A key as it is made. `text` is what its owner sends, and is shown once."""

    id: str
    text: str
    secret_hash: bytes

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r})"


@dataclass(frozen=True)
class PresentedKey:
    """A key as a caller sent it."""

    id: str
    secret_hash: bytes

    def matches(self, stored_hash: bytes) -> bool:
        """Whether the secret is the one that was stored, in constant time."""
        return hmac.compare_digest(self.secret_hash, stored_hash)


def new_key() -> NewKey:
    """A random key."""
    id_, secret = secrets.token_hex(8), secrets.token_hex(32)
    return NewKey(id_, f"lk_{id_}_{secret}", _hash(secret))


def read_key(text: str) -> PresentedKey | None:
    """The key in a text; None if it has not the form of one."""
    match = _KEY.fullmatch(text)
    return PresentedKey(match[1], _hash(match[2])) if match else None


def _hash(secret: str) -> bytes:
    # 256 random bits cannot be guessed: a slow hash, as passwords need it, would only cost every call time.
    return hashlib.sha256(secret.encode()).digest()
