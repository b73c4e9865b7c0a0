"""Where the scorer's time goes, for `benchmarks/scoring_speed.py`: parts of a request, single changes, learning."""

from __future__ import annotations

import copy
import os
import statistics
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.scoring_work import CANDIDATES, forwards, hash_metrics, inferred, inputs_of, timed
from benchmarks.usual_way import Networks
from services.common import images
from services.common.heads import Backbone, distances, head_of
from services.scorer.clpips.fitting import fit_profile
from services.scorer.clpips.rankings import RankedSet
from services.scorer.metrics.lpips_distance import ALEX, Lpips
from services.scorer.metrics.pixels import Ssim
from services.scorer.pictures import Picture

CACHED_PAIRS = 10_000
REFIT_RANKINGS = 10
SQUEEZE_LAYERS = (64, 128, 256, 384, 384, 512, 512)


def parts(files: Sequence[bytes], models: Networks, dtype: torch.dtype) -> dict[str, float]:
    """CPU seconds of the parts of one request, each by itself."""
    decoding, decoded = timed(lambda: [images.decode(one) for one in files])
    pictures = [Picture(one.rgb, one.pixel_hash) for one in decoded]
    resizing, inputs = timed(lambda: inputs_of([one.rgb for one in decoded], models, dtype))
    alex, clip, dino = (timed(lambda run=run: inferred(run))[0] for run in forwards(models, inputs))
    metric = Lpips(ALEX, models.alex)
    lpips, _ = timed(lambda: metric.score(pictures[0], pictures[1:]))
    hashing, _ = timed(lambda: [metric.embedder.embed(pictures) for metric in hash_metrics()])
    ssim, _ = timed(lambda: Ssim(torch.device("cpu")).score(pictures[0], pictures[1:]))
    spent = {
        "decode": decoding,
        "resize": resizing,
        "forward_alexnet": alex,
        "forward_clip": clip,
        "forward_dinov2": dino,
        "hash": hashing,
        "ssim": ssim,
    }
    seconds = {name: round(value[1], 4) for name, value in spent.items()}
    return seconds | {"lpips_without_forward": round(lpips[1] - alex[1], 4)}


def changes(files: Sequence[bytes], models: Networks, threads: int) -> list[dict[str, Any]]:
    """One change a row: seconds by the clock without and with it, and the largest difference of the outcomes."""
    decoded = [images.decode(one) for one in files]
    pixels, clip, _ = inputs_of([one.rgb for one in decoded], models, torch.float32)
    alex, channels_last = models.alex, copy.deepcopy(models.alex).to(memory_format=torch.channels_last)
    last = pixels.contiguous(memory_format=torch.channels_last)
    encode = models.clip.encode_image

    def with_graph() -> Any:
        return encode(clip)

    def inferred() -> Any:
        with torch.inference_mode():
            return encode(clip)

    def alexnet(network: Any, tensor: torch.Tensor) -> Any:
        with torch.inference_mode():
            return network(tensor)

    def on_all_cores() -> Any:
        torch.set_num_threads(os.cpu_count() or 1)
        try:
            return alexnet(alex, pixels)
        finally:
            torch.set_num_threads(threads)

    metric, fresh = Lpips(ALEX, alex), count()

    def together(*chosen: Any) -> list[float]:
        # A hash of its own each time: nothing may be kept from the last.
        pictures = [Picture(one.rgb, str(next(fresh))) for one in (decoded[0], *chosen)]
        return [value.raw for value in metric.score(pictures[0], pictures[1:])]

    def pair_by_pair() -> list[float]:
        return [raw for one in decoded[1:] for raw in together(one)]

    compared = [
        ("inference mode (CLIP B/32)", with_graph, inferred),
        ("channels last (AlexNet)", lambda: alexnet(alex, pixels), lambda: alexnet(channels_last, last)),
        (f"threads {threads} -> {os.cpu_count()} (AlexNet)", lambda: alexnet(alex, pixels), on_all_cores),
        ("target's features once for all candidates (lpips-alex)", pair_by_pair, lambda: together(*decoded[1:])),
    ]
    rows = []
    for name, before, after in compared:
        before()
        after()
        spent = [(timed(before), timed(after)) for _ in range(3)]
        rows.append(
            {
                "change": name,
                "seconds_without": round(statistics.median(one[0][0] for one, _ in spent), 4),
                "seconds_with": round(statistics.median(other[0][0] for _, other in spent), 4),
                "max_difference": float(np.abs(np.subtract(*(_values(found) for _, found in spent[0]))).max()),
            }
        )
    return rows


def learning() -> dict[str, Any]:
    """A refit with its guard, and kept vectors scored by a new head, on random vectors of lpips-squeeze's shape."""
    rng = np.random.default_rng(0)
    backbone = Backbone("lpips-squeeze", "random", SQUEEZE_LAYERS)
    lpips = head_of(backbone, rng.random(backbone.channels))
    tastes = [head_of(backbone, rng.random(backbone.channels)) for _ in range(19)]
    sets = [
        RankedSet(
            f"target-{index}",
            rng.gamma(0.5, 0.01, (CANDIDATES, backbone.channels)).astype(np.float16),
            tuple(rng.permutation(CANDIDATES).astype(float).tolist()),
        )
        for index in range(REFIT_RANKINGS)
    ]
    kept = rng.gamma(0.5, 0.01, (CACHED_PAIRS, backbone.channels)).astype(np.float16)
    refits = [timed(lambda: fit_profile(lpips, sets, lpips=lpips))[0][0] for _ in range(5)]
    with_others = [timed(lambda: fit_profile(lpips, sets, lpips=lpips, tastes=tastes))[0][0] for _ in range(5)]
    rescored = [timed(lambda: distances(lpips, kept))[0][0] for _ in range(5)]
    exact = kept.astype(np.float64) @ lpips.array.astype(np.float64)
    worst = float(np.abs(distances(lpips, kept) - exact).max() / exact.max())
    return {
        "refit_rankings": REFIT_RANKINGS,
        "refit_seconds": round(statistics.median(refits), 4),
        "refit_with_19_tastes_seconds": round(statistics.median(with_others), 4),
        "cached_pairs": CACHED_PAIRS,
        "cached_pairs_seconds": round(statistics.median(rescored), 5),
        "cached_pairs_relative_error": worst,
    }


def _values(found: Any) -> NDArray[np.float64]:
    values: Any = found.detach() if isinstance(found, torch.Tensor) else found
    return np.asarray(values, dtype=np.float64)
