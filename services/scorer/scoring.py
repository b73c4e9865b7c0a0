"""One request, start to end: embed what is not known, compare, and keep going when one part fails.

Runs in a worker thread. Candidates are decoded and worked through in batches, so memory does not grow with a request.
Metrics that stand on one embedder share its passes; equal pictures are embedded once. When a batch fails, its pictures
are tried alone, so that only those at fault carry an error.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from services.common import telemetry, tracing
from services.common.errors import CancelledError, InternalError, LikenessError, Reason
from services.scorer.domain import CandidateScores, ItemFailure, Score, ScoreQuery, Subject
from services.scorer.metrics.base import (
    Embedder,
    EmbeddingMetric,
    Metric,
    MetricInput,
    PairMetric,
    TextEmbedder,
    TextEmbedding,
    Value,
    Vector,
)
from services.scorer.metrics.lpips_distance import Lpips
from services.scorer.metrics.text_pair import PictureMetric, TextPairMetric, VectorMetric
from services.scorer.pictures import Picture
from services.scorer.subjects import Prepared, decode, prepare

BATCH_PICTURES = 32
"""Most pictures in one pass; between two passes a request can be cancelled."""
BATCH_PIXELS = 64_000_000
"""Decoded pixels at which a batch is closed early: a small file can hold a large picture, and a request many files."""

log = telemetry.get_logger(__name__)
_batch_pictures = telemetry.histogram(
    "likeness_scorer_batch_pictures", "Pictures per embedding pass.", ("model",), buckets=(1, 2, 4, 8, 16, 32)
)
_embeddings = telemetry.counter("likeness_scorer_embeddings", "Embeddings computed.", ("model",))
_metric_seconds = telemetry.histogram("likeness_scorer_metric_seconds", "Time per metric and batch.", ("metric",))
_failures = telemetry.counter("likeness_scorer_metric_failures", "Scores that failed.", ("metric",))

Check = Callable[[], None]
"""Raises CancelledError when the request is no longer wanted."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def score(query: ScoreQuery, metrics: Sequence[Metric], check: Check) -> list[CandidateScores]:
    """Scores of every candidate; `metrics` belong to `query.metrics` one by one.

    Raises:
        InvalidInputError: a picture or embedding of the request cannot be taken.
        CancelledError: `check` said so.
    """
    target = prepare(query.target, metrics, is_target=True) if query.target else None
    run = _Run(query.text, target, check)
    rows: list[tuple[Score, ...]] = []
    prepared = (prepare(subject, metrics, is_target=False) for subject in query.candidates)
    for batch in _decoded(prepared, check):
        columns = [run.column(metric, batch) for metric in metrics]
        outcomes = zip(*columns, strict=True)
        rows += [tuple(run.score(m, o) for m, o in zip(metrics, row, strict=True)) for row in outcomes]
    return [CandidateScores(row) for row in rows]


def embed(embedder: Embedder, subjects: Sequence[Subject], check: Check) -> list[Vector]:
    """Vectors in the order of the pictures; equal pictures are embedded once.

    Raises:
        InvalidInputError: a picture cannot be taken.
        CancelledError: `check` said so.
    """
    vectors: dict[str, Vector] = {}
    order: list[str] = []
    for batch in _decoded((Prepared({}, decode(s.data or b"", s.field)) for s in subjects), check):
        order += [_picture(one).pixel_hash for one in batch]
        missing = {_picture(one).pixel_hash: _picture(one) for one in batch if _picture(one).pixel_hash not in vectors}
        if missing:
            vectors.update(zip(missing, _pass(embedder, list(missing.values())), strict=True))
    return [vectors[pixel_hash] for pixel_hash in order]


def compare(metric: Lpips, target: Subject, candidates: Sequence[Subject], check: Check) -> list[Vector]:
    """Difference vectors v [channels of all layers] in the order of the candidates.

    Raises:
        InvalidInputError: a picture cannot be taken.
        CancelledError: `check` said so.
    """
    reference = decode(target.data or b"", target.field)
    rows: list[Vector] = []
    for batch in _decoded((Prepared({}, decode(s.data or b"", s.field)) for s in candidates), check):
        start = time.perf_counter()
        rows += list(metric.differences(reference, [_picture(one) for one in batch]))
        _metric_seconds.labels(metric.spec.id).observe(time.perf_counter() - start)
    return rows


class _Run:
    """What the metrics of one request share."""

    def __init__(self, text: str, target: Prepared | None, check: Check) -> None:
        self._text = text
        self._target = target
        self._check = check
        self._vectors: dict[tuple[str, str], Vector | ItemFailure] = {}
        self._texts: dict[tuple[str, str], TextEmbedding | ItemFailure] = {}
        self._truncated: set[str] = set()
        """Ids of the metrics that left the text's end out."""

    def score(self, metric: Metric, outcome: Value | ItemFailure) -> Score:
        """An outcome with what else is to be said of it."""
        return Score(metric.spec, outcome, text_truncated=metric.spec.id in self._truncated)

    def column(self, metric: Metric, candidates: Sequence[Prepared]) -> list[Value | ItemFailure]:
        """One metric's outcome for every candidate of a batch."""
        start = time.perf_counter()
        with tracing.span(
            "metric", attributes={"likeness.metric": metric.spec.id, "likeness.pictures": len(candidates)}
        ):
            checked = [_finite(outcome) for outcome in self._outcomes(metric, candidates)]
        _failures.labels(metric.spec.id).inc(sum(isinstance(outcome, ItemFailure) for outcome in checked))
        _metric_seconds.labels(metric.spec.id).observe(time.perf_counter() - start)
        return checked

    def _outcomes(self, metric: Metric, candidates: Sequence[Prepared]) -> list[Value | ItemFailure]:
        if isinstance(metric, EmbeddingMetric):
            return self._compared(metric, candidates)
        if isinstance(metric, PairMetric):
            return self._paired(metric, candidates)
        if isinstance(metric, TextPairMetric):
            return self._read(metric, candidates)
        if isinstance(metric, PictureMetric):
            return _each(metric.rate, [_picture(candidate) for candidate in candidates], self._check)
        if isinstance(metric, VectorMetric):
            return self._rated(metric, candidates)
        raise TypeError(f"{type(metric).__name__} is no kind of metric")

    def _paired(self, metric: PairMetric, candidates: Sequence[Prepared]) -> list[Value | ItemFailure]:
        target = _picture(self._target)
        pictures = [_picture(candidate) for candidate in candidates]
        return _each(lambda batch: metric.score(target, batch), pictures, self._check)

    def _read(self, metric: TextPairMetric, candidates: Sequence[Prepared]) -> list[Value | ItemFailure]:
        def values(batch: Sequence[Picture]) -> list[Value]:
            scores = metric.score(self._text, batch)
            self._note(metric, truncated=scores.truncated)
            return list(scores.values)

        return _each(values, [_picture(candidate) for candidate in candidates], self._check)

    def _rated(self, metric: VectorMetric, candidates: Sequence[Prepared]) -> list[Value | ItemFailure]:
        self._embed_missing(metric.embedder, candidates)
        vectors = [self._vector(metric.embedder, candidate) for candidate in candidates]
        return [
            vector if isinstance(vector, ItemFailure) else _each(_one(metric.rate), [vector], self._check)[0]
            for vector in vectors
        ]

    def _compared(self, metric: EmbeddingMetric, candidates: Sequence[Prepared]) -> list[Value | ItemFailure]:
        is_text = metric.spec.input is MetricInput.TEXT_IMAGE
        target = [] if is_text or self._target is None else [self._target]
        self._embed_missing(metric.embedder, [*target, *candidates])
        reference = self._text_vector(metric) if is_text else self._vector(metric.embedder, self._target)
        return [self._compare(metric, reference, candidate) for candidate in candidates]

    def _compare(
        self, metric: EmbeddingMetric, reference: Vector | ItemFailure, candidate: Prepared
    ) -> Value | ItemFailure:
        vector = self._vector(metric.embedder, candidate)
        if isinstance(reference, ItemFailure):
            return reference
        if isinstance(vector, ItemFailure):
            return vector
        return _each(lambda _: [metric.compare(reference, vector)], [candidate], self._check)[0]

    def _embed_missing(self, embedder: Embedder, subjects: Sequence[Prepared]) -> None:
        model = embedder.spec.id
        absent = [_picture(subject) for subject in subjects if model not in subject.vectors]
        pictures = {picture.pixel_hash: picture for picture in absent}
        missing = {key: picture for key, picture in pictures.items() if (model, key) not in self._vectors}
        outcomes = _each(lambda batch: _pass(embedder, batch), list(missing.values()), self._check)
        self._vectors.update({(model, key): outcome for key, outcome in zip(missing, outcomes, strict=True)})

    def _vector(self, embedder: Embedder, subject: Prepared | None) -> Vector | ItemFailure:
        if subject is not None and embedder.spec.id in subject.vectors:
            return subject.vectors[embedder.spec.id]
        return self._vectors[embedder.spec.id, _picture(subject).pixel_hash]

    def _text_vector(self, metric: EmbeddingMetric) -> Vector | ItemFailure:
        embedder = metric.embedder
        if not isinstance(embedder, TextEmbedder):
            raise TypeError(f"{embedder.spec.id} reads no text")
        text = metric.text_prefix + self._text
        if (embedder.spec.id, text) not in self._texts:
            (outcome,) = _each(_one(embedder.embed_text), [text], self._check)
            self._texts[embedder.spec.id, text] = outcome
        outcome = self._texts[embedder.spec.id, text]
        if isinstance(outcome, ItemFailure):
            return outcome
        self._note(metric, truncated=outcome.truncated)
        return outcome.vector

    def _note(self, metric: Metric, *, truncated: bool) -> None:
        if truncated:
            self._truncated.add(metric.spec.id)


def _one(function: Callable[[Item], Result]) -> Callable[[Sequence[Item]], list[Result]]:
    """A function of one item as one of a batch."""
    return lambda batch: [function(item) for item in batch]


def _each(
    function: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], check: Check
) -> list[Result | ItemFailure]:
    """Results in batches; items of a batch that fails are tried alone."""
    outcomes: list[Result | ItemFailure] = []
    for batch in _batches(items):
        check()
        try:
            outcomes += function(batch)
        except CancelledError:
            raise
        except Exception as error:  # one broken item must not take the others with it
            if len(batch) == 1:
                outcomes.append(_failure(error))
                continue
            for item in batch:
                alone: list[Result | ItemFailure] = _each(function, [item], check)
                outcomes += alone
    return outcomes


def _failure(error: Exception) -> ItemFailure:
    if not isinstance(error, LikenessError):
        log.exception("metric_failed")
        error = InternalError()
    return ItemFailure(error.reason.value, error.message)


def _finite(outcome: Value | ItemFailure) -> Value | ItemFailure:
    if isinstance(outcome, ItemFailure) or (math.isfinite(outcome.raw) and math.isfinite(outcome.normalized)):
        return outcome
    return ItemFailure(Reason.INTERNAL.value, "the metric has no finite value for this pair")


def _pass(embedder: Embedder, batch: Sequence[Picture]) -> list[Vector]:
    _batch_pictures.labels(embedder.spec.id).observe(len(batch))
    _embeddings.labels(embedder.spec.id).inc(len(batch))
    with tracing.span("embed", attributes={"likeness.model": embedder.spec.id, "likeness.pictures": len(batch)}):
        return embedder.embed(batch)


def _batches(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + BATCH_PICTURES] for start in range(0, len(items), BATCH_PICTURES)]


def _decoded(subjects: Iterable[Prepared], check: Check) -> Iterator[list[Prepared]]:
    """Batches of subjects that are decoded while they are drawn; the last batch's pictures are let go."""
    batch: list[Prepared] = []
    pixels = 0
    check()
    for subject in subjects:
        batch.append(subject)
        pixels += subject.picture.size[0] * subject.picture.size[1] if subject.picture else 0
        if len(batch) == BATCH_PICTURES or pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
        check()
    if batch:
        yield batch


def _picture(subject: Prepared | None) -> Picture:
    if subject is None or subject.picture is None:
        raise TypeError("a metric reached for a picture that was not prepared")
    return subject.picture
