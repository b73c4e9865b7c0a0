"""Heads: the linear weights of LPIPS, published or learned, and distances by them.

A distance is w . v: 0 for identical pictures, without upper bound, lower is more similar, additive in w. Heads learned
by `convex` keep the mean distance of their parent over the pictures they learned from, so their values read like its.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from services.common.errors import InvalidInputError

DIFFERENCE_SCALE = 256.0
"""What difference vectors are multiplied by when they are stored and sent as float16, so that small ones keep their
digits."""
ROWS_AT_ONCE = 256
"""Rows converted to float32 at once: 2 MB for SqueezeNet, which a processor's cache holds."""

FLOAT16_VALUES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""Every float16 as float32: looking them up is twice as fast as numpy's own conversion."""

Weights = NDArray[np.float32]
Differences = NDArray[np.floating]
"""v [pairs, channels of all layers], each >= 0."""
Distances = NDArray[np.float32]


class Recipe(StrEnum):
    """Where a head's weights come from."""

    PUBLISHED = "published"
    MARGIN = "margin"
    CONVEX = "convex"


@dataclass(frozen=True)
class Backbone:
    """What difference vectors are made by; heads of one backbone are interchangeable."""

    metric: str
    """Metric id of the LPIPS variant, such as lpips-squeeze."""
    revision: str
    layers: tuple[int, ...]
    """Channels of each layer, in the order of the vectors."""

    @property
    def channels(self) -> int:
        """Length of a difference vector: 1,152 for AlexNet, 1,472 for VGG, 2,240 for SqueezeNet."""
        return sum(self.layers)

    @property
    def layer_starts(self) -> NDArray[np.int64]:
        """First channel of each layer."""
        return np.cumsum((0, *self.layers[:-1]))


@dataclass(frozen=True)
class Head:
    """Weights as they are stored and sent. Made by `head_of`, which checks them."""

    backbone: Backbone
    weights: bytes
    """Little-endian float32, one for each channel, at least 0."""
    recipe: Recipe = Recipe.PUBLISHED
    parent: str = ""
    """Revision of the head it was learned from; empty for published weights."""
    metrics: Mapping[str, float] = field(default_factory=dict, compare=False)
    """How it was fitted and how well it aligned, by name."""

    @cached_property
    def revision(self) -> str:
        """Digest of backbone and weights: heads of equal revision give equal distances."""
        backbone = self.backbone
        digest = hashlib.sha256(f"{backbone.metric}:{backbone.revision}:{backbone.layers}:".encode())
        digest.update(self.weights)
        return digest.hexdigest()[:16]

    @cached_property
    def array(self) -> Weights:
        """The weights [channels], read-only."""
        return np.frombuffer(self.weights, dtype="<f4")


def head_of(
    backbone: Backbone,
    weights: ArrayLike,
    *,
    recipe: Recipe = Recipe.PUBLISHED,
    parent: str = "",
    metrics: Mapping[str, float] | None = None,
) -> Head:
    """A head of checked weights.

    Raises:
        InvalidInputError: not one finite weight of at least 0 for each channel, or all are 0.
    """
    values = np.ascontiguousarray(weights, dtype="<f4")
    if values.shape != (backbone.channels,):
        raise InvalidInputError("weights", f"have the shape {values.shape}", allowed=f"{backbone.channels} numbers")
    if not np.isfinite(values).all() or values.min() < 0:
        raise InvalidInputError("weights", "hold a value below 0 or not finite", allowed="finite numbers from 0")
    if not values.any():
        raise InvalidInputError("weights", "are all 0", allowed="at least one above 0")
    return Head(backbone, values.tobytes(), recipe, parent, dict(metrics or {}))


def distances(head: Head, differences: Differences) -> Distances:
    """Distances [pairs] of difference vectors [pairs, channels], of float16 or float32.

    Raises:
        InvalidInputError: the vectors are not of the head's backbone.
    """
    if differences.ndim != 2 or differences.shape[1] != head.backbone.channels:
        allowed = f"[pairs, {head.backbone.channels}] of {head.backbone.metric}"
        raise InvalidInputError("differences", f"have the shape {differences.shape}", allowed=allowed)
    if differences.dtype != np.float16:
        return differences.astype(np.float32, copy=False) @ head.array
    found = np.empty(len(differences), dtype=np.float32)
    converted = np.empty((ROWS_AT_ONCE, differences.shape[1]), dtype=np.float32)
    for start in range(0, len(differences), ROWS_AT_ONCE):
        rows = differences[start : start + ROWS_AT_ONCE].view(np.uint16)
        # Every uint16 is a valid index; "clip" only spares numpy a second buffer.
        values = np.take(FLOAT16_VALUES, rows, out=converted[: len(rows)], mode="clip")
        found[start : start + len(rows)] = values @ head.array
    return found
