"""How a request is worked through: partial results, shared passes, cancellation, bounds of memory."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from services.common.errors import CancelledError, InvalidInputError
from services.scorer import scoring
from services.scorer.domain import ItemFailure, ScoreQuery, Subject
from services.scorer.metrics.base import Embedder, EmbeddingMetric, PairMetric, Value, Vector
from services.scorer.metrics.lpips_distance import Lpips, Vectors
from services.scorer.metrics.pixels import Psnr
from services.scorer.pictures import Picture
from services.scorer.registry import Registry
from services.scorer.service import Scorer


class NoRed(PairMetric):
    """Brightness of a candidate; fails for a batch that holds a red one."""

    def __init__(self) -> None:
        super().__init__(replace(Psnr().spec, id="no-red"))
        self.batches: list[int] = []

    def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
        self.batches.append(len(candidates))
        if any(candidate.rgb.getpixel((0, 0)) == (255, 0, 0) for candidate in candidates):
            raise RuntimeError("secret detail")
        return [Value(1.0, 1.0) for _ in candidates]


def _subject(color: str, field: str = "x") -> Subject:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), color).save(out, "PNG")
    return Subject(field, out.getvalue())


def _query(*candidates: str, metrics: tuple[str, ...]) -> ScoreQuery:
    return ScoreQuery(_subject("white"), "", tuple(_subject(color) for color in candidates), metrics)


def _never() -> None:
    return None


def test_a_failing_candidate_leaves_the_others_and_other_metrics_whole() -> None:
    query = _query("blue", "red", "lime", metrics=("no-red", "psnr"))
    rows = scoring.score(query, [NoRed(), Psnr()], _never)
    failed = rows[1].scores[0].outcome
    assert isinstance(failed, ItemFailure)
    assert failed.reason == "INTERNAL"
    assert "secret" not in failed.message
    assert [isinstance(row.scores[0].outcome, Value) for row in rows] == [True, False, True]
    assert all(isinstance(row.scores[1].outcome, Value) for row in rows)


def test_equal_pictures_are_embedded_once_for_all_metrics_of_an_embedder(
    loaded: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = [loaded.metrics[id_] for id_ in ("clip-embedded-text", "clip-embedded")]
    assert isinstance(metrics[0], EmbeddingMetric)
    seen = _passes(metrics[0].embedder, monkeypatch)
    query = replace(_query("blue", "blue", "white", "lime", metrics=("a", "b")), text="a car")
    rows = scoring.score(query, metrics, _never)
    assert sum(seen) == 3, "blue, white (also the target) and lime"
    assert rows[0] == rows[1]


def test_a_value_does_not_depend_on_batch_mates(loaded: Registry) -> None:
    metrics = list(loaded.metrics.values())
    many = replace(_query("blue", "lime", "navy", metrics=tuple(loaded.metrics)), text="a car")
    together = scoring.score(many, metrics, _never)
    for index, row in enumerate(together):
        (alone,) = scoring.score(replace(many, candidates=many.candidates[index : index + 1]), metrics, _never)
        for one, other in zip(alone.scores, row.scores, strict=True):
            assert isinstance(one.outcome, Value)
            assert isinstance(other.outcome, Value)
            assert one.outcome.raw == pytest.approx(other.outcome.raw, abs=1e-5)


def _passes(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the passes that the embedder makes from now on."""
    seen: list[int] = []
    embed = embedder.embed

    def counted(pictures: Sequence[Picture]) -> list[Vector]:
        seen.append(len(pictures))
        return embed(pictures)

    monkeypatch.setattr(embedder, "embed", counted)
    return seen


def test_large_requests_are_worked_through_in_batches(loaded: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH_PICTURES", 4)
    embedder = loaded.embedders["phash"]
    subjects = [_subject(f"rgb({index}, 0, 0)") for index in range(10)]
    seen = _passes(embedder, monkeypatch)
    assert len(scoring.embed(embedder, [*subjects, subjects[0]], _never)) == 11
    assert seen == [4, 4, 2]


def test_a_batch_is_closed_early_when_its_pictures_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH_PIXELS", 2 * 16 * 16)
    metric = NoRed()
    rows = scoring.score(_query("blue", "lime", "navy", "pink", "gray", metrics=("no-red",)), [metric], _never)
    assert len(rows) == 5
    assert metric.batches == [2, 2, 1]


def test_cancelled_work_stops_at_the_next_check_and_is_no_item_failure() -> None:
    metric, calls = NoRed(), iter(range(100))

    def check() -> None:
        if next(calls) == 3:
            raise CancelledError()

    with pytest.raises(CancelledError):
        scoring.score(_query("blue", "red", "lime", metrics=("no-red",)), [metric], check)
    assert metric.batches == []


class TestCompare:
    def test_candidates_go_in_batches_and_keep_their_order(
        self, lpips_metric: Lpips, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subjects = [_subject(color) for color in ("blue", "lime", "navy", "pink", "blue")]
        alone = [scoring.compare(lpips_metric, _subject("red"), [subject], _never)[0] for subject in subjects]
        monkeypatch.setattr(scoring, "BATCH_PICTURES", 2)
        seen, whole = [], lpips_metric.differences

        def counted(target: Picture, candidates: Sequence[Picture]) -> Vectors:
            seen.append(len(candidates))
            return whole(target, candidates)

        monkeypatch.setattr(lpips_metric, "differences", counted)
        rows = scoring.compare(lpips_metric, _subject("red"), subjects, _never)
        assert seen == [2, 2, 1]
        np.testing.assert_allclose(rows, alone, atol=1e-6)
        assert not np.allclose(rows[0], rows[1], atol=1e-4)

    def test_cancelled_work_stops_between_batches(self, lpips_metric: Lpips, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scoring, "BATCH_PICTURES", 1)
        seen, cancelled = [], threading.Event()

        def one(target: Picture, candidates: Sequence[Picture]) -> Vectors:
            seen.append(len(candidates))
            cancelled.set()
            return np.zeros((len(candidates), 1), np.float32)

        def check() -> None:
            if cancelled.is_set():
                raise CancelledError()

        monkeypatch.setattr(lpips_metric, "differences", one)
        with pytest.raises(CancelledError):
            scoring.compare(lpips_metric, _subject("red"), [_subject("blue")] * 3, check)
        assert seen == [1]


async def test_a_caller_that_goes_away_stops_the_work(loaded: Registry) -> None:
    started, release, after = threading.Event(), threading.Event(), threading.Event()

    class Waits(NoRed):
        def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
            started.set()
            release.wait(60)
            return super().score(target, candidates)

    class After(NoRed):
        def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
            after.set()
            return super().score(target, candidates)

    waits, later = Waits(), After()
    later.spec = replace(later.spec, id="after")
    scorer = Scorer(Registry([waits, later]))
    task = asyncio.create_task(scorer.score(_query("blue", metrics=("no-red", "after"))))
    await asyncio.to_thread(started.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    await asyncio.to_thread(scorer.close)
    assert waits.batches == [1]
    assert not after.is_set()


def test_the_first_broken_picture_is_named() -> None:
    query = replace(
        _query(metrics=("psnr",)),
        candidates=(_subject("red", "candidates[0]"), Subject("candidates[1]", b"x"), Subject("candidates[2]", b"")),
    )
    with pytest.raises(InvalidInputError) as caught:
        scoring.score(query, [Psnr()], _never)
    assert caught.value.field == "candidates[1].image"
