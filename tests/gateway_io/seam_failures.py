"""What backends at the seam answer instead of their results."""

from __future__ import annotations

from typing import Any

import grpc

from services.common.errors import LikenessError
from services.common.grpc_errors import code_of, to_detail


class Failures:
    """What the next calls of a backend answer instead of their result."""

    def __init__(self) -> None:
        self._next: list[tuple[grpc.StatusCode, str]] = []

    def add(self, code: grpc.StatusCode, details: str, times: int = 1) -> None:
        """Queues a raw status, as a proxy would send it."""
        self._next += [(code, details)] * times

    def add_error(self, error: LikenessError, times: int = 1) -> None:
        """Queues an error as a backend sends it."""
        self.add(code_of(error), to_detail(error), times)

    async def maybe(self, context: Any) -> None:
        """Aborts the call if a failure is queued."""
        if self._next:
            await context.abort(*self._next.pop(0))
