"""A person's new head, guarded: it is used only where it agrees with rankings that it has not seen.

Every target is held out in turn, or a fifth of them where there are more than five, and its pictures are ordered by a
head learned from the others. Whichever of this, the parent and LPIPS agrees most with the held-out rankings by
ICC(2,k) is used; a tie goes to the new head, then to the parent. With one target there is nothing to hold out: the new
head is used, learned under the stronger prior (CLOSE_DEVIATION in `convex`), which keeps it close to the parent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from services.common.heads import Distances, Head
from services.scorer.clpips.alignment import agreement_of, scores_by
from services.scorer.clpips.convex import fit_convex, tells_apart
from services.scorer.clpips.rankings import RankedSet, folds_by_target, targets_of

MAX_FOLDS = 5
"""Bounds the time of a fit: each fold is a fit of its own."""


class Decision(StrEnum):
    """Which head to use."""

    FITTED = "fitted"
    FITTED_UNCHECKED = "fitted-unchecked"
    """Learned from one target, so nothing could be held out."""
    PARENT = "parent"
    LPIPS = "lpips"


@dataclass(frozen=True)
class HeldOut:
    """ICC(2,k) of three heads with the held-out rankings."""

    fitted: float
    parent: float
    lpips: float
    targets: int
    scores: tuple[Distances, ...] = field(repr=False, compare=False)
    """Distances of every set by a head that was learned without its target; for `alignment.report`."""


@dataclass(frozen=True)
class FitOutcome:
    """What to use from now on, and why."""

    head: Head
    decision: Decision
    held_out: HeldOut | None
    """None with one target."""
    explanation: str
    """One sentence for people."""


def fit_profile(parent: Head, sets: Sequence[RankedSet], *, lpips: Head, tastes: Sequence[Head] = ()) -> FitOutcome:
    """Learns from all rankings of a person and decides whether to use the result.

    Args:
        parent: Head to start from and to fall back to: a crowd's, or LPIPS's.
        sets: All rankings of the person. Neither the parent nor the tastes should have been learned from them, or they
            seem better than they are.
        lpips: Head of the published weights.
        tastes: Other people's heads.

    Raises:
        InvalidInputError: as `fit_convex`.
    """
    fitted = fit_convex(parent, sets, tastes)
    targets = len(targets_of(sets))
    if targets < 2:
        explanation = "learned from one target, close to its parent; rank another one to have it checked"
        return FitOutcome(fitted, Decision.FITTED_UNCHECKED, None, explanation)
    scores = held_out_scores(parent, sets, tastes)
    held_out = HeldOut(
        fitted=agreement_of(sets, scores),
        parent=agreement_of(sets, scores_by(parent, sets)),
        lpips=agreement_of(sets, scores_by(lpips, sets)),
        targets=targets,
        scores=tuple(scores),
    )
    measured = {
        "held_out_icc2k": held_out.fitted,
        "held_out_parent_icc2k": held_out.parent,
        "held_out_lpips_icc2k": held_out.lpips,
    }
    fitted = replace(fitted, metrics={**fitted.metrics, **measured})
    best = max(held_out.fitted, held_out.parent, held_out.lpips)
    figures = (
        f"on {targets} held-out targets the agreement ICC(2,k) is {held_out.fitted:.3f} when learned, "
        f"{held_out.parent:.3f} for the parent and {held_out.lpips:.3f} for LPIPS"
    )
    if held_out.fitted == best:
        return FitOutcome(fitted, Decision.FITTED, held_out, f"learned: {figures}")
    if held_out.parent == best:
        return FitOutcome(parent, Decision.PARENT, held_out, f"kept the parent: {figures}")
    return FitOutcome(lpips, Decision.LPIPS, held_out, f"went back to LPIPS: {figures}")


def held_out_scores(parent: Head, sets: Sequence[RankedSet], tastes: Sequence[Head] = ()) -> list[Distances]:
    """Distances of every set by a head that was learned without its target.

    Where nothing can be learned from the other targets, because their pictures are all alike, this head is the parent.

    Raises:
        InvalidInputError: as `fit_convex`.
    """
    scores: dict[int, Distances] = {}
    for learn, hold in folds_by_target(sets, MAX_FOLDS):
        others = [sets[index] for index in learn]
        head = fit_convex(parent, others, tastes) if tells_apart(parent, others) else parent
        scores.update(zip(hold, scores_by(head, [sets[index] for index in hold]), strict=True))
    return [scores[index] for index in range(len(sets))]
