"""Scores of pictures, and why a single item failed. A score carries its direction and range."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ItemError:
    """Why one item failed while others went on; `reason` is stable, `message` is for people."""

    reason: str
    message: str
    field: str = ""


@dataclass(frozen=True)
class Score:
    """One metric's value for one picture.

    Attributes:
        raw: Value in the metric's own units, between `minimum` and `maximum` where those exist.
        normalized: The same mapped to 0..1, where 1 is best whatever the direction.
        error: Set when this metric failed; both values are then 0.
        cells: Normalized values in a square grid over the target, row by row; empty if the metric has none.
        text_truncated: Whether this metric reads fewer tokens than the text has, so that its end was left out.
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


@dataclass(frozen=True)
class ImageScores:
    """Scores of one candidate, in the order asked for; empty, with an error, if the candidate failed."""

    scores: tuple[Score, ...]
    error: ItemError | None = None
    text_truncated: bool = False
