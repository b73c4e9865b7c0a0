"""Which metrics and embedders this deployment has, and why the others are absent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from services.common.errors import NotFoundError, Reason, UnavailableError
from services.common.profile import Profile
from services.common.settings import Settings
from services.common.telemetry import get_logger
from services.scorer.metrics import clip, hashes, lpips_squeeze, pixels
from services.scorer.metrics.base import Embedder, EmbeddingMetric, Metric

log = get_logger(__name__)


class Registry:
    """Metrics by id, in the order they are listed."""

    def __init__(self, metrics: Iterable[Metric], absent: dict[str, str] | None = None) -> None:
        """Takes loaded metrics, and the reason for every known metric that could not be loaded."""
        self.metrics = {metric.spec.id: metric for metric in metrics}
        self.absent = absent or {}
        self.embedders: dict[str, Embedder] = {}
        for metric in self.metrics.values():
            if isinstance(metric, EmbeddingMetric):
                self.embedders.setdefault(metric.embedder.spec.id, metric.embedder)

    def metric(self, id_: str, *, field: str) -> Metric:
        """A metric; NotFoundError(METRIC_NOT_FOUND) names the known ids, and what an absent one lacks."""
        if id_ not in self.metrics:
            hint = self.absent.get(id_, "")
            raise NotFoundError(Reason.METRIC_NOT_FOUND, "metric", id_, field=field, known=self.metrics, hint=hint)
        return self.metrics[id_]

    def embedder(self, id_: str, *, field: str) -> Embedder:
        """An embedder; NotFoundError(MODEL_NOT_FOUND) names the known ids, and what an absent one lacks."""
        if id_ not in self.embedders:
            hint = self.absent.get(id_, "")
            raise NotFoundError(
                Reason.MODEL_NOT_FOUND, "embedding model", id_, field=field, known=self.embedders, hint=hint
            )
        return self.embedders[id_]


def build(settings: Settings, profile: Profile) -> Registry:
    """Loads every metric of the profile, those of its embedders first; what does not load is absent, with a reason."""
    metrics: list[Metric] = []
    absent: dict[str, str] = {}

    def add(ids: tuple[str, ...], load: Callable[[], Iterable[Metric]]) -> None:
        try:
            metrics.extend(load())
        except UnavailableError as error:
            absent.update(dict.fromkeys(ids, error.message))
            log.warning("metric_absent", metrics=ids, problem=error.message, cause=repr(error.__cause__))

    for embedder in profile.embedders:
        ids = (embedder.id, clip.text_metric_id(embedder.id))
        if embedder.kind == "open_clip":
            add(ids, partial(clip.build, settings, embedder))
        else:
            absent[embedder.id] = f"embedders of kind {embedder.kind} are not part of this version"
    add((lpips_squeeze.ID,), lambda: [lpips_squeeze.build(settings)])
    metrics += [pixels.Ssim(), pixels.Psnr(), *hashes.build()]
    return Registry(metrics, absent)
