"""Rankings of people: which pictures made for a target are more like it.

A place says how similar: 1 (or whatever is smallest) is most similar, equal places are ties. Only the order of places
counts. A pair of pictures on different places is a training pair; tied pictures say nothing about each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidInputError
from services.common.heads import Backbone, Differences
from services.common.statistics import average_ranks

TRAIN_SHARE = 0.7
"""The paper's split."""


@dataclass(frozen=True, eq=False)
class RankedSet:
    """One person's order of the pictures of one target."""

    target: str
    """Id of the target picture; sets of one target are never split."""
    differences: Differences
    """v [pictures, channels] between the target and each picture."""
    places: tuple[float, ...]

    def __post_init__(self) -> None:
        shape = self.differences.shape
        if len(shape) != 2 or shape[0] < 2:
            raise InvalidInputError("differences", f"have the shape {shape}", allowed="[at least 2 pictures, channels]")
        # The sum is finite only if every value is, and it allocates nothing.
        if not np.isfinite(self.differences.sum(dtype=np.float64)) or self.differences.min() < 0:
            raise InvalidInputError(
                "differences", "hold a value below 0 or not finite", allowed="finite numbers from 0"
            )
        if len(self.places) != shape[0]:
            raise InvalidInputError("places", f"are {len(self.places)}", allowed=f"{shape[0]}, one for each picture")
        if not np.isfinite(self.places).all() or len(set(self.places)) < 2:
            raise InvalidInputError("places", "are not finite or all tied", allowed="at least two different places")

    @property
    def ranks(self) -> NDArray[np.float64]:
        """Places as ranks from 1, most similar first, ties averaged."""
        return average_ranks(self.places)


@dataclass(frozen=True)
class Pairs:
    """Training pairs, as rows of the pictures of all sets one after another."""

    better: NDArray[np.int64]
    worse: NDArray[np.int64]
    shares: NDArray[np.float64]
    """What a pair counts: 2 / n in a set of n, so that all pairs of a set together count as n - 1 comparisons, the
    number that orders n pictures, and not as n (n - 1) / 2 independent ones."""


def pairs_of(sets: Sequence[RankedSet]) -> Pairs:
    """Every pair of pictures of one set on different places."""
    better, worse, shares, start = [], [], [], 0
    for ranked in sets:
        places = np.asarray(ranked.places)
        above, below = np.nonzero(places[:, None] < places[None, :])
        better.append(above + start)
        worse.append(below + start)
        shares.append(np.full(len(above), 2.0 / len(places)))
        start += len(places)
    return Pairs(np.concatenate(better), np.concatenate(worse), np.concatenate(shares))


def check_sets(sets: Sequence[RankedSet], backbone: Backbone) -> None:
    """Refuses to go on without rankings of one backbone.

    Raises:
        InvalidInputError: no sets, or one of another backbone.
    """
    if not sets:
        raise InvalidInputError("sets", "are empty", allowed="at least 1 ranking")
    for ranked in sets:
        if ranked.differences.shape[1] != backbone.channels:
            problem = f"hold vectors of {ranked.differences.shape[1]} channels"
            raise InvalidInputError("sets", problem, allowed=f"{backbone.channels} channels of {backbone.metric}")


def targets_of(sets: Sequence[RankedSet]) -> list[str]:
    """Target ids in the order of their first ranking."""
    return list(dict.fromkeys(ranked.target for ranked in sets))


def split_by_target(
    sets: Sequence[RankedSet], *, share: float = TRAIN_SHARE, seed: int = 0
) -> tuple[list[RankedSet], list[RankedSet]]:
    """Two parts without a common target, the first with `share` of the targets; the seed decides which.

    The split depends on the target ids and the seed, not on the order of the sets.

    Raises:
        InvalidInputError: fewer than two targets.
    """
    targets = sorted(targets_of(sets))
    if len(targets) < 2:
        raise InvalidInputError("sets", f"are of {len(targets)} target", allowed="at least 2 targets to split")
    count = min(max(round(share * len(targets)), 1), len(targets) - 1)
    order = np.random.default_rng(seed).permutation(len(targets))
    first = {targets[index] for index in order[:count]}
    return [x for x in sets if x.target in first], [x for x in sets if x.target not in first]


def folds_by_target(sets: Sequence[RankedSet], most: int) -> list[tuple[list[int], list[int]]]:
    """Positions of the sets to learn from and to hold out: one target a fold, or `most` folds of several."""
    targets = targets_of(sets)
    count = min(most, len(targets))
    fold_of = {target: index % count for index, target in enumerate(targets)}
    return [
        (
            [index for index, ranked in enumerate(sets) if fold_of[ranked.target] != fold],
            [index for index, ranked in enumerate(sets) if fold_of[ranked.target] == fold],
        )
        for fold in range(count)
    ]
