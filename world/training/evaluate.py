"""The gates of the embedded models: ``python -m world.training.evaluate``.

Everything generated is judged by the judge classifier (trained on drawings only), with the right answers from the
scene and not from any text model. Further generators get the same scores where their folders are, without gates.
Writes ``benchmarks/results/embedded_models.json`` and contact sheets.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from world.training import autoencoder, captioner, clip, data, generated, generator_io, judge, reward
from world.training.builds import EMBEDDED, FURTHER
from world.training.clip_io import load_clip
from world.training.common import MODELS, ROOT, SEED, hardware
from world.training.scores import summary

RESULTS = (ROOT / "benchmarks" / "results" if MODELS == ROOT / "models" else MODELS) / "embedded_models.json"
"""Models elsewhere (a trial) keep their results to themselves."""
SPLITS = ("seen", "held_out")
SIZE_LIMIT_MB, SECONDS_LIMIT = 60.0, 1.0

# Part, metric -> lowest accepted value for seen and for held-out captions.
GATES: dict[tuple[str, str], tuple[float, float]] = {
    ("drawings", "all"): (0.93, 0.93),
    ("reconstructions", "all"): (0.85, 0.85),
    ("clip", "canonical_picture_to_text"): (0.97, 0.93),
    ("clip", "canonical_text_to_picture"): (0.97, 0.93),
    ("captioner", "exact"): (0.75, 0.75),
    ("reward", "canonical_pairs"): (0.93, 0.93),
    ("generated", "background"): (0.95, 0.95),
    ("generated", "style"): (0.95, 0.95),
    ("generated", "relation"): (0.95, 0.95),
    ("generated", "colour"): (0.95, 0.95),
    ("generated", "kind"): (0.90, 0.90),
    ("generated", "kind_large"): (0.95, 0.95),
    ("generated", "all"): (0.75, 0.75),
}

Scores = dict[str, Any]


def _drawings(split: str) -> Scores:
    drawings, index = data.load(split), torch.arange(2000)
    return summary(judge.predict(judge.load(), drawings.batch(index)), drawings.attribute_batch(index))


def _reconstructions(split: str) -> Scores:
    drawings, index = data.load(split), torch.arange(1000)
    pictures = drawings.batch(index)
    vae = generator_io.load().vae
    rebuilt = autoencoder.reconstruct(vae, pictures)
    scores = summary(judge.predict(judge.load(), rebuilt), drawings.attribute_batch(index))
    return scores | {"psnr_db": autoencoder.decibels(rebuilt, pictures)}


def _clip(split: str) -> Scores:
    return clip.retrieval(load_clip()[0], data.load(split))


def _captioner(split: str) -> Scores:
    return captioner.evaluate(data.load(split))


def _reward(split: str) -> Scores:
    return dict(reward.evaluate(split, reward.load()))


def _further_generators(count: int) -> dict[str, dict[str, Scores]]:
    """Scores of generated pictures by folder and split; draws the contact sheets."""
    scores = {}
    for build in FURTHER:
        if (MODELS / build.folder).is_dir():
            scores[build.folder] = {split: generated.evaluate(build, split, count) for split in SPLITS}
            generated.draw_sheet(build)
    return scores


def _seconds_per_picture() -> dict[str, float]:
    """Sampling time at the default steps with guidance, alone and in a batch of eight (best of two)."""
    pipeline = generator_io.load()
    times = {}
    for batch in (1, 8):
        runs = []
        for _ in range(3):
            started = time.monotonic()
            generator_io.generate(pipeline, ["a large sun in the center at sunset"] * batch, SEED)
            runs.append((time.monotonic() - started) / batch)
        times[f"batch_{batch}"] = round(min(runs[1:]), 3)
    return times


def folder_megabytes() -> dict[str, float]:
    """Size of each model folder in MB (10^6 bytes)."""
    return {
        folder.name: round(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6, 2)
        for folder in sorted(MODELS.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    }


def gate_rows(scores: dict[str, dict[str, Scores]]) -> list[dict[str, Any]]:
    """Every gate with its values and whether both are reached."""
    rows = []
    for (part, metric), limits in GATES.items():
        if part not in scores:
            continue
        values = {split: scores[part][split][metric] for split in SPLITS}
        limit = dict(zip(SPLITS, limits, strict=True))
        passed = all(values[split] is not None and values[split] >= limit[split] for split in SPLITS)
        rows.append({"part": part, "metric": metric, "limit": limit, **values, "passed": passed})
    return rows


def evaluate(parts: list[str], count: int) -> dict[str, Any]:
    """All scores of the given parts."""
    torch.set_grad_enabled(False)
    makers: dict[str, Callable[[str], Scores]] = {
        "drawings": _drawings,
        "reconstructions": _reconstructions,
        "clip": _clip,
        "captioner": _captioner,
        "reward": _reward,
        "generated": lambda split: generated.evaluate(EMBEDDED, split, count),
    }
    scores = {part: {split: makers[part](split) for split in SPLITS} for part in parts}
    result: dict[str, Any] = {"captions": count, "hardware": hardware(), "gates": gate_rows(scores)}
    result["megabytes"] = folder_megabytes()
    if "generated" in parts:
        result["seconds_per_picture"] = _seconds_per_picture()
        generated.draw_sheet(EMBEDDED)
        result["further_generators"] = _further_generators(count)
    return result | {"scores": scores}


def main(argv: list[str] | None = None) -> None:
    """Print the gate table; store it when all parts are evaluated."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ["drawings", "reconstructions", "clip", "captioner", "reward", "generated"]
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--count", type=int, default=200, help="captions a split for generated pictures")
    arguments = parser.parse_args(argv)
    parts = arguments.parts or names
    result = evaluate(parts, arguments.count)
    for row in result["gates"]:
        mark = "ok  " if row["passed"] else "MISS"
        limit = "/".join(f"{value:.2f}" for value in row["limit"].values())
        values = " / ".join(f"{row[split]:.3f}" for split in SPLITS)
        print(f"{mark} {row['part']:16}{row['metric']:28}{values}   (>= {limit})")
    total = sum(result["megabytes"].values())
    print(f"{'ok  ' if total <= SIZE_LIMIT_MB else 'MISS'} size {total:.1f} MB", result["megabytes"])
    if "seconds_per_picture" in result:
        seconds = result["seconds_per_picture"]
        print("ok  " if seconds["batch_1"] <= SECONDS_LIMIT else "MISS", "seconds a picture", seconds)
    if set(parts) == set(names):
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    else:
        print(json.dumps(result["scores"] | result.get("further_generators", {})))


if __name__ == "__main__":
    main()
