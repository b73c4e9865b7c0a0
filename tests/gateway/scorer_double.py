"""Stand-in for the scorer at the gateway's seam: it compares the pictures of `doubles`, and learns heads from them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import numpy as np

from services.common.errors import LikenessError, NotFoundError, Reason
from services.common.heads import Backbone, Head, Recipe, distances, head_of
from services.gateway import domain, ports
from services.gateway.profiles.model import (
    METRIC_PREFIX,
    Alignment,
    AlignmentGain,
    Coefficient,
    FitDecision,
    FitReport,
    HeldOutReport,
)
from services.gateway.scorable import ScorableImage
from tests.gateway.doubles import draw, likeness


class Scorer:
    """Compares pixels: "pixels", "red", "green", "blue", and "named" for a text; "lpips-squeeze" if `has_lpips`.

    Its backbone has one channel for each color, so that a head says how much a person minds each. `refuses` makes fits
    end with the parent; `held` and `gate` let a test act while a fit is being learned.
    """

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.scored: Counter[str] = Counter()
        self.failures: list[LikenessError] = []
        self.broken_metrics: set[str] = set()
        self.has_lpips = False
        self.backbone = Backbone("lpips-squeeze", "b1", (3,))
        self.refuses = False
        self.fits: list[tuple[Head, tuple[ports.RankedDifferences, ...], tuple[Head, ...]]] = []
        self.held = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def embed(self, model: str, images: Sequence[bytes], *, request_id: str) -> list[ports.EmbeddingVector]:
        """None of its metrics embeds."""
        raise NotFoundError(Reason.MODEL_NOT_FOUND, "model", model)

    async def score(
        self,
        *,
        target: ScorableImage | None,
        text: str,
        candidates: Sequence[ScorableImage],
        metrics: Sequence[str],
        request_id: str,
    ) -> list[ports.CandidateScores]:
        """Scores in order."""
        self.calls.append(len(candidates))
        if self.failures:
            raise self.failures.pop(0)
        assert target is not None
        results = []
        reference = await target.read()
        for one in candidates:
            self.scored[one.pixel_hash] += 1
            data = await one.read()
            results.append(ports.CandidateScores(tuple(self._score(m, reference, text, data) for m in metrics)))
        return results

    def _score(self, metric: str, target: bytes, text: str, data: bytes) -> domain.Score:
        if metric in self.broken_metrics:
            error = domain.ItemError(Reason.INTERNAL.value, "this metric is broken")
            return domain.Score(metric, "s1", 0.0, 0.0, True, error=error)
        if metric == "named":
            value = likeness(draw(text, 0), data)
        else:
            value = likeness(target, data, {"red": 0, "green": 1, "blue": 2}.get(metric))
        raw = float("inf") if metric == "blue" and value == 1.0 else value
        return domain.Score(metric, "s1", raw, value, True, minimum=0.0, maximum=1.0)

    async def metrics(self) -> ports.MetricCatalog:
        """Metrics by id."""
        inputs = {name: "image-image" for name in ("pixels", "red", "green", "blue")} | {"named": "text-image"}
        inputs |= {self.backbone.metric: "image-image"} if self.has_lpips else {}
        offered = {
            name: ports.MetricInfo(name, "s1", name, kind, True, 0.0, 1.0, "rgb8", "", None, True, "Apache-2.0")
            for name, kind in inputs.items()
        }
        return ports.MetricCatalog(offered, {} if self.has_lpips else {"lpips-squeeze": "its weights are not here"})

    async def list_metrics(self) -> ports.MetricCatalog:
        """Metrics by id."""
        return await self.metrics()

    async def list_models(self) -> list[ports.ModelInfo]:
        """None."""
        return []

    async def compare(
        self, metric: str, target: bytes, candidates: Sequence[bytes], *, request_id: str
    ) -> list[ports.DifferenceVector]:
        """The difference of each color, 0..1."""
        await self._require_lpips(metric)
        found = []
        for data in candidates:
            values = np.array([1.0 - likeness(target, data, channel) for channel in range(3)])
            scaled = (256 * values).astype("<f2").tobytes()
            found.append(ports.DifferenceVector(metric, self.backbone.revision, "rgb8", 3, scaled))
        return found

    async def find(
        self,
        backbone: Backbone,
        preprocessing: str,
        target: ScorableImage,
        candidates: Sequence[ScorableImage],
        *,
        request_id: str,
    ) -> list[ports.DifferenceVector]:
        """Difference vectors, none of them cached."""
        data = [await one.read() for one in candidates]
        return await self.compare(backbone.metric, await target.read(), data, request_id=request_id)

    async def get_head(self, metric: str) -> Head:
        """All colors alike."""
        await self._require_lpips(metric)
        return head_of(self.backbone, [1 / 3, 1 / 3, 1 / 3])

    async def fit_head(
        self,
        parent: Head,
        rankings: Sequence[ports.RankedDifferences],
        *,
        tastes: Sequence[Head] = (),
        request_id: str,
    ) -> ports.FitOutcome:
        """Weighs each color by how much its difference goes with the place."""
        self.fits.append((parent, tuple(rankings), tuple(tastes)))
        self.held.set()
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        targets = len({one.target for one in rankings})
        if self.refuses:
            report = FitReport(FitDecision.PARENT, "kept the parent: it agrees better", len(rankings), targets)
            return ports.FitOutcome(parent, report)
        weights = np.full(3, 1e-3)
        for one in rankings:
            values = np.stack([np.frombuffer(v.data, "<f2").astype(float) / 256 for v in one.differences])
            places = np.array(one.places) - np.mean(one.places)
            weights += np.maximum(0.0, (places[:, None] * (values - values.mean(axis=0))).sum(axis=0))
        head = head_of(self.backbone, weights / weights.sum(), recipe=Recipe.CONVEX, parent=parent.revision)
        if targets == 1:
            report = FitReport(FitDecision.FITTED_UNCHECKED, "learned from one target", len(rankings), targets)
        else:
            report = FitReport(FitDecision.FITTED, "learned", len(rankings), targets, held_out())
        return ports.FitOutcome(head, report)

    def with_heads(self, heads: ports.ProfileHeads) -> PersonalScorer:
        """Its scores, and those of profiles."""
        return PersonalScorer(self, heads)

    async def _require_lpips(self, metric: str) -> None:
        if not self.has_lpips or metric != self.backbone.metric:
            raise NotFoundError(Reason.METRIC_NOT_FOUND, "metric", metric, field="metric")


class PersonalScorer:
    """The scorer, and heads of profiles over its differences."""

    def __init__(self, scorer: Scorer, heads: ports.ProfileHeads) -> None:
        self._scorer = scorer
        self._heads = heads

    async def score(
        self,
        *,
        target: ScorableImage | None,
        text: str,
        candidates: Sequence[ScorableImage],
        metrics: Sequence[str],
        request_id: str,
        tenant_id: str,
    ) -> list[ports.CandidateScores]:
        """Scores in order."""
        others = [one for one in metrics if not one.startswith(METRIC_PREFIX)]
        scored = await self._scorer.score(
            target=target, text=text, candidates=candidates, metrics=others, request_id=request_id
        )
        found = [{one.metric: one for one in each.scores} for each in scored]
        for index, metric in enumerate(metrics):
            if metric.startswith(METRIC_PREFIX):
                profile = metric.removeprefix(METRIC_PREFIX)
                head = await self._heads.active_head(tenant_id, profile, field=f"metrics[{index}]")
                for one, candidate in zip(found, candidates, strict=True):
                    assert target is not None
                    one[metric] = await self._personal(metric, head, target, candidate)
        return [ports.CandidateScores(tuple(one[metric] for metric in metrics)) for one in found]

    async def metrics(self) -> ports.MetricCatalog:
        """Metrics by id, without profiles."""
        return await self._scorer.metrics()

    async def _personal(self, metric: str, head: Head, target: ScorableImage, candidate: ScorableImage) -> domain.Score:
        pair = await target.read(), [await candidate.read()]
        (vector,) = await self._scorer.compare(head.backbone.metric, *pair, request_id="")
        raw = float(distances(head, np.frombuffer(vector.data, "<f2")[None])[0]) / 256
        return domain.Score(metric, head.revision, raw, max(0.0, 1.0 - raw), False, minimum=0.0)


def held_out() -> HeldOutReport:
    """A report of agreement, with an interval that is not defined."""
    perfect = Coefficient(1.0, None, None, 0.0, "excellent")
    fair = Coefficient(0.5, 0.25, 0.75, 0.01, "fair")
    gain = AlignmentGain(0.5, 0.25, 0.75, 0.01)
    before, after = Alignment(fair, fair, fair), Alignment(fair, perfect, fair)
    return HeldOutReport(1.0, 0.5, 0.5, before, after, gain, gain, gain)
