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
import csv
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import usual_way
from benchmarks.scoring_parts import changes, learning, parts
from benchmarks.scoring_work import (
    CANDIDATES,
    SIDE_PIXELS,
    cast,
    forward,
    inputs_of,
    pictures_of,
    scorer_metrics,
    timed,
)
from benchmarks.usual_way import METRICS, Networks
from services.common import images
from services.scorer import scoring
from services.scorer.domain import ScoreQuery, Subject
from services.scorer.metrics.base import Metric, Value

RESULTS = Path(__file__).parent / "results"
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
    ours = {name: cast(usual, dtype) for name, dtype in DTYPES.items()}
    metrics = {name: scorer_metrics(models, DTYPES[name]) for name, models in ours.items()}
    rows: list[Row] = []
    for repeat in range(-1, options.repeats):
        found = measure(repeat, usual, ours, metrics)
        # The first repeat is a warm-up.
        rows += found if repeat >= 0 else []
        console.print(f"repeat {repeat}:", *(f"{row.way} {row.precision} {row.seconds:.2f} s" for row in found))
    summary: dict[str, Any] = {
        "ways": ways(rows),
        "parts_cpu_seconds": {name: parts(pictures_of(0), models, DTYPES[name]) for name, models in ours.items()},
        "changes": changes(pictures_of(0), ours["float32"], options.threads),
        "learning": learning(),
        "setting": {
            "metrics": METRICS,
            "targets": 1,
            "candidates": CANDIDATES,
            "picture_pixels": [SIDE_PIXELS, SIDE_PIXELS],
            "png_bytes": statistics.fmean(len(one) for one in pictures_of(0)),
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
    target, *candidates = files = pictures_of(repeat)
    spent, expected = timed(lambda: [usual_way.score_pair(usual, target, one) for one in candidates])
    rows = [Row(repeat, "usual", "float32", *spent, 1.0, 0.0, dict.fromkeys(METRICS, 0.0))]
    usual_seconds = spent[1]
    for name, models in ours.items():
        inputs = inputs_of([images.decode(one).rgb for one in files], models, DTYPES[name])
        bare, _ = timed(lambda models=models, inputs=inputs: forward(models, inputs))
        query = ScoreQuery(
            Subject("target", target), "", tuple(Subject("candidate", one) for one in candidates), METRICS
        )
        spent, scored = timed(lambda query=query, name=name: scoring.score(query, metrics[name], lambda: None))
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


def _raw(outcome: object) -> float:
    assert isinstance(outcome, Value), outcome
    return outcome.raw


if __name__ == "__main__":
    main()
