"""What a metric says of a picture, and why an item has no result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ItemError:
    """Why one item failed; `reason` is a value of services.common.errors.Reason."""

    reason: str
    message: str
    field: str = ""


@dataclass(frozen=True)
class Score:
    """One metric's value; `normalized` is 0..1 with 1 best; on `error` both values are 0.

    `cells` are normalized values in a square grid over the target, empty if the metric has none. `text_truncated` says
    that the metric left the end of the text out.
    """

    metric: str
    revision: str
    raw: float
    normalized: float
    higher_is_better: bool
    minimum: float | None = None
    maximum: float | None = None
    error: ItemError | None = None
    cells: tuple[float, ...] = ()
    text_truncated: bool = False
