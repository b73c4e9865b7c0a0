"""What the end of a loop means for `regenerate`, the same for both clients."""

from __future__ import annotations

from likeness._errors import Cancelled, Internal, LoopFailed
from likeness._events import Event, StateChanged
from likeness._types import Candidate, ImageInfo, Session, SessionState


def is_over(event: Event) -> bool:
    """Whether the event says that the loop has ended, not only been paused."""
    going_on = SessionState.WAITING, SessionState.RUNNING, SessionState.PAUSED
    return isinstance(event.body, StateChanged) and event.body.state not in going_on


def best_of(session: Session) -> Candidate:
    """The best candidate of a session whose loop has ended.

    Raises:
        LoopFailed: The loop failed.
        Cancelled: It was stopped before it had a picture.
    """
    if session.state is SessionState.FAILED:
        error = session.error
        message = error.message if error else "the loop failed"
        raise LoopFailed(
            message, session=session.name, reason=error.reason if error else "", field=error.field if error else ""
        )
    if session.best is None:
        if session.state is SessionState.CANCELLED:
            raise Cancelled(f"{session.name} was cancelled before it had a picture", reason="CANCELLED")
        raise Internal(f"{session.name} ended without a scored picture")
    return session.best


def image_of(candidate: Candidate) -> ImageInfo:
    """The picture of a scored candidate."""
    if candidate.image is None:
        raise Internal(f"candidate {candidate.id} has a score but no picture")
    return candidate.image
