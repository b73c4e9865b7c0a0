"""Search over the initial noise: noises of good pictures are recombined, those of bad ones subtracted.

A diffusion sampler maps noise to pictures smoothly enough that scores tell a direction: with n independent noises z_i
and their standardized scores s_i, sum(s_i z_i) points uphill. Its rescaled form is noise again (see the generator's
`noise_mix`). It is averaged with the noise of the best picture, whose worth is seen and not inferred, and mixed with
fresh noise, less the more pictures have been scored. This is the recombination step of an evolution strategy (Hansen
2016, "The CMA Evolution Strategy: A Tutorial", section 2.2) with weights of both signs and an elite, used for what Ma
et al. 2025, "Inference-time Scaling for Diffusion Models beyond Scaling Denoising Steps", call search over noises.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.gateway.domain import Candidate, NoisePart

_MIN_PICTURES = 3
"""Fewest comparable pictures that tell a direction."""
_DOUBT_PICTURES = 4
"""Fresh noise counts as much as this many pictures: with n scored, n / (n + 4) of the variance is the direction's."""
_ELITE_WEIGHT = 0.5
"""Weight of the best picture's noise against the direction that all pictures tell together."""
_MAX_PARTS = 63
"""Most parts of a direction; the generator takes 64, and the fresh noise is one."""


@dataclass(frozen=True)
class Direction:
    """Where better noise lies: weights by seed, their squares summing to 1, and the share of variance to give it."""

    weights: Mapping[int, float]
    share: float

    def with_fresh(self, seed: int) -> tuple[NoisePart, ...]:
        """The direction mixed with the noise of a fresh seed."""
        along, across = math.sqrt(self.share), math.sqrt(1 - self.share)
        mixed = {one: along * weight for one, weight in self.weights.items()}
        mixed[seed] = mixed.get(seed, 0.0) + across
        return tuple(NoisePart(one, weight) for one, weight in mixed.items())


def direction(candidates: Iterable[Candidate]) -> Direction | None:
    """Direction that the scored candidates tell; None while they tell none.

    Scores are compared within a prompt only: between prompts the prompt decides, not the noise.
    """
    groups: defaultdict[str, list[Candidate]] = defaultdict(list)
    for one in candidates:
        if one.loop_score is not None:
            groups[one.prompt].append(one)
    told: list[tuple[float, Candidate]] = []
    for group in groups.values():
        mean = math.fsum(one.loop_score or 0.0 for one in group) / len(group)
        told += [((one.loop_score or 0.0) - mean, one) for one in group if len(group) > 1]
    spread = math.sqrt(math.fsum(gap**2 for gap, _ in told))
    if len(told) < _MIN_PICTURES or spread == 0.0:
        return None
    pull: defaultdict[int, float] = defaultdict(float)
    for gap, one in told:
        for seed, weight in _noise(one).items():
            pull[seed] += gap / spread * weight
    best = max((one for _, one in told), key=lambda one: one.loop_score or 0.0)
    total = defaultdict(float, {seed: (1 - _ELITE_WEIGHT) * weight for seed, weight in _unit(pull).items()})
    for seed, weight in _noise(best).items():
        total[seed] += _ELITE_WEIGHT * weight
    kept = _unit(dict(sorted(total.items(), key=lambda part: -abs(part[1]))[:_MAX_PARTS]))
    weights = {seed: weight for seed, weight in kept.items() if abs(weight) > 1e-3}
    return Direction(weights, len(told) / (len(told) + _DOUBT_PICTURES))


def _noise(candidate: Candidate) -> dict[int, float]:
    """Unit-length weights of the noise that a candidate started from."""
    return _unit({part.seed: part.weight for part in candidate.noise_mix} or {candidate.seed: 1.0})


def _unit(weights: Mapping[int, float]) -> dict[int, float]:
    norm = math.sqrt(math.fsum(weight**2 for weight in weights.values()))
    return {seed: weight / norm for seed, weight in weights.items()}
