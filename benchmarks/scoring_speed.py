"""How long does it take to score, against each package called per pair, and against the bare networks?

    python -m benchmarks.scoring_speed [--repeats 3] [--threads 1]

One target and 10 candidates, 512 x 512 PNG in, six metrics: lpips-alex, clip-b32, dinov2-b, phash, ssim, whash. Three
ways, one after another in every repeat, each repeat with pictures of its own:

    usual   `benchmarks/usual_way.py`: each package for each pair, float32
    ours    one request of the scorer (`scoring.score`), in float32 and with bfloat16 networks
    bare    the forward passes alone: each network once on a ready tensor of the 11 pictures

Ratios are of CPU seconds, which other work on the machine disturbs less than the clock; with one thread and nothing
else running both are the same. They are medians over repeats of ratios within a repeat. `worst` is the largest
difference of a raw value to the usual way. Then the parts of our time, single changes (the same work with and without
one of them, and how far that moves the outcome), a refit from 10 rankings with its guard, and 10,000 kept difference
vectors scored anew. Rows go to benchmarks/results/scoring_speed.csv and .json.
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from benchmarks import usual_way
from benchmarks.raters import people, rank
from benchmarks.usual_way import METRICS, Networks
from services.common import images
from services.common.heads import Backbone, distances, head_of
from services.scorer import scoring
from services.scorer.clpips.fitting import fit_profile
from services.scorer.clpips.rankings import RankedSet
from services.scorer.domain import ScoreQuery, Subject
from services.scorer.metrics import hashes
from services.scorer.metrics.base import EmbedderSpec, Metric, Value
from services.scorer.metrics.clip import ClipEmbedder
from services.scorer.metrics.cosine import image_metric
from services.scorer.metrics.dinov2 import DinoEmbedder
from services.scorer.metrics.lpips_distance import ALEX, Lpips
from services.scorer.metrics.pixels import Ssim
from services.scorer.pictures import Picture

RESULTS = Path(__file__).parent / "results"
CANDIDATES = 10
SIDE_PIXELS = 512
GRAIN = 4.0
"""Standard deviation of the noise on the drawings, 8-bit values: as large PNG files as of photographs."""
CACHED_PAIRS = 10_000
REFIT_RANKINGS = 10
SQUEEZE_LAYERS = (64, 128, 256, 384, 384, 512, 512)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Of our networks."""


@dataclass(frozen=True)
class Row:
    """One way in one repeat."""

    repeat: int
    way: str
    precision: str
    seconds: float
    """By the clock."""
    cpu_seconds: float
    ratio_to_usual: float
    """CPU seconds of the usual way by these."""
    ratio_to_bare: float
    """These CPU seconds by those of the bare passes of the same precision."""
    worst: dict[str, float]
    """Largest difference of raw values to the usual way, by metric."""


def main() -> None:
    """Runs all and prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console()
    usual = usual_way.networks()
    ours = {name: _cast(usual, dtype) for name, dtype in DTYPES.items()}
    metrics = {name: _metrics(models, DTYPES[name]) for name, models in ours.items()}
    rows: list[Row] = []
    for repeat in range(-1, options.repeats):
        found = measure(repeat, usual, ours, metrics)
        # The first repeat is a warm-up.
        rows += found if repeat >= 0 else []
        console.print(f"repeat {repeat}:", *(f"{row.way} {row.precision} {row.seconds:.2f} s" for row in found))
    summary: dict[str, Any] = {
        "ways": ways(rows),
        "parts_cpu_seconds": {name: parts(_pictures(0), models, DTYPES[name]) for name, models in ours.items()},
        "changes": changes(_pictures(0), ours["float32"], options.threads),
        "learning": learning(),
        "setting": {
            "metrics": METRICS,
            "targets": 1,
            "candidates": CANDIDATES,
            "picture_pixels": [SIDE_PIXELS, SIDE_PIXELS],
            "png_bytes": statistics.fmean(len(one) for one in _pictures(0)),
            "weights": "random",
            "repeats": options.repeats,
            "cpu": platform.processor() or platform.machine(),
            "bfloat16_instructions": bool(torch.cpu.get_capabilities().get("amx_bf16", False)),
            "cores": os.cpu_count(),
            "threads": options.threads,
            "load_average": os.getloadavg()[0],
        },
    }
    write(options.out, rows, summary)
    console.print_json(json.dumps(summary))


def measure(repeat: int, usual: Networks, ours: dict[str, Networks], metrics: dict[str, list[Metric]]) -> list[Row]:
    """All ways on the pictures of one repeat."""
    target, *candidates = files = _pictures(repeat)
    spent, expected = _timed(lambda: [usual_way.score_pair(usual, target, one) for one in candidates])
    rows = [Row(repeat, "usual", "float32", *spent, 1.0, 0.0, dict.fromkeys(METRICS, 0.0))]
    usual_seconds = spent[1]
    for name, models in ours.items():
        inputs = _inputs([images.decode(one).rgb for one in files], models, DTYPES[name])
        bare, _ = _timed(lambda models=models, inputs=inputs: _forward(models, inputs))
        query = ScoreQuery(
            Subject("target", target), "", tuple(Subject("candidate", one) for one in candidates), METRICS
        )
        spent, scored = _timed(lambda query=query, name=name: scoring.score(query, metrics[name], lambda: None))
        found = [{one.metric.id: one.outcome for one in row.scores} for row in scored]
        worst = {id_: max(abs(_raw(a[id_]) - b[id_]) for a, b in zip(found, expected, strict=True)) for id_ in METRICS}
        rows.append(Row(repeat, "bare", name, *bare, usual_seconds / bare[1], 1.0, {}))
        rows.append(Row(repeat, "ours", name, *spent, usual_seconds / spent[1], spent[1] / bare[1], worst))
    return rows


def ways(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Medians over repeats, and the worst differences of all."""
    lines = []
    for way, precision in dict.fromkeys((row.way, row.precision) for row in rows):
        chosen = [row for row in rows if (row.way, row.precision) == (way, precision)]
        lines.append(
            {
                "way": way,
                "precision": precision,
                **{
                    name: round(statistics.median(getattr(row, name) for row in chosen), 3)
                    for name in ("seconds", "cpu_seconds", "ratio_to_usual", "ratio_to_bare")
                },
                "worst": {id_: max(row.worst[id_] for row in chosen) for id_ in chosen[0].worst},
            }
        )
    return lines


def parts(files: Sequence[bytes], models: Networks, dtype: torch.dtype) -> dict[str, float]:
    """CPU seconds of the parts of one request, each by itself."""
    decoding, decoded = _timed(lambda: [images.decode(one) for one in files])
    pictures = [Picture(one.rgb, one.pixel_hash) for one in decoded]
    resizing, inputs = _timed(lambda: _inputs([one.rgb for one in decoded], models, dtype))
    alex, clip, dino = (_timed(lambda run=run: _inferred(run))[0] for run in _forwards(models, inputs))
    metric = Lpips(ALEX, models.alex)
    lpips, _ = _timed(lambda: metric.score(pictures[0], pictures[1:]))
    hashing, _ = _timed(lambda: [metric.embedder.embed(pictures) for metric in _hashes()])
    ssim, _ = _timed(lambda: Ssim(torch.device("cpu")).score(pictures[0], pictures[1:]))
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
    pixels, clip, _ = _inputs([one.rgb for one in decoded], models, torch.float32)
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
        spent = [(_timed(before), _timed(after)) for _ in range(3)]
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
    refits = [_timed(lambda: fit_profile(lpips, sets, lpips=lpips))[0][0] for _ in range(5)]
    with_others = [_timed(lambda: fit_profile(lpips, sets, lpips=lpips, tastes=tastes))[0][0] for _ in range(5)]
    rescored = [_timed(lambda: distances(lpips, kept))[0][0] for _ in range(5)]
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


def write(folder: Path, rows: Sequence[Row], summary: dict[str, Any]) -> None:
    """Rows as CSV, the summary as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "scoring_speed.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        head = ["repeat", "way", "precision", "seconds", "cpu_seconds", "ratio_to_usual", "ratio_to_bare"]
        writer.writerow([*head, *(f"worst_{id_}" for id_ in METRICS)])
        for row in rows:
            values = (row.seconds, row.cpu_seconds, row.ratio_to_usual, row.ratio_to_bare)
            worst = [f"{row.worst[id_]:.3g}" if row.worst else "" for id_ in METRICS]
            writer.writerow([row.repeat, row.way, row.precision, *(round(value, 4) for value in values), *worst])
    (folder / "scoring_speed.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def _cast(models: Networks, dtype: torch.dtype) -> Networks:
    """Copies with the networks in a number type; the preprocessing stays."""
    lpips, clip, dino = (copy.deepcopy(part).to(dtype) for part in (models.lpips, models.clip, models.dino))
    return Networks(lpips, clip, models.clip_preprocess, dino, models.dino_processor)


def _metrics(models: Networks, dtype: torch.dtype) -> list[Metric]:
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
        *_hashes(),
    ]
    by_id = {metric.spec.id: metric for metric in metrics}
    return [by_id[id_] for id_ in METRICS]


def _hashes() -> list[Any]:
    return [metric for metric in hashes.build() if metric.spec.id in METRICS]


def _no_text(*_: object, **__: object) -> torch.Tensor:
    raise TypeError("no metric of this benchmark reads a text")


def _inputs(pictures: Sequence[Image.Image], models: Networks, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """What AlexNet, CLIP and DINOv2 take, each [N, 3, H, W]."""
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in pictures])).permute(0, 3, 1, 2).float() / 127.5 - 1
    clip = torch.stack([models.clip_preprocess(one) for one in pictures])
    dino = models.dino_processor(images=list(pictures), return_tensors="pt")["pixel_values"]
    return pixels.to(dtype), clip.to(dtype), dino.to(dtype)


def _forward(models: Networks, inputs: tuple[torch.Tensor, ...]) -> None:
    for run in _forwards(models, inputs):
        _inferred(run)


def _forwards(models: Networks, inputs: tuple[torch.Tensor, ...]) -> list[Callable[[], Any]]:
    """Passes of AlexNet, CLIP and DINOv2."""
    pixels, clip, dino = inputs
    alex = models.alex
    return [lambda: alex(pixels), lambda: models.clip.encode_image(clip), lambda: models.dino(dino)]


def _inferred(run: Callable[[], Any]) -> None:
    with torch.inference_mode():
        run()


def _pictures(repeat: int) -> list[bytes]:
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


def _values(found: Any) -> NDArray[np.float64]:
    values: Any = found.detach() if isinstance(found, torch.Tensor) else found
    return np.asarray(values, dtype=np.float64)


def _raw(outcome: object) -> float:
    assert isinstance(outcome, Value), outcome
    return outcome.raw


def _timed(work: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """Seconds by the clock and of the CPU, and what the work gave."""
    started, cpu_started = time.perf_counter(), time.process_time()
    result = work()
    return (time.perf_counter() - started, time.process_time() - cpu_started), result


if __name__ == "__main__":
    main()
