"""The paper's recipe: margin ranking loss by Adam, weights kept non-negative.

    loss = mean over a batch of 256 pairs of  max(0, d(better) - d(worse) + m)

from the published weights, which are set back to 0 where a step makes them negative, as LPIPS's own training does. The
paper sweeps the margin m over .01 to .05 and watches held-out sets for convergence without more detail. Here a fifth of
the targets is held out of the sweep: the margin and the number of epochs of the highest agreement there, ICC(2,k), are
then used on all targets. The paper's learning rate is not legible; at Adam's usual 1e-3 sixty epochs over a hundred
rankings reach the plateau, at LPIPS's own 1e-4 they move next to nothing.
Sources: Trinh et al. 2026, section 4.3; Kingma & Ba 2015, "Adam", algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from services.common.heads import Head, Recipe, head_of
from services.scorer.clpips.alignment import agreement_of
from services.scorer.clpips.rankings import RankedSet, check_sets, pairs_of, split_by_target

MARGINS = (0.01, 0.02, 0.03, 0.04, 0.05)
BATCH_PAIRS = 256
LEARNING_RATE = 1e-3
MAX_EPOCHS = 60
FIT_SHARE = 0.8
"""Share of the targets that the sweep learns from; the others judge it."""
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

Array = NDArray[np.float32]


def fit_margin(parent: Head, sets: Sequence[RankedSet], *, seed: int = 0) -> Head:
    """A head learned by the paper's recipe; equal arguments give equal weights.

    Its metrics say which margin and how many epochs were used. 0 epochs mean that no training helped, and the weights
    are the parent's.

    Raises:
        InvalidInputError: sets of fewer than two targets or of another backbone.
    """
    check_sets(sets, parent.backbone)
    learn, judge = split_by_target(sets, share=FIT_SHARE, seed=seed)
    best = (agreement_of(judge, _distances(judge, parent.array)), 0, MARGINS[0])
    for margin in MARGINS:
        for epoch, weights in enumerate(train(parent.array, learn, margin, MAX_EPOCHS, seed), start=1):
            agreement = agreement_of(judge, _distances(judge, weights))
            if agreement > best[0]:
                best = (agreement, epoch, margin)
    agreement, epochs, margin = best
    weights = parent.array
    for trained in train(parent.array, sets, margin, epochs, seed):
        weights = trained
    metrics = {"margin": margin, "epochs": float(epochs), "validation_icc2k": agreement}
    return head_of(parent.backbone, weights, recipe=Recipe.MARGIN, parent=parent.revision, metrics=metrics)


def train(start: Array, sets: Sequence[RankedSet], margin: float, epochs: int, seed: int) -> Iterator[Array]:
    """Weights after each epoch over all pairs, shuffled by the seed."""
    features = np.concatenate([ranked.differences for ranked in sets]).astype(np.float32)
    pairs = pairs_of(sets)
    rng = np.random.default_rng(seed)
    weights = start.copy()
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    steps = 0
    for _ in range(epochs):
        order = rng.permutation(len(pairs.better))
        for first in range(0, len(order), BATCH_PAIRS):
            batch = order[first : first + BATCH_PAIRS]
            margins = features[pairs.worse[batch]] - features[pairs.better[batch]]
            violated = margins @ weights < margin
            gradient = -(violated.astype(np.float32) @ margins) / np.float32(len(batch))
            steps += 1
            mean += np.float32(1 - BETA1) * (gradient - mean)
            square += np.float32(1 - BETA2) * (gradient * gradient - square)
            corrected = np.sqrt(square / np.float32(1 - BETA2**steps)) + np.float32(EPSILON)
            weights -= np.float32(LEARNING_RATE / (1 - BETA1**steps)) * mean / corrected
            np.maximum(weights, 0, out=weights)
        yield weights.copy()


def _distances(sets: Sequence[RankedSet], weights: Array) -> list[Array]:
    return [ranked.differences.astype(np.float32, copy=False) @ weights for ranked in sets]
