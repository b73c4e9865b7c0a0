"""The scorer behind the embedding cache: embeds what the cache lacks, then compares in as few calls as possible."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.common.errors import InvalidInputError, LikenessError
from services.common.settings import MAX_MESSAGE_BYTES, MEBIBYTE
from services.gateway.cache import EmbeddingCache, EmbeddingKey
from services.gateway.ports import (
    CandidateScores,
    EmbeddingVector,
    MetricCatalog,
    MetricInfo,
    ScorableImage,
    ScorerPort,
    ScoreSubject,
)

CATALOG_SECONDS = 30.0
"""How long the scorer's list of metrics and revisions is believed."""
MAX_PICTURES = 256
"""Pictures in one call to the scorer."""
MAX_CALL_BYTES = MAX_MESSAGE_BYTES - MEBIBYTE
"""Picture bytes in one call; the rest of the message limit is for everything else."""


@dataclass(frozen=True)
class _Catalog:
    metrics: MetricCatalog
    revisions: dict[str, str]
    """Of embedding models, by id."""
    read_at: float


class CachedScoring:
    """Scoring over a scorer and a cache."""

    def __init__(self, scorer: ScorerPort, cache: EmbeddingCache) -> None:
        self._scorer = scorer
        self._cache = cache
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
    ) -> list[CandidateScores]:
        """Scores in the order of the candidates.

        Raises:
            NotFoundError: METRIC_NOT_FOUND, as MetricCatalog.find raises it.
            InvalidInputError: a target and a candidate are too large to be sent together.
        """
        catalog = await self._current()
        if any(name not in catalog.metrics.offered for name in metrics):
            catalog = await self._current(than=catalog)
        for index, name in enumerate(metrics):
            catalog.metrics.find(name, field=f"metrics[{index}]")
        if not candidates:
            return []
        job = _Job(self._scorer, self._cache, target, text, tuple(candidates), tuple(metrics), request_id)
        try:
            scores = await job.run(catalog, always_send_pictures=False)
        except LikenessError:
            # A scorer that was redeployed knows embeddings of other revisions, and needs the pictures instead.
            newer = await self._current(than=catalog)
            if newer.revisions == catalog.revisions:
                raise
            return await job.run(newer, always_send_pictures=True)
        if any(_is_other(score.metric, score.revision, catalog) for one in scores for score in one.scores):
            self._catalog = None
        return scores

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
    cache: EmbeddingCache
    target: ScorableImage | None
    text: str
    candidates: tuple[ScorableImage, ...]
    metrics: tuple[str, ...]
    request_id: str

    async def run(self, catalog: _Catalog, *, always_send_pictures: bool) -> list[CandidateScores]:
        infos = [catalog.metrics.offered[name] for name in self.metrics]
        compares_pictures = any(info.input == "image-image" for info in infos)
        send_pictures = always_send_pictures or any(not info.embedding_model for info in infos)
        vectors = await self._embeddings(catalog, infos)
        target = self._subject(self.target, vectors, send_pictures) if compares_pictures and self.target else None
        subjects = [self._subject(candidate, vectors, send_pictures) for candidate in self.candidates]
        scores: list[CandidateScores] = []
        for chunk in _chunks(subjects, _size(target), MAX_CALL_BYTES):
            scores += await self.scorer.score(
                target=target, text=self.text, candidates=chunk, metrics=self.metrics, request_id=self.request_id
            )
        return scores

    async def _embeddings(self, catalog: _Catalog, infos: Sequence[MetricInfo]) -> dict[str, list[EmbeddingVector]]:
        """Embeddings by pixel hash, for every model under the metrics."""
        vectors: dict[str, list[EmbeddingVector]] = {}
        for model in dict.fromkeys(info.embedding_model for info in infos if info.embedding_model):
            used = [info for info in infos if info.embedding_model == model]
            pictures = {candidate.pixel_hash: candidate.data for candidate in self.candidates}
            if self.target is not None and any(info.input == "image-image" for info in used):
                pictures[self.target.pixel_hash] = self.target.data
            revision, preprocessing = catalog.revisions.get(model, used[0].revision), used[0].preprocessing
            keys = [EmbeddingKey(pixel_hash, model, revision, preprocessing) for pixel_hash in pictures]
            for key, vector in zip(keys, await self._cached(keys, pictures), strict=True):
                vectors.setdefault(key.pixel_hash, []).append(vector)
        return vectors

    async def _cached(self, keys: Sequence[EmbeddingKey], pictures: dict[str, bytes]) -> list[EmbeddingVector]:
        async def embed(missing: Sequence[EmbeddingKey]) -> list[EmbeddingVector]:
            subjects = [ScoreSubject(pictures[key.pixel_hash]) for key in missing]
            vectors: list[EmbeddingVector] = []
            for chunk in _chunks(subjects, 0, MAX_CALL_BYTES):
                images = [subject.data or b"" for subject in chunk]
                vectors += await self.scorer.embed(missing[0].model, images, request_id=self.request_id)
            return vectors

        return await self.cache.get_or_compute(keys, embed)

    def _subject(
        self, image: ScorableImage, vectors: dict[str, list[EmbeddingVector]], send_picture: bool
    ) -> ScoreSubject:
        return ScoreSubject(image.data if send_picture else None, tuple(vectors.get(image.pixel_hash, ())))


def _chunks(subjects: Iterable[ScoreSubject], base_bytes: int, limit_bytes: int) -> Iterator[list[ScoreSubject]]:
    """Subjects in runs that fit one call beside `base_bytes` that every call carries."""
    chunk: list[ScoreSubject] = []
    size = base_bytes
    for index, subject in enumerate(subjects):
        if base_bytes + _size(subject) > limit_bytes:
            problem = "is too large to be compared with this target"
            allowed = f"at most {limit_bytes // MEBIBYTE} MiB for both files"
            raise InvalidInputError(f"candidates[{index}]", problem, allowed=allowed)
        if chunk and (size + _size(subject) > limit_bytes or len(chunk) == MAX_PICTURES):
            yield chunk
            chunk, size = [], base_bytes
        chunk.append(subject)
        size += _size(subject)
    if chunk:
        yield chunk


def _size(subject: ScoreSubject | None) -> int:
    if subject is None:
        return 0
    return len(subject.data or b"") + sum(len(vector.data) + 256 for vector in subject.embeddings)


def _is_other(metric: str, revision: str, catalog: _Catalog) -> bool:
    known = catalog.metrics.offered.get(metric)
    return known is None or known.revision != revision


def _is_fresh(catalog: _Catalog) -> bool:
    return time.monotonic() - catalog.read_at < CATALOG_SECONDS
