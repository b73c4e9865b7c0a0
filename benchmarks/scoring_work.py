"""The work that `benchmarks/scoring_speed.py` times: pictures, networks alone, and the scorer's metrics over them."""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.raters import people, rank
from benchmarks.usual_way import METRICS, Networks
from services.scorer.metrics import hashes
from services.scorer.metrics.base import EmbedderSpec, Metric
from services.scorer.metrics.clip import ClipEmbedder
from services.scorer.metrics.cosine import image_metric
from services.scorer.metrics.dinov2 import DinoEmbedder
from services.scorer.metrics.lpips_distance import ALEX, Lpips
from services.scorer.metrics.pixels import Ssim

CANDIDATES = 10
SIDE_PIXELS = 512
GRAIN = 4.0
"""Standard deviation of the noise on the drawings, 8-bit values: as large PNG files as of photographs."""


def cast(models: Networks, dtype: torch.dtype) -> Networks:
    """Copies with the networks in a number type; the preprocessing stays."""
    lpips, clip, dino = (copy.deepcopy(part).to(dtype) for part in (models.lpips, models.clip, models.dino))
    return Networks(lpips, clip, models.clip_preprocess, dino, models.dino_processor)


def scorer_metrics(models: Networks, dtype: torch.dtype) -> list[Metric]:
    """The scorer's METRICS over these networks."""
    clip_spec, dino_spec = (
        EmbedderSpec(id_, str(dtype), preprocessing, dimensions, id_, False, "random")
        for id_, preprocessing, dimensions in (("clip-b32", "open-clip-1", 512), ("dinov2-b", "dinov2-pil-1", 768))
    )
    clip = ClipEmbedder(clip_spec, models.clip, models.clip_preprocess, _no_text, 77, dtype)
    dino = DinoEmbedder(dino_spec, models.dino, models.dino_processor, dtype)
    metrics: list[Metric] = [
        Lpips(ALEX, models.alex),
        image_metric(clip, "CLIP"),
        image_metric(dino, "DINOv2"),
        Ssim(torch.device("cpu")),
        *hash_metrics(),
    ]
    by_id = {metric.spec.id: metric for metric in metrics}
    return [by_id[id_] for id_ in METRICS]


def hash_metrics() -> list[Any]:
    """Those of METRICS that hash."""
    return [metric for metric in hashes.build() if metric.spec.id in METRICS]


def _no_text(*_: object, **__: object) -> torch.Tensor:
    raise TypeError("no metric of this benchmark reads a text")


def inputs_of(pictures: Sequence[Image.Image], models: Networks, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """What AlexNet, CLIP and DINOv2 take, each [N, 3, H, W]."""
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in pictures])).permute(0, 3, 1, 2).float() / 127.5 - 1
    clip = torch.stack([models.clip_preprocess(one) for one in pictures])
    dino = models.dino_processor(images=list(pictures), return_tensors="pt")["pixel_values"]
    return pixels.to(dtype), clip.to(dtype), dino.to(dtype)


def forward(models: Networks, inputs: tuple[torch.Tensor, ...]) -> None:
    """All passes, one after the other."""
    for run in forwards(models, inputs):
        inferred(run)


def forwards(models: Networks, inputs: tuple[torch.Tensor, ...]) -> list[Callable[[], Any]]:
    """Passes of AlexNet, CLIP and DINOv2."""
    pixels, clip, dino = inputs
    alex = models.alex
    return [lambda: alex(pixels), lambda: models.clip.encode_image(clip), lambda: models.dino(dino)]


def inferred(run: Callable[[], Any]) -> None:
    """A pass without gradients."""
    with torch.inference_mode():
        run()


def pictures_of(repeat: int) -> list[bytes]:
    """A target and its candidates as PNG files, other ones in each repeat: nothing may be kept from the last."""
    ranking = rank(people(1, "strong", 900 + repeat)[0], 1, CANDIDATES, 900 + repeat)[0]
    rng = np.random.default_rng(900 + repeat)
    files = []
    for pixels in (ranking.target, *ranking.candidates):
        large = Image.fromarray(pixels).resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.BICUBIC)
        grainy = np.asarray(large) + rng.normal(0, GRAIN, (SIDE_PIXELS, SIDE_PIXELS, 3))
        out = io.BytesIO()
        Image.fromarray(grainy.clip(0, 255).astype(np.uint8)).save(out, "PNG")
        files.append(out.getvalue())
    return files


def timed(work: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """Seconds by the clock and of the CPU, and what the work gave."""
    started, cpu_started = time.perf_counter(), time.process_time()
    result = work()
    return (time.perf_counter() - started, time.process_time() - cpu_started), result
