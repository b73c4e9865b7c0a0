"""Scores of many pairs at once: from the cache where they are known, else in as few calls to the scorer as possible."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.errors import InvalidInputError, LikenessError, NotFoundError
from services.gateway.cache_keys import CacheKey, ScoreKey, ScoreValue
from services.gateway.domain import Score
from services.gateway.loops.retry import RetryPolicy, retried
from services.gateway.ports import CandidateScores, MetricCatalog, MetricInfo
from services.gateway.scorable import ScorableImage, Scoring

MAX_CALLS = 8
"""Calls to the scorer that are under way for evaluations of this gateway."""

_VALUES = struct.Struct("<dd?")


@dataclass(frozen=True)
class Pair:
    """A picture to score, and what it is compared with."""

    target: ScorableImage | None
    text: str
    candidate: ScorableImage


class ScoreCache(Protocol):
    """Scores that were computed before."""

    async def find(self, keys: Sequence[CacheKey[ScoreValue]]) -> dict[CacheKey[ScoreValue], ScoreValue]:
        """Those that are known."""
        ...

    async def keep(self, values: Mapping[CacheKey[ScoreValue], ScoreValue]) -> None:
        """Stores scores."""
        ...


class PairScoring:
    """Scores pairs of any targets and texts."""

    def __init__(self, scoring: Scoring, cache: ScoreCache, *, retry: RetryPolicy) -> None:
        self._scoring = scoring
        self._cache = cache
        self._retry = retry
        self._calls = asyncio.Semaphore(MAX_CALLS)

    async def metrics(self) -> MetricCatalog:
        """Metrics of the deployment."""
        return await self._scoring.metrics()

    async def score(
        self, pairs: Sequence[Pair], metrics: Sequence[str], *, tenant_id: str, request_id: str
    ) -> list[CandidateScores | LikenessError]:
        """Scores in the order of the pairs, or why one cannot be scored (InvalidInputError, NotFoundError).

        Raises:
            LikenessError: what scoring needs does not answer, although it was asked again.
        """
        offered = (await self._scoring.metrics()).offered
        cacheable = [offered[name] for name in metrics if name in offered]
        keys = [[_key(pair, metric) for metric in cacheable] for pair in pairs]
        known = await self._cache.find([key for row in keys for key in row])
        scores = [
            {
                key.metric: _score(metric, known[key].data)
                for key, metric in zip(row, cacheable, strict=True)
                if key in known
            }
            for row in keys
        ]
        reads_text = any(metric.input == "text-image" for metric in cacheable)
        groups: dict[tuple[str, str], list[int]] = {}
        for index, (pair, found) in enumerate(zip(pairs, scores, strict=True)):
            if len(found) < len(metrics):
                target = pair.target.pixel_hash if pair.target else ""
                groups.setdefault((target, pair.text if reads_text else ""), []).append(index)
        failed: dict[int, LikenessError] = {}

        async def compute(indexes: Sequence[int]) -> None:
            missing = [name for name in metrics if any(name not in scores[index] for index in indexes)]
            group = [pairs[index] for index in indexes]
            answers = await self._group(group, missing, tenant_id=tenant_id, request_id=request_id)
            for index, answer in zip(indexes, answers, strict=True):
                if isinstance(answer, LikenessError):
                    failed[index] = answer
                else:
                    scores[index] |= {one.metric: one for one in answer.scores}

        if groups:
            await _all(compute(indexes) for indexes in groups.values())
            await self._cache.keep(_new(keys, scores, known))
        return [
            failed[index] if index in failed else _candidate_scores([found[name] for name in metrics])
            for index, found in enumerate(scores)
        ]

    async def _group(
        self, pairs: Sequence[Pair], metrics: Sequence[str], *, tenant_id: str, request_id: str
    ) -> Sequence[CandidateScores | LikenessError]:
        """Scores of pairs that share target and text."""

        async def call() -> list[CandidateScores]:
            async with self._calls:
                return await self._scoring.score(
                    target=pairs[0].target,
                    text=pairs[0].text,
                    candidates=[pair.candidate for pair in pairs],
                    metrics=metrics,
                    request_id=request_id,
                    tenant_id=tenant_id,
                )

        try:
            return await retried(self._retry, call)
        except (InvalidInputError, NotFoundError) as error:
            if len(pairs) == 1:
                return [error]
        # One of them is at fault: by itself, so that it fails alone.
        single = [await self._group([pair], metrics, tenant_id=tenant_id, request_id=request_id) for pair in pairs]
        return [answer for (answer,) in single]


async def _all(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Awaits all; the first failure cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _key(pair: Pair, metric: MetricInfo) -> ScoreKey:
    target = pair.target.pixel_hash if pair.target is not None and metric.input == "image-image" else ""
    text = hashlib.sha256(pair.text.encode()).hexdigest() if metric.input == "text-image" else ""
    return ScoreKey(target, pair.candidate.pixel_hash, text, metric.id, metric.revision, metric.preprocessing)


def _new(
    keys: Sequence[Sequence[ScoreKey]],
    scores: Sequence[Mapping[str, Score]],
    known: Mapping[CacheKey[ScoreValue], ScoreValue],
) -> dict[CacheKey[ScoreValue], ScoreValue]:
    """What the cache lacks, under the revision that it was computed with."""
    values: dict[CacheKey[ScoreValue], ScoreValue] = {}
    for row, found in zip(keys, scores, strict=True):
        for key in row:
            score = found.get(key.metric)
            if key not in known and score is not None and score.error is None:
                value = ScoreValue(score.metric, score.revision, _data(score))
                values[key.of(value)] = value
    return values


def _data(score: Score) -> bytes:
    """Raw, normalized, whether the text was cut, and float32 values of the cells."""
    cells = struct.pack(f"<{len(score.cells)}f", *score.cells)
    return _VALUES.pack(score.raw, score.normalized, score.text_truncated) + cells


def _score(metric: MetricInfo, data: bytes) -> Score:
    raw, normalized, text_truncated = _VALUES.unpack_from(data)
    return Score(
        metric=metric.id,
        revision=metric.revision,
        raw=raw,
        normalized=normalized,
        higher_is_better=metric.higher_is_better,
        minimum=metric.minimum,
        maximum=metric.maximum,
        cells=struct.unpack_from(f"<{(len(data) - _VALUES.size) // 4}f", data, _VALUES.size),
        text_truncated=text_truncated,
    )


def _candidate_scores(scores: Sequence[Score]) -> CandidateScores:
    return CandidateScores(tuple(scores), any(one.text_truncated for one in scores))
