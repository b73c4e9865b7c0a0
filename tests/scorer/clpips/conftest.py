"""People with known tastes, and pictures whose difference vectors are drawn: layers of unlike size and magnitude."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from services.common.heads import Backbone, Head, head_of
from services.scorer.clpips.rankings import RankedSet

LAYERS = (8, 12, 20)
MAGNITUDES = np.repeat([1e-2, 1e-4, 1e-3], LAYERS)
"""Typical difference of a channel; a head's weights are as unlike, so that every layer counts."""

MakeSets = Callable[..., list[RankedSet]]


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """A backbone of forty channels."""
    return Backbone("lpips-tiny", "r1", LAYERS)


@pytest.fixture(scope="session")
def magnitudes() -> NDArray[np.float64]:
    """Typical difference of each channel."""
    return MAGNITUDES


@pytest.fixture(scope="session")
def lpips(backbone: Backbone) -> Head:
    """Published weights: every layer alike, a third of the channels silent."""
    weights = np.random.default_rng(1).random(backbone.channels) / MAGNITUDES
    weights[::3] = 0
    return head_of(backbone, weights)


@pytest.fixture(scope="session")
def taste() -> NDArray[np.float64]:
    """True weights of a person who looks at the second layer and at a few channels of the others."""
    weights = np.random.default_rng(2).random(sum(LAYERS)) ** 4
    weights[8:20] += 1.5
    return weights / MAGNITUDES


@pytest.fixture(scope="session")
def make_sets() -> MakeSets:
    """Makes rankings of drawn pictures by true weights: `make_sets(weights, targets, seed, noise, images)`."""

    def make(
        weights: NDArray[np.float64], targets: int, seed: int = 0, noise: float = 0.0, images: int = 10
    ) -> list[RankedSet]:
        rng = np.random.default_rng(seed)
        sets = []
        for index in range(targets):
            # Channels of a layer move together, as features do.
            layers = np.repeat(rng.gamma(2.0, 1.0, (images, len(LAYERS))), LAYERS, axis=1)
            differences = (layers * rng.gamma(2.0, 0.5, (images, sum(LAYERS))) * MAGNITUDES).astype(np.float32)
            scores = differences @ weights
            scores = scores + noise * scores.std() * rng.standard_normal(images)
            places = tuple(float(place) for place in scores.argsort().argsort() + 1)
            sets.append(RankedSet(f"target-{seed}-{index}", differences, places))
        return sets

    return make
