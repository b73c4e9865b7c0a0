"""Scores by personal metrics: a profile's head over difference vectors, which the cache keeps for every head.

The scorer only makes vectors that the cache lacks. The distance is a dot product and is computed here, so pictures that
were compared once are scored by any profile of the backbone, and by every later version of it, without the scorer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.common.heads import DIFFERENCE_SCALE, Backbone, Head, distances
from services.gateway import batches
from services.gateway.cache import VectorCache
from services.gateway.cache_keys import CacheKey, DifferenceKey
from services.gateway.domain import Score
from services.gateway.ports import DifferenceVector, MetricCatalog, ProfileHeads, ScorerPort
from services.gateway.profiles.model import METRIC_PREFIX
from services.gateway.scorable import ScorableImage


def all_personal(metrics: Sequence[str]) -> bool:
    """Whether there are metrics and all are personal: then nothing need be known of the scorer's own."""
    return bool(metrics) and all(name.startswith(METRIC_PREFIX) for name in metrics)


class CachedDifferences:
    """Difference vectors over a scorer and a cache."""

    def __init__(self, scorer: ScorerPort, cache: VectorCache) -> None:
        self._scorer = scorer
        self._cache = cache

    async def find(
        self,
        backbone: Backbone,
        preprocessing: str,
        target: ScorableImage,
        candidates: Sequence[ScorableImage],
        *,
        request_id: str,
    ) -> list[DifferenceVector]:
        """Vectors in the order of the candidates. New ones are of what the scorer has now, whatever was asked for.

        Raises:
            NotFoundError: METRIC_NOT_FOUND, the scorer makes no vectors for the metric.
            InvalidInputError: target and a candidate are too large to be sent together.
        """
        batches.check_sizes((candidate.size_bytes for candidate in candidates), base_bytes=target.size_bytes)
        pictures: dict[CacheKey[DifferenceVector], ScorableImage] = {}
        keys: list[CacheKey[DifferenceVector]] = []
        for one in candidates:
            key = DifferenceKey(target.pixel_hash, one.pixel_hash, backbone.metric, backbone.revision, preprocessing)
            keys.append(key)
            pictures[key] = one

        async def compare(missing: Sequence[CacheKey[DifferenceVector]]) -> list[DifferenceVector]:
            data = [await pictures[key].read() for key in missing]
            return await self._scorer.compare(backbone.metric, await target.read(), data, request_id=request_id)

        return await self._cache.get_or_compute(keys, compare)


class PersonalScoring:
    """Scores by the heads of profiles."""

    def __init__(self, differences: CachedDifferences, heads: ProfileHeads) -> None:
        self._differences = differences
        self._heads = heads

    async def heads_of(self, tenant_id: str, metrics: Sequence[str]) -> dict[str, Head]:
        """Active heads of the personal ones among the metrics, by metric id.

        Raises:
            NotFoundError: PROFILE_NOT_FOUND, blamed on metrics[i].
        """
        heads: dict[str, Head] = {}
        for index, name in enumerate(metrics):
            if name.startswith(METRIC_PREFIX) and name not in heads:
                profile = name.removeprefix(METRIC_PREFIX)
                heads[name] = await self._heads.active_head(tenant_id, profile, field=f"metrics[{index}]")
        return heads

    async def score(
        self,
        heads: Mapping[str, Head],
        catalog: MetricCatalog,
        target: ScorableImage | None,
        candidates: Sequence[ScorableImage],
        *,
        request_id: str,
    ) -> dict[str, list[Score]]:
        """Scores in the order of the candidates, by metric id. The catalog offers the metrics of all backbones.

        Raises:
            InvalidInputError: there is no target, or it and a candidate are too large to be sent together.
            UnavailableError: MODEL_UNAVAILABLE, the scorer's backbone is not the one that a head was learned on.
        """
        scores: dict[str, list[Score]] = {}
        vectors: dict[Backbone, list[DifferenceVector]] = {}
        for name, head in heads.items():
            if target is None:
                raise InvalidInputError("target", f"metric {name} needs it")
            backbone = head.backbone
            if backbone not in vectors:
                preprocessing = catalog.offered[backbone.metric].preprocessing
                found = await self._differences.find(backbone, preprocessing, target, candidates, request_id=request_id)
                _check_made_alike(name, backbone, preprocessing, found)
                vectors[backbone] = found
            scores[name] = _scores(name, head, vectors[backbone])
        return scores


def _check_made_alike(name: str, backbone: Backbone, preprocessing: str, vectors: Sequence[DifferenceVector]) -> None:
    for vector in vectors:
        if vector.backbone_revision != backbone.revision:
            message = (
                f"{name} was fitted on {backbone.metric} of revision {backbone.revision}, the scorer has"
                f" {vector.backbone_revision} now; fit the profile again"
            )
            raise UnavailableError(Reason.MODEL_UNAVAILABLE, message)
        if vector.preprocessing != preprocessing:
            # Old and new vectors do not belong into one ranking.
            message = f"{backbone.metric} was deployed anew while {name} was scored; try again"
            raise UnavailableError(Reason.MODEL_UNAVAILABLE, message, retry_after_seconds=1.0)


def _scores(name: str, head: Head, vectors: Sequence[DifferenceVector]) -> list[Score]:
    values = np.frombuffer(b"".join(vector.data for vector in vectors), dtype="<f2").reshape(len(vectors), -1)
    # The scale is a power of two: dividing the distances by it is dividing the values, to the last bit.
    raws = (distances(head, values) / np.float32(DIFFERENCE_SCALE)).tolist()
    return [
        Score(name, head.revision, raw, max(0.0, 1.0 - raw), higher_is_better=False, minimum=0.0, maximum=None)
        for raw in raws
    ]
