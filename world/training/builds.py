"""The generators that are trained: the shipped one, a smaller one, and one built otherwise.

The small one is the weaker system of rankings of generators; the other one shares neither seed nor shape of its
denoiser with the first, a system that was not there when prompts were refined for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from world.training.common import SEED


@dataclass(frozen=True)
class Build:
    """A denoiser: its name in trainings, the folder of its pipeline, its shape, and how it is trained."""

    name: str
    folder: str
    channels: tuple[int, ...]
    """Of each level, from 16 x 16 places down; the first level has no attention."""
    layers: int
    """Blocks of a level."""
    seed: int
    steps: int
    batch: int = 32


EMBEDDED = Build("denoiser", "generator-embedded", (64, 128, 192), 1, SEED, 28_500)
SMALL = Build("denoiser-small", "generator-embedded-small", (32, 64, 96), 1, SEED, 6_000)
OTHER = Build("denoiser-other", "generator-embedded-other", (48, 112), 1, SEED + 57, 12_500)

FURTHER = (SMALL, OTHER)
"""For comparisons of generators: in the profile `comparison`, and not held to the gates."""

BUILDS: dict[str, Build] = {build.name: build for build in (EMBEDDED, *FURTHER)}
