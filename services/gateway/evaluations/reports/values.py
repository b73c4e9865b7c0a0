"""One number per item and metric: the mean over the pictures of the item."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ScoreValue:
    """The raw value of a picture by a metric that did not fail."""

    metric: str
    raw: float
    higher_is_better: bool


@dataclass(frozen=True)
class ItemValues:
    """Raw values of an item by metric; a metric that failed, or whose mean is not finite, is missing."""

    item_id: str
    group: str
    system: str
    values: Mapping[str, float]
    lower_is_better: frozenset[str] = frozenset()
    """Metrics among them."""


def item_values(item_id: str, group: str, system: str, scores: Iterable[ScoreValue]) -> ItemValues:
    """Values of an item whose pictures have these scores."""
    found: dict[str, list[float]] = {}
    lower: set[str] = set()
    for score in scores:
        found.setdefault(score.metric, []).append(score.raw)
        if not score.higher_is_better:
            lower.add(score.metric)
    means = {metric: sum(raws) / len(raws) for metric, raws in found.items()}
    finite = {metric: mean for metric, mean in means.items() if math.isfinite(mean)}
    return ItemValues(item_id, group, system, finite, frozenset(lower))
