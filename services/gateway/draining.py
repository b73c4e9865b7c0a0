"""What a gateway that goes away tells callers."""

from __future__ import annotations

from services.common.errors import Reason, UnavailableError


def going_away() -> UnavailableError:
    """The error for calls that this gateway takes no more."""
    message = "this gateway is shutting down; try again and another one answers, a watch from its last cursor"
    return UnavailableError(Reason.BACKEND_UNAVAILABLE, message, retry_after_seconds=1.0)
