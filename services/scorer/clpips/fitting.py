"""A person's new head, guarded: it is left where it agrees clearly less with rankings that it has not seen.

Every target is held out in turn, or a fifth of them where there are more than five, and its pictures are ordered by a
head learned from the others. The new head is used unless its agreement ICC(2,k) with the held-out rankings is worse
than the parent's or LPIPS's beyond what the choice of targets explains (paired bootstrap over targets, 95 %), or worse
and not above 0; then whichever of these two agrees more is used, and a tie goes to the parent. Whoever agrees most
with two or five targets is mostly chance: taking that one, whatever the distance, costs simulated raters some of what
five rankings gain, and leaves more of them with a head worse than LPIPS (docs/benchmarks.md). With one target there is
nothing to hold out: the new head is used, learned under the stronger prior (CLOSE_DEVIATION in `convex`), which keeps
it close to the parent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from services.common.heads import Distances, Head
from services.scorer.clpips.alignment import agreement_of, clearly_worse, scores_by
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
    scores, by_parent, by_lpips = held_out_scores(parent, sets, tastes), scores_by(parent, sets), scores_by(lpips, sets)
    held_out = HeldOut(
        fitted=agreement_of(sets, scores),
        parent=agreement_of(sets, by_parent),
        lpips=agreement_of(sets, by_lpips),
        targets=targets,
        scores=tuple(scores),
    )
    measured = {
        "held_out_icc2k": held_out.fitted,
        "held_out_parent_icc2k": held_out.parent,
        "held_out_lpips_icc2k": held_out.lpips,
    }
    fitted = replace(fitted, metrics={**fitted.metrics, **measured})
    best = max(held_out.parent, held_out.lpips)
    figures = (
        f"on {targets} held-out targets the agreement ICC(2,k) is {held_out.fitted:.3f} when learned, "
        f"{held_out.parent:.3f} for the parent and {held_out.lpips:.3f} for LPIPS"
    )
    # At 0 or below it agrees with nothing that it has not seen.
    usable = held_out.fitted >= best or held_out.fitted > 0
    if usable and not any(clearly_worse(sets, scores, others) for others in (by_parent, by_lpips)):
        by_chance = ", a difference that chance explains" if held_out.fitted < best else ""
        return FitOutcome(fitted, Decision.FITTED, held_out, f"learned: {figures}{by_chance}")
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
