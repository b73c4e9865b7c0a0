"""The scorer behind the cache: embeds what the cache lacks, then compares in as few calls as possible.

Personal metrics are scored beside it (`personal.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.common.errors import LikenessError
from services.gateway import batches
from services.gateway.cache import VectorCache
from services.gateway.cache_keys import CacheKey, EmbeddingKey
from services.gateway.domain import Score
from services.gateway.personal import CachedDifferences, PersonalScoring
from services.gateway.ports import (
    CandidateScores,
    EmbeddingVector,
    MetricCatalog,
    MetricInfo,
    ProfileHeads,
    ScorerPort,
    ScoreSubject,
)
from services.gateway.scorable import ScorableImage

CATALOG_SECONDS = 30.0
"""How long the scorer's list of metrics and revisions is believed."""


@dataclass(frozen=True)
class _Catalog:
    metrics: MetricCatalog
    revisions: dict[str, str]
    """Of embedding models, by id."""
    read_at: float

    def is_like(self, other: _Catalog) -> bool:
        """Whether nothing was deployed anew between the two."""
        return (self.metrics, self.revisions) == (other.metrics, other.revisions)


class CachedScoring:
    """Scoring over a scorer, a cache and the heads of profiles."""

    def __init__(self, scorer: ScorerPort, cache: VectorCache, heads: ProfileHeads) -> None:
        self._scorer = scorer
        self._cache = cache
        self._personal = PersonalScoring(CachedDifferences(scorer, cache), heads)
        self._catalog: _Catalog | None = None
        self._reading = asyncio.Lock()

    async def metrics(self) -> MetricCatalog:
        """Metrics of the deployment."""
        return (await self._current()).metrics

    async def score(
        self,
        *,
        target: ScorableImage | None,
        text: str,
        candidates: Sequence[ScorableImage],
        metrics: Sequence[str],
        request_id: str,
        tenant_id: str,
    ) -> list[CandidateScores]:
        """Scores in the order of the candidates.

        Raises:
            NotFoundError: METRIC_NOT_FOUND, as MetricCatalog.find raises it, also for what a profile is based on;
                PROFILE_NOT_FOUND.
            InvalidInputError: a personal metric has no target, or a target and a candidate are too large to be sent
                together.
            UnavailableError: MODEL_UNAVAILABLE, a profile was fitted on another backbone than the scorer has.
        """
        heads = await self._personal.heads_of(tenant_id, metrics)
        others = tuple(name for name in metrics if name not in heads)
        # What is cached of personal metrics is scored without any call: how pictures were prepared last is enough.
        catalog = await self._current() if others else self._catalog or await self._current()
        needed = [heads[name].backbone.metric if name in heads else name for name in metrics]
        if any(name not in catalog.metrics.offered for name in needed):
            catalog = await self._current(than=catalog)
        _check_offered(needed, catalog)
        if not candidates:
            return []
        job = _Job(self._scorer, self._cache, target, text, tuple(candidates), others, request_id)

        async def run(catalog: _Catalog, *, always_send_pictures: bool) -> list[CandidateScores]:
            personal = await self._personal.score(heads, catalog.metrics, target, candidates, request_id=request_id)
            scores = await job.run(catalog, always_send_pictures=always_send_pictures)
            if any(_is_other(score.metric, score.revision, catalog) for one in scores for score in one.scores):
                self._catalog = None
            return _in_order(metrics, personal, scores)

        try:
            return await run(catalog, always_send_pictures=False)
        except LikenessError:
            # A scorer that was redeployed knows vectors of other revisions, and needs the pictures instead.
            newer = await self._current(than=catalog)
            if newer.is_like(catalog):
                raise
            _check_offered(needed, newer)
            return await run(newer, always_send_pictures=True)

    async def _current(self, *, than: _Catalog | None = None) -> _Catalog:
        """The catalog, not older than CATALOG_SECONDS, and another one than `than`."""
        if (known := self._catalog) is not None and known is not than and _is_fresh(known):
            return known
        async with self._reading:
            if (known := self._catalog) is not None and known is not than and _is_fresh(known):
                return known
            metrics, models = await asyncio.gather(self._scorer.list_metrics(), self._scorer.list_models())
            self._catalog = _Catalog(metrics, {model.id: model.revision for model in models}, time.monotonic())
            return self._catalog


@dataclass(frozen=True)
class _Job:
    scorer: ScorerPort
    cache: VectorCache
    target: ScorableImage | None
    text: str
    candidates: tuple[ScorableImage, ...]
    metrics: tuple[str, ...]
    request_id: str

    async def run(self, catalog: _Catalog, *, always_send_pictures: bool) -> list[CandidateScores]:
        if not self.metrics:
            return [CandidateScores(()) for _ in self.candidates]
        infos = [catalog.metrics.offered[name] for name in self.metrics]
        compares_pictures = any(info.input == "image-image" for info in infos)
        send_pictures = always_send_pictures or any(not info.embedding_model for info in infos)
        vectors = await self._embeddings(catalog, infos)
        target = await self._subject(self.target, vectors, send_pictures) if compares_pictures and self.target else None
        subjects = [await self._subject(candidate, vectors, send_pictures) for candidate in self.candidates]
        scores: list[CandidateScores] = []
        for chunk in batches.split(subjects, _size, base_bytes=_size(target)):
            scores += await self.scorer.score(
                target=target, text=self.text, candidates=chunk, metrics=self.metrics, request_id=self.request_id
            )
        return scores

    async def _embeddings(self, catalog: _Catalog, infos: Sequence[MetricInfo]) -> dict[str, list[EmbeddingVector]]:
        """Embeddings by pixel hash, for every model under the metrics."""
        vectors: dict[str, list[EmbeddingVector]] = {}
        for model in dict.fromkeys(info.embedding_model for info in infos if info.embedding_model):
            used = [info for info in infos if info.embedding_model == model]
            pictures = {candidate.pixel_hash: candidate for candidate in self.candidates}
            if self.target is not None and any(info.input == "image-image" for info in used):
                pictures[self.target.pixel_hash] = self.target
            revision, preprocessing = catalog.revisions.get(model, used[0].revision), used[0].preprocessing
            keys = [EmbeddingKey(pixel_hash, model, revision, preprocessing) for pixel_hash in pictures]
            by_key: dict[CacheKey[EmbeddingVector], ScorableImage] = dict(zip(keys, pictures.values(), strict=True))
            for key, vector in zip(keys, await self._cached(model, by_key), strict=True):
                vectors.setdefault(key.pixel_hash, []).append(vector)
        return vectors

    async def _cached(
        self, model: str, pictures: Mapping[CacheKey[EmbeddingVector], ScorableImage]
    ) -> list[EmbeddingVector]:
        async def embed(missing: Sequence[CacheKey[EmbeddingVector]]) -> list[EmbeddingVector]:
            vectors: list[EmbeddingVector] = []
            for run in batches.split([pictures[key] for key in missing], lambda picture: picture.size_bytes):
                images = [await picture.read() for picture in run]
                vectors += await self.scorer.embed(model, images, request_id=self.request_id)
            return vectors

        return await self.cache.get_or_compute(list(pictures), embed)

    async def _subject(
        self, image: ScorableImage, vectors: dict[str, list[EmbeddingVector]], send_picture: bool
    ) -> ScoreSubject:
        return ScoreSubject(await image.read() if send_picture else None, tuple(vectors.get(image.pixel_hash, ())))


def _check_offered(metrics: Sequence[str], catalog: _Catalog) -> None:
    for index, name in enumerate(metrics):
        catalog.metrics.find(name, field=f"metrics[{index}]")


def _in_order(
    metrics: Sequence[str], personal: Mapping[str, Sequence[Score]], others: Sequence[CandidateScores]
) -> list[CandidateScores]:
    """Scores in the order of the metrics; `others` hold those that are not personal, in that order."""
    merged: list[CandidateScores] = []
    for index, one in enumerate(others):
        rest = iter(one.scores)
        scores = tuple(personal[name][index] if name in personal else next(rest) for name in metrics)
        merged.append(CandidateScores(scores, one.text_truncated))
    return merged


def _size(subject: ScoreSubject | None) -> int:
    if subject is None:
        return 0
    return len(subject.data or b"") + sum(len(vector.data) + 256 for vector in subject.embeddings)


def _is_other(metric: str, revision: str, catalog: _Catalog) -> bool:
    known = catalog.metrics.offered.get(metric)
    return known is None or known.revision != revision


def _is_fresh(catalog: _Catalog) -> bool:
    return time.monotonic() - catalog.read_at < CATALOG_SECONDS
