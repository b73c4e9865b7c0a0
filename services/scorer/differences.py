"""Difference vectors as they travel: float16, 256 times the difference, so that small ones keep their digits.

A distance is w . v with w, v >= 0. Rounding v changes it by at most 2^-11 of itself, plus 2^-33 of the sum of w for
channels so nearly equal that float16 has no normal number for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.common.errors import InternalError, InvalidInputError, NotFoundError, Reason
from services.common.heads import DIFFERENCE_SCALE
from services.scorer.domain import DifferenceVector
from services.scorer.metrics.base import Vector
from services.scorer.metrics.lpips_distance import Lpips, Vectors
from services.scorer.registry import Registry

LARGEST = float(np.finfo(np.float16).max)


def lpips_of(registry: Registry, id_: str, *, field: str) -> Lpips:
    """The LPIPS metric of this id; NotFoundError(METRIC_NOT_FOUND) names those that there are, or what it lacks."""
    offered = {metric.spec.id: metric for metric in registry.metrics.values() if isinstance(metric, Lpips)}
    if id_ not in offered:
        hint = registry.absent.get(id_, "")
        raise NotFoundError(Reason.METRIC_NOT_FOUND, "LPIPS metric", id_, field=field, known=offered, hint=hint)
    return offered[id_]


def encode(metric: Lpips, vector: Vector) -> DifferenceVector:
    """A vector v [channels] ready to be sent; a value that float16 cannot hold becomes the largest that it can.

    Raises:
        InternalError: a value is not a number.
    """
    if np.isnan(vector).any():
        raise InternalError("the metric has no finite difference vector for this pair")
    return DifferenceVector(
        metric=metric.spec.id,
        backbone_revision=metric.head.backbone.revision,
        preprocessing=metric.spec.preprocessing,
        dimensions=vector.size,
        data=np.minimum(vector * DIFFERENCE_SCALE, LARGEST).astype("<f2").tobytes(),
    )


def decode(metric: Lpips, sent: Sequence[DifferenceVector], field: str) -> Vectors:
    """Vectors v [N, channels] that were sent as `field`.

    Raises:
        InvalidInputError: one was made by another metric, backbone or preprocessing, or holds other values than v can.
    """
    rows = np.empty((len(sent), metric.head.backbone.channels), dtype=np.float32)
    for index, vector in enumerate(sent):
        rows[index] = _values(metric, vector, f"{field}[{index}]")
    rows /= DIFFERENCE_SCALE
    return rows


def _values(metric: Lpips, vector: DifferenceVector, field: str) -> Vector:
    backbone = metric.head.backbone
    wanted = {
        "metric": (vector.metric, backbone.metric),
        "backbone_revision": (vector.backbone_revision, backbone.revision),
        "preprocessing": (vector.preprocessing, metric.spec.preprocessing),
        "dimensions": (vector.dimensions, backbone.channels),
    }
    for name, (found, allowed) in wanted.items():
        if found != allowed:
            raise InvalidInputError(f"{field}.{name}", f"is {found!r:.120}", allowed=str(allowed))
    if len(vector.data) != 2 * vector.dimensions:
        problem = f"{len(vector.data)} bytes do not hold {vector.dimensions} float16 values"
        raise InvalidInputError(f"{field}.data", problem, allowed="2 x dimensions bytes")
    values = np.frombuffer(vector.data, dtype="<f2").astype(np.float32)
    # A NaN compares as False.
    if not (values.min() >= 0 and values.max() <= LARGEST):
        raise InvalidInputError(f"{field}.data", "holds a value below 0 or not finite", allowed="finite numbers from 0")
    return values
