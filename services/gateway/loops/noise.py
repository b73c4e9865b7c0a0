"""Search over the initial noise: noises of good pictures are recombined place by place, those of bad ones subtracted.

A diffusion sampler maps noise to pictures smoothly enough that scores tell a direction: with n independent noises z_i
and their standardized scores s_i, sum(s_i z_i) points uphill. Its rescaled form is noise again (see the generator's
`noise_mix`). It is averaged with the noise of the best picture, whose worth is seen and not inferred, and mixed with
fresh noise, less the more pictures have been scored. This is the recombination step of an evolution strategy (Hansen
2016, "The CMA Evolution Strategy: A Tutorial", section 2.2) with weights of both signs and an elite, used for what Ma
et al. 2025, "Inference-time Scaling for Diffusion Models beyond Scaling Denoising Steps", call search over noises.

What a picture shows at a place comes mostly from the noise around that place. So where a metric says how alike the
pictures are in each cell of a grid, all of this happens in each cell by itself: a picture that is right on the left
and wrong on the right lends its left. One score of a whole picture tells one number about thousands of noise values,
local ones tell as many as there are cells.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.gateway.domain import Candidate, NoisePart

Cells = NDArray[np.float64]
"""A value for each cell, or one value for all: [cells] or [1]."""

_MIN_PICTURES = 3
"""Fewest comparable pictures that tell a direction."""
_DOUBT_PICTURES = 4
"""Fresh noise counts as much as this many pictures: with n scored, n / (n + 4) of the variance is the direction's."""
_ELITE_WEIGHT = 0.5
"""Weight of the best picture's noise against the direction that all pictures tell together."""
_MAX_PARTS = 63
"""Most parts of a direction; the generator takes 64, and the fresh noise is one."""
_MAX_CELLED_PARTS = 15
"""The same where each part has a weight for each cell: some kilobytes a candidate, in every answer that holds it."""
_DECIMALS = 4
"""Of stored cells: a candidate has a thousand of them."""


@dataclass(frozen=True)
class Direction:
    """Where better noise lies: weights by seed, their squares summing to 1 in each cell, and the variance's share."""

    weights: Mapping[int, Cells]
    share: float

    def with_fresh(self, seed: int) -> tuple[NoisePart, ...]:
        """The direction mixed with the noise of a fresh seed."""
        along, across = math.sqrt(self.share), math.sqrt(1 - self.share)
        mixed = {one: along * weight for one, weight in self.weights.items()}
        mixed[seed] = mixed.get(seed, np.zeros(1)) + across
        return tuple(_part(one, weight) for one, weight in mixed.items())


def direction(candidates: Iterable[Candidate], metrics: Collection[str]) -> Direction | None:
    """Direction that the scored candidates tell; None while they tell none.

    Scores are compared within a prompt only: between prompts the prompt decides, not the noise.

    Args:
        candidates: All pictures of a session so far.
        metrics: Those that the loop selects by. Local values of those that have them are used, else the loop score.
    """
    values = _values([one for one in candidates if one.loop_score is not None], metrics)
    told = _within_prompts(values)
    spread = np.sqrt(np.sum([gap**2 for _, gap in told], axis=0)) if told else np.zeros(1)
    if len(told) < _MIN_PICTURES or not spread.any():
        return None
    noises = [_noise(one) for one, _ in told]
    if len({len(spread), *(len(weight) for noise in noises for weight in noise.values())} - {1}) > 1:
        return None  # the metrics' grid is not the one that earlier noises were mixed in
    pull: defaultdict[int, Cells] = defaultdict(lambda: np.zeros(1))
    for (_, gap), noise in zip(told, noises, strict=True):
        for seed, weight in noise.items():
            pull[seed] = pull[seed] + _ratio(gap, spread) * weight
    best = np.argmax([values[one.id][1] for one, _ in told], axis=0)
    total = {seed: (1 - _ELITE_WEIGHT) * weight for seed, weight in _unit(pull).items()}
    for index, noise in enumerate(noises):
        if (chosen := best == index).any():
            for seed, weight in noise.items():
                total[seed] = total[seed] + _ELITE_WEIGHT * chosen * weight
    most = _MAX_PARTS if len(spread) == 1 else _MAX_CELLED_PARTS
    strongest = sorted(total.items(), key=lambda part: -float(np.abs(part[1]).max()))[:most]
    weights = {seed: weight for seed, weight in _unit(dict(strongest)).items() if np.abs(weight).max() > 1e-3}
    return Direction(weights, len(told) / (len(told) + _DOUBT_PICTURES))


def _values(candidates: list[Candidate], metrics: Collection[str]) -> dict[str, tuple[Candidate, Cells]]:
    """How good each candidate is, in each cell where all have the same local values."""
    local = [_local(one, metrics) for one in candidates]
    sizes = {None if one is None else len(one) for one in local}
    whole = len(sizes) > 1 or None in sizes
    return {
        one.id: (one, np.array([one.loop_score or 0.0]) if whole or cells is None else cells)
        for one, cells in zip(candidates, local, strict=True)
    }


def _local(candidate: Candidate, metrics: Collection[str]) -> Cells | None:
    """Mean of the local values of those metrics that have some; None without, or if their grids differ."""
    found = [score.cells for score in candidate.scores if score.metric in metrics and score.cells]
    return np.mean(found, axis=0) if len({len(cells) for cells in found}) == 1 else None


def _within_prompts(values: Mapping[str, tuple[Candidate, Cells]]) -> list[tuple[Candidate, Cells]]:
    """Candidates with how much better they are than the mean of their prompt, of prompts that came several times."""
    groups: defaultdict[str, list[tuple[Candidate, Cells]]] = defaultdict(list)
    for one, value in values.values():
        groups[one.prompt].append((one, value))
    told: list[tuple[Candidate, Cells]] = []
    for group in groups.values():
        mean = np.mean([value for _, value in group], axis=0)
        told += [(one, value - mean) for one, value in group if len(group) > 1]
    return told


def _noise(candidate: Candidate) -> dict[int, Cells]:
    """Weights of the noise that a candidate started from, their squares summing to 1 in each cell."""
    mix = {part.seed: part.weight * np.array(part.cells or (1.0,)) for part in candidate.noise_mix}
    return _unit(mix or {candidate.seed: np.ones(1)})


def _unit(weights: Mapping[int, Cells]) -> dict[int, Cells]:
    norm = np.sqrt(np.sum(np.square(np.array(np.broadcast_arrays(*weights.values()))), axis=0))
    return {seed: _ratio(weight, norm) for seed, weight in weights.items()}


def _ratio(values: Cells, by: Cells) -> Cells:
    """Quotient; 0 where it would be 0 / 0: a cell in which all pictures are alike tells nothing."""
    return values / np.where(by == 0.0, 1.0, by)


def _part(seed: int, weight: Cells) -> NoisePart:
    if len(weight) == 1:
        return NoisePart(seed, float(weight[0]))
    return NoisePart(seed, 1.0, tuple(weight.round(_DECIMALS).tolist()))
