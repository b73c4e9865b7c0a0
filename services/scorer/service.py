"""The scorer as a domain object: embeds, scores, compares, learns, lists. Knows neither gRPC nor Ray."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from services.common import telemetry, tracing
from services.common.errors import CancelledError, InvalidInputError
from services.common.heads import Head
from services.scorer import differences, learning, scoring
from services.scorer.domain import CandidateScores, DifferenceVector, FitQuery, KnownEmbedding, ScoreQuery, Subject
from services.scorer.metrics.base import EmbedderSpec, MetricInput, MetricSpec
from services.scorer.registry import Registry
from services.scorer.scoring import Check

MAX_PICTURES = 256
MAX_METRICS = 32
MAX_TEXT_CHARACTERS = 2000
MAX_RANKINGS = 256
MIN_RANKED, MAX_RANKED = 2, 64
MAX_TASTES = 32
WORKERS = 2
"""Requests computed at once: one decodes and hashes while the other one's forward pass runs."""

_waiting = telemetry.gauge("likeness_scorer_queue_depth", "Requests that wait for or use a worker thread.")
Result = TypeVar("Result")


class Scorer:
    """Answers requests in worker threads, never on the event loop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="scorer")

    def close(self) -> None:
        """Lets running work end and starts no more."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    def metrics(self) -> list[MetricSpec]:
        """Metrics of this deployment."""
        return [metric.spec for metric in self._registry.metrics.values()]

    def absent(self) -> Mapping[str, str]:
        """Known metrics that this deployment lacks, by id, and why."""
        return self._registry.absent

    def models(self) -> list[EmbedderSpec]:
        """Embedding models of this deployment; hashes are among them, as their bits are embeddings too."""
        return [embedder.spec for embedder in self._registry.embedders.values()]

    async def embed(self, model: str, pictures: Sequence[Subject]) -> list[KnownEmbedding]:
        """Embeddings in the order of the pictures.

        Raises:
            NotFoundError: there is no such embedding model.
            InvalidInputError: too few or too many pictures, or one cannot be taken.
        """
        embedder = self._registry.embedder(model, field="model")
        _check_count("images", len(pictures), MAX_PICTURES, "pictures")

        def work(check: Check) -> list[KnownEmbedding]:
            spec = embedder.spec
            return [
                KnownEmbedding(spec.id, spec.revision, spec.preprocessing, vector.size, vector.astype("<f4").tobytes())
                for vector in scoring.embed(embedder, pictures, check)
            ]

        return await self._in_worker(work)

    async def score(self, query: ScoreQuery) -> list[CandidateScores]:
        """Scores in the order of the candidates; a metric that fails for one leaves the others whole.

        Raises:
            NotFoundError: there is no such metric.
            InvalidInputError: target, text, candidates or metrics are missing, too many or cannot be taken.
        """
        _check_count("metrics", len(query.metrics), MAX_METRICS, "metrics")
        metrics = [self._registry.metric(id_, field=f"metrics[{i}]") for i, id_ in enumerate(query.metrics)]
        _check_count("candidates", len(query.candidates), MAX_PICTURES, "candidates")
        if len(query.text) > MAX_TEXT_CHARACTERS:
            problem, allowed = f"has {len(query.text):,} characters", f"at most {MAX_TEXT_CHARACTERS:,}"
            raise InvalidInputError("text", problem, allowed=allowed)
        for metric in metrics:
            if metric.spec.input is MetricInput.IMAGE_IMAGE and query.target is None:
                raise InvalidInputError("target", f"metric {metric.spec.id} needs it")
            if metric.spec.input is MetricInput.TEXT_IMAGE and not query.text.strip():
                raise InvalidInputError("text", f"metric {metric.spec.id} needs it", allowed="a text that is not blank")
        return await self._in_worker(lambda check: scoring.score(query, metrics, check))

    async def compare(self, metric: str, target: Subject, candidates: Sequence[Subject]) -> list[DifferenceVector]:
        """Difference vectors in the order of the candidates.

        Raises:
            NotFoundError: there is no such metric, or it has no difference vectors.
            InvalidInputError: too few or too many candidates, or a picture cannot be taken.
        """
        lpips = differences.lpips_of(self._registry, metric, field="metric")
        _check_count("candidates", len(candidates), MAX_PICTURES, "candidates")

        def work(check: Check) -> list[DifferenceVector]:
            vectors = scoring.compare(lpips, target, candidates, check)
            return [differences.encode(lpips, vector) for vector in vectors]

        return await self._in_worker(work)

    def published_head(self, metric: str) -> Head:
        """LPIPS's own weights; NotFoundError for a metric without a head."""
        return differences.lpips_of(self._registry, metric, field="metric").head

    async def fit_head(self, query: FitQuery) -> learning.Learned:
        """Learns a head from rankings and says whether it may be used.

        Raises:
            NotFoundError: the parent is of a metric without a head.
            InvalidInputError: too few or too many rankings, vectors or tastes, or one is broken or not of the backbone.
        """
        lpips = differences.lpips_of(self._registry, query.parent.metric, field="parent.metric")
        _check_count("rankings", len(query.rankings), MAX_RANKINGS, "rankings")
        for ranking in query.rankings:
            field, count = f"{ranking.field}.differences", len(ranking.differences)
            _check_count(field, count, MAX_RANKED, "vectors", least=MIN_RANKED)
        _check_count("tastes", len(query.tastes), MAX_TASTES, "heads", least=0)
        return await self._in_worker(lambda check: learning.learn(lpips, query, check))

    async def _in_worker(self, work: Callable[[Check], Result]) -> Result:
        """Runs work in a thread; when the caller goes away, the work ends at its next check."""
        unwanted = threading.Event()

        def check() -> None:
            if unwanted.is_set():
                raise CancelledError()

        asked = time.perf_counter()

        def run() -> Result:
            tracing.past("queue", tracing.current(), asked, time.perf_counter())
            with tracing.span("compute"):
                return work(check)

        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        with _waiting.track_inprogress():
            try:
                return await loop.run_in_executor(self._workers, lambda: context.run(run))
            finally:
                unwanted.set()


def _check_count(field: str, count: int, most: int, what: str, *, least: int = 1) -> None:
    if not least <= count <= most:
        raise InvalidInputError(field, f"has {count} {what}", allowed=f"{least} to {most}")
