"""Learning a head from few rankings: a convex ranking loss with a prior around a parent's weights.

    minimize over w >= 0:  sum over pairs  share * log(1 + exp(-m(w)))  +  1/2 |(w - parent) / s|^2

m is the margin of a pair, the worse picture's distance less the better one's, in units of the parent's own typical
margin. This is the maximum of the posterior of a logistic choice model under a normal prior, so the strength of the
prior needs no tuning by amount of data: few rankings move the weights little, many move them far. There is one
solution; L-BFGS-B finds it from the parent's weights with the exact gradient, so equal inputs give equal results.

The prior's scale s makes the strength mean the same for every backbone, whose weights and features differ by orders of
magnitude. All channels of a layer share one scale, the inverse of the layer's root mean square within-set spread, so
every layer can contribute alike and a channel that the rankings barely show is barely moved. (A scale of each channel's
own would blow up channels that happen to be silent in the few pictures at hand.) The common factor is then set so that
the correction's margins have, a priori, a standard deviation of DEVIATION times the parent's own margins.

Where other people's heads are known, they are tried first: w = sum of b_j w_j, b >= 0, over the parent and those
heads, with the same loss and a prior around the parent alone. A dozen numbers are learned from one ranking where 2,240
are not; the channels then correct what no mixture explains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from services.common.errors import InvalidInputError
from services.common.heads import Head, Recipe, head_of
from services.scorer.clpips.rankings import Pairs, RankedSet, check_sets, pairs_of, targets_of

DEVIATION = 3.0
"""Prior deviation of the channels' correction, in the parent's own margins. Chosen on drawn pictures and
simulated raters: five rankings gained .059 of ICC(2,k) on other targets with 3, .051 with 2, .026 with 1; 10 gained as
much as 3, and 30 less."""
CLOSE_DEVIATION = 1.0
"""The same while there is one target only, and nothing to hold out that could show an overfit; and after a mixture of
heads, which leaves less to correct."""
TASTE_DEVIATION = 10.0
"""Prior deviation of a mixture of heads: it has few numbers to overfit with."""
MAX_ITERATIONS = 200
TOLERANCE = 1e-6
"""Relative gain of an iteration that ends the search; closer to the optimum, orders change no more."""
ALIKE = 1e-9
"""Spread of distances within sets, as a share of their mean, that is rounding and nothing else."""

Array = NDArray[np.float64]


def fit_convex(parent: Head, sets: Sequence[RankedSet], tastes: Sequence[Head] = ()) -> Head:
    """A head that ranks as the people did, as near to the parent as that allows.

    Where no weights of at least 0 tell the better pictures from the worse, these are the parent's.

    Args:
        parent: LPIPS's own head, or a crowd's.
        sets: At least one ranking.
        tastes: Other people's heads, not learned from these sets.

    Raises:
        InvalidInputError: no sets, sets or tastes of another backbone, or pictures that are all alike to the parent.
    """
    check_sets(sets, parent.backbone)
    if any(taste.backbone != parent.backbone for taste in tastes):
        allowed = f"{parent.backbone.metric}, revision {parent.backbone.revision}"
        raise InvalidInputError("tastes", "hold a head of another backbone", allowed=allowed)
    pairs = pairs_of(sets)
    features = np.concatenate([_centered(ranked) for ranked in sets])
    weights = parent.array.astype(np.float64)
    mean = np.mean([ranked.differences.mean(axis=0, dtype=np.float64) for ranked in sets], axis=0)
    if not tells_apart(parent, sets):
        raise InvalidInputError("sets", "hold pictures that are all alike to the parent", allowed="different pictures")
    if tastes:
        weights = _mixture(features, pairs, weights, [taste.array for taste in tastes])
    deviation = CLOSE_DEVIATION if tastes or len(targets_of(sets)) == 1 else DEVIATION
    weights = _channels(features, pairs, weights, parent.backbone.layer_starts, deviation)
    distance = float(mean @ weights)
    # Where people contradict every channel, all weights end at 0.
    weights = weights * (mean @ parent.array / distance) if distance > 0 else parent.array.astype(np.float64)
    metrics = {"rankings": len(sets), "targets": len(targets_of(sets)), "pairs": len(pairs.better)}
    return head_of(parent.backbone, weights, recipe=Recipe.CONVEX, parent=parent.revision, metrics=metrics)


def tells_apart(head: Head, sets: Sequence[RankedSet]) -> bool:
    """Whether pictures of a set differ to a head by more than rounding; where they do not, it cannot learn."""
    weights = head.array.astype(np.float64)
    scores = [ranked.differences @ weights for ranked in sets]
    spread = _spread(np.concatenate([values - values.mean() for values in scores]))
    return spread > ALIKE * float(np.mean([values.mean() for values in scores]))


def _centered(ranked: RankedSet) -> Array:
    """Differences less their mean: only comparisons within a set count."""
    values = ranked.differences.astype(np.float64)
    values -= values.mean(axis=0)
    return values


def _mixture(features: Array, pairs: Pairs, parent: Array, tastes: Sequence[NDArray[np.float32]]) -> Array:
    heads = np.stack([parent, *tastes], axis=1).astype(np.float64)
    scores = features @ heads
    spreads = np.sqrt((scores**2).mean(axis=0))
    # A taste without any spread over these pictures says nothing about them.
    heads, scores = heads[:, spreads > 0] / spreads[spreads > 0], scores[:, spreads > 0] / spreads[spreads > 0]
    prior = np.zeros(scores.shape[1])
    prior[0] = spreads[0]
    mixed: Array = heads @ _solve(scores, pairs, prior, TASTE_DEVIATION)
    return mixed


def _channels(features: Array, pairs: Pairs, center: Array, layer_starts: NDArray[np.int64], deviation: float) -> Array:
    if not center.any():
        return center
    power = (features**2).mean(axis=0)
    sizes = np.diff([*layer_starts, len(center)])
    layer_power = np.add.reduceat(power, layer_starts) / sizes
    # A layer without any spread keeps its weights, whatever its scale.
    scale = np.repeat(1 / np.sqrt(np.where(layer_power > 0, layer_power, 1)), sizes)
    return scale * _solve(features * scale, pairs, center / scale, deviation)


def _solve(features: Array, pairs: Pairs, prior: Array, deviation: float) -> Array:
    """Weights >= 0 of scaled features [pictures, numbers]; all numbers have the same prior deviation."""
    unit = _spread(features @ prior)
    step = deviation / float(np.sqrt(2 * (features**2).sum(axis=1).mean()))
    features = features * step
    start = prior / (step * unit)

    def objective(values: Array) -> tuple[float, Array]:
        scores = features @ values
        margins = scores[pairs.worse] - scores[pairs.better]
        pull = pairs.shares * expit(-margins)
        by_picture = np.bincount(pairs.better, pull, len(scores)) - np.bincount(pairs.worse, pull, len(scores))
        moved = values - start
        loss = float(pairs.shares @ np.logaddexp(0, -margins) + moved @ moved / 2)
        return loss, by_picture @ features + moved

    # Pairs cost scipy less time than its Bounds.
    bounds = [(0.0, None)] * len(start)
    options = {"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    weights: Array = found.x * (step * unit)
    return weights


def _spread(scores: Array) -> float:
    """Root mean square difference of two pictures of a set, of scores that are centered by set."""
    return float(np.sqrt(2 * (scores**2).mean()))
