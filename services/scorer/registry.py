"""Which metrics and embedders this deployment has, and why the others are absent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from services.common.errors import NotFoundError, Reason, UnavailableError
from services.common.profile import Profile, PublishedMetric
from services.common.settings import Settings
from services.common.telemetry import get_logger
from services.scorer import compute
from services.scorer.metrics import (
    aesthetic,
    blip_itm,
    clip,
    clip_score,
    dinov2,
    dists,
    dreamsim,
    hashes,
    hps,
    image_reward,
    imagenet,
    lpips_distance,
    mllm_judge,
    pickscore,
    pixels,
    reward_embedded,
)
from services.scorer.metrics.base import Embedder, EmbeddingMetric, Metric, MetricInput, TextEmbedder
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.metrics.text_pair import VectorMetric

log = get_logger(__name__)

EMBEDDERS = {"open_clip": clip.build, "dinov2": dinov2.build, "dreamsim": dreamsim.build}
"""What builds the metrics of an embedder of each kind that a profile can name."""


class Registry:
    """Metrics by id, in the order they are listed."""

    def __init__(self, metrics: Iterable[Metric], absent: dict[str, str] | None = None) -> None:
        """Takes loaded metrics, and the reason for every known metric that could not be loaded."""
        self.metrics = {metric.spec.id: metric for metric in metrics}
        self.absent = absent or {}
        self.embedders: dict[str, Embedder] = {}
        for metric in self.metrics.values():
            if isinstance(metric, EmbeddingMetric | VectorMetric):
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

    def add(ids: Sequence[str], load: Callable[[], Iterable[Metric]]) -> None:
        try:
            metrics.extend(load())
        except UnavailableError as error:
            absent.update(dict.fromkeys(ids, error.message))
            log.warning("metric_absent", metrics=ids, problem=error.message, cause=repr(error.__cause__))

    for embedder in profile.embedders:
        ids = [embedder.id, *([embedder.features_id] if embedder.features_id else [])]
        if embedder.kind == "open_clip":
            ids.append(clip.text_metric_id(embedder.id))
        add(ids, partial(EMBEDDERS[embedder.kind], settings, embedder))
    embedders = {metric.embedder.spec.id: metric.embedder for metric in metrics if isinstance(metric, EmbeddingMetric)}
    for model in profile.published:
        add([model.id], partial(_published, settings, model, embedders))
    add([mllm_judge.CONSISTENCY_ID, mllm_judge.QUALITY_ID], partial(mllm_judge.build, settings, MetricInput.IMAGE))
    backbones = imagenet.Backbones(settings, profile.perceptual.dtype)
    for network in lpips_distance.NETWORKS:
        add([network.id], partial(lpips_distance.build, backbones, network))
    add([dists.ID], partial(dists.build, settings, backbones))
    device = compute.device_of(settings)
    metrics += [pixels.Ssim(device), pixels.MsSsim(device), pixels.Psnr(), *hashes.build()]
    return Registry(metrics, absent)


def _published(settings: Settings, model: PublishedMetric, embedders: Mapping[str, Embedder]) -> list[Metric]:
    """Raises UnavailableError if the checkpoint, or the embedder under it, is not there."""
    source = ModelSource(model.id, model.source, model.license, model.revision, model.processor, model.dtype)
    match model.kind:
        case "blip_itm":
            return [blip_itm.build(settings, source)]
        case "image_reward":
            return [image_reward.build(settings, source)]
        case "hps-v2" | "hps-v2.1":
            return [hps.build(settings, source, hps.VERSIONS[model.kind])]
        case "pickscore":
            return [pickscore.build(settings, source)]
    embedder = embedders.get(model.embedder or "")
    if embedder is None:
        message = f"{model.id} did not load: it stands on embedder {model.embedder!r}, which is absent"
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, message)
    if model.kind == "aesthetic":
        return [aesthetic.build(source, embedder, MetricInput.IMAGE)]
    if not isinstance(embedder, TextEmbedder):
        message = f"{model.id} did not load: embedder {embedder.spec.id} reads no text"
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, message)
    if model.kind == "reward_embedded":
        return [reward_embedded.build(settings, source, embedder)]
    return [clip_score.build(embedder, model.id)]
