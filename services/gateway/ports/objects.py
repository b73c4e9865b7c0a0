"""The store of pictures and files."""

from __future__ import annotations

from typing import Protocol


class ObjectStore(Protocol):
    """Bytes by SHA-256."""

    async def put(self, data: bytes) -> str:
        """Stores bytes durably (idempotent) and returns their content hash."""
        ...

    async def get(self, content_hash: str) -> bytes:
        """Bytes of a hash; NotFoundError(IMAGE_NOT_FOUND) if absent."""
        ...

    async def delete(self, content_hash: str) -> None:
        """Removes bytes; absent is fine."""
        ...

    async def check(self) -> None:
        """Raises UnavailableError(OBJECT_STORE_UNAVAILABLE) if it cannot be written to."""
        ...
