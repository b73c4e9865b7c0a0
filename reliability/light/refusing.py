"""How a light backend refuses: the error tree as a status with one line of JSON, as the real ones behind Serve."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from services.common.errors import LikenessError
from services.common.grpc_errors import code_of, to_detail


@asynccontextmanager
async def refusing(context: Any) -> AsyncIterator[None]:
    """Ends the call with the status of an error of the tree."""
    try:
        yield
    except LikenessError as error:
        await context.abort(code_of(error), to_detail(error))
