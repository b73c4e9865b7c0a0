"""Does a personal metric learn a person's taste from few rankings?

    LIKENESS_LPIPS_WEIGHTS_DIR=FOLDER python -m benchmarks.clpips_raters [--raters 20] [--seed 2]

Simulated raters with known tastes (`benchmarks/raters.py`) rank 10 drawn pictures for each of 10 targets of their own,
as in the paper's study. Difference vectors are those of lpips-squeeze on its real weights, in half precision as they
are stored. Each rater's metrics are then measured on 20 more targets that neither the rater nor the crowd ranked:

    lpips     published weights
    crowd     one head learned from all rankings of the other raters
    alone     the rater's own head, learned from LPIPS's by the first n rankings
    tastes    the same with the other raters' heads to start from
    personal  the same with the crowd's head as parent, as a new profile starts; with 0 rankings it is the crowd's
    most      what weights can reach at all: learned from 60 further rankings of the rater, without a guard

alone, tastes and personal go through the guard (`fit_profile`). All is done twice, for raters of strong and of mild
tastes, each a crowd of its own. One row per rater, arm and number of rankings in benchmarks/results/clpips_raters.csv,
the table in clpips_raters.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.raters import TASTES, Ranking, Rater, people, rank
from services.common import images
from services.common.heads import Head
from services.common.settings import Settings
from services.common.statistics import spearman_rho
from services.scorer.clpips.alignment import agreement_of, scores_by
from services.scorer.clpips.convex import fit_convex
from services.scorer.clpips.fitting import fit_profile
from services.scorer.clpips.rankings import RankedSet
from services.scorer.metrics import imagenet
from services.scorer.metrics.lpips_distance import SQUEEZE, Lpips, build
from services.scorer.pictures import Picture
from world.imaging import SIZE

RESULTS = Path(__file__).parent / "results"
PICTURES = 10
TARGETS = 10
"""Rankings of a rater, of which the first n are given."""
HELD_OUT = 20
MOST = 60
GIVEN = (1, 2, 5, 10)
AIM = 0.084
"""Gain of ICC(2,k) over LPIPS that the paper reports for its crowd."""


@dataclass(frozen=True)
class Row:
    """One metric of one rater on that rater's held-out targets."""

    tastes: str
    rater: int
    first: str
    noise: float
    arm: str
    rankings: int
    icc2k: float
    icc2k_gain: float
    rho: float
    decision: str
    """What the guard chose; empty where there is none."""


@dataclass(frozen=True, eq=False)
class Study:
    """A rater with all rankings as difference vectors."""

    rater: Rater
    given: list[RankedSet]
    held_out: list[RankedSet]
    more: list[RankedSet]
    repeatability: float
    """ICC(2,k) of the held-out rankings with the same rater's without noise: no metric gets much above."""


def main() -> None:
    """Runs the study and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raters", type=int, default=20)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    started = time.monotonic()
    metric = build(imagenet.Backbones(Settings()), SQUEEZE)[0]
    summary: dict[str, Any] = {"aim": {}, "repeatability_icc2k": {}, "table": [], "raters": []}
    rows: list[Row] = []
    for tastes in TASTES:
        raters = people(options.raters, tastes, options.seed)
        studies = [study(rater, metric, options.seed) for rater in track(raters, "drawings", console=console)]
        parts = track(measured(studies, metric.head), "fits", total=len(studies), console=console)
        own = [row for part in parts for row in part]
        table = summarize(own)
        summary["aim"][tastes] = aim(table)
        summary["repeatability_icc2k"][tastes] = round(float(np.mean([one.repeatability for one in studies])), 4)
        summary["table"] += table
        summary["raters"] += [asdict(rater) for rater in raters]
        rows += own
    summary["setting"] = {
        "raters": options.raters,
        "rankings": TARGETS,
        "pictures": PICTURES,
        "held_out_targets": HELD_OUT,
        "seed": options.seed,
        "metric": SQUEEZE.id,
        "revision": metric.head.backbone.revision,
        "picture_pixels": SIZE,
        "vectors": "float16",
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": 1,
        "seconds": round(time.monotonic() - started),
    }
    write(options.out, rows, summary)
    show(console, summary)


def study(rater: Rater, metric: Lpips, seed: int) -> Study:
    """Draws, ranks and embeds all that a rater sees."""
    rankings = rank(rater, TARGETS + HELD_OUT + MOST, PICTURES, seed)
    sets = [
        RankedSet(f"{rater.index}-{index}", vectors(metric, ranking), ranking.places)
        for index, ranking in enumerate(rankings)
    ]
    held_out = slice(TARGETS, TARGETS + HELD_OUT)
    faithful = [np.array(ranking.faithful, np.float32) for ranking in rankings[held_out]]
    repeatability = agreement_of(sets[held_out], faithful)
    return Study(rater, sets[:TARGETS], sets[held_out], sets[TARGETS + HELD_OUT :], repeatability)


def vectors(metric: Lpips, ranking: Ranking) -> np.ndarray:
    """v [pictures, channels] in half precision."""
    target, *candidates = (_picture(pixels) for pixels in (ranking.target, *ranking.candidates))
    return metric.differences(target, candidates).astype(np.float16)


def measured(studies: Sequence[Study], lpips: Head) -> Iterator[list[Row]]:
    """The rows of each rater; whatever comes from other people comes from all the other raters."""
    own = [fit_convex(lpips, one.given) for one in studies]
    for index, one in enumerate(studies):
        others = [other for position, other in enumerate(studies) if position != index]
        tastes = [head for position, head in enumerate(own) if position != index]
        crowd = fit_convex(lpips, [ranked for other in others for ranked in other.given])
        heads = [("lpips", 0, lpips, ""), ("crowd", 0, crowd, ""), ("personal", 0, crowd, "")]
        for count in GIVEN:
            given = one.given[:count]
            for arm, parent, used in (("alone", lpips, []), ("tastes", lpips, tastes), ("personal", crowd, tastes)):
                outcome = fit_profile(parent, given, lpips=lpips, tastes=used)
                heads.append((arm, count, outcome.head, outcome.decision.value))
        heads.append(("most", MOST, fit_convex(lpips, one.more), ""))
        base = agreement_of(one.held_out, scores_by(lpips, one.held_out))
        yield [_row(one, arm, count, head, base, decision) for arm, count, head, decision in heads]


def _row(one: Study, arm: str, count: int, head: Head, base: float, decision: str) -> Row:
    scores = scores_by(head, one.held_out)
    agreement = agreement_of(one.held_out, scores)
    rho = spearman_rho(np.concatenate([ranked.ranks for ranked in one.held_out]), np.concatenate(scores))
    person = one.rater
    return Row(
        person.tastes, person.index, person.first, person.noise, arm, count, agreement, agreement - base, rho, decision
    )


def summarize(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Means over raters by arm and number of rankings, for all and by what the raters put first."""
    points = list(dict.fromkeys((row.arm, row.rankings) for row in rows))
    return [
        _line([r for r in rows if (r.arm, r.rankings) == point and first in ("all", r.first)], first)
        for first in ("all", *dict.fromkeys(row.first for row in rows))
        for point in points
    ]


def aim(table: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What was aimed at after 5 rankings, what was reached, and what weights can reach."""
    all_raters = {(line["arm"], line["rankings"]): line for line in table if line["first"] == "all"}
    personal, most = all_raters["personal", 5], all_raters["most", MOST]
    return {
        "gain": AIM,
        "share_wanted": 0.9,
        "share_reached": personal["share_reaching_aim"],
        "share_most": most["share_reaching_aim"],
        "mean_gain": personal["mean_gain"],
        "share_below_lpips": personal["share_below_lpips"],
    }


def _line(rows: Sequence[Row], first: str) -> dict[str, Any]:
    gains = np.array([row.icc2k_gain for row in rows])
    return {
        "tastes": rows[0].tastes,
        "first": first,
        "arm": rows[0].arm,
        "rankings": rows[0].rankings,
        "icc2k": round(float(np.mean([row.icc2k for row in rows])), 4),
        "rho": round(float(np.mean([row.rho for row in rows])), 4),
        "mean_gain": round(float(gains.mean()), 4),
        "least_gain": round(float(gains.min()), 4),
        "share_reaching_aim": round(float((gains >= AIM).mean()), 4),
        "share_below_lpips": round(float((gains < 0).mean()), 4),
        "raters": len(rows),
    }


def write(folder: Path, rows: Sequence[Row], summary: dict[str, Any]) -> None:
    """Rows as CSV, the table as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "clpips_raters.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        for row in rows:
            values = asdict(row)
            writer.writerow({key: round(v, 5) if isinstance(v, float) else v for key, v in values.items()})
    (folder / "clpips_raters.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def show(console: Console, summary: dict[str, Any]) -> None:
    """Prints the table."""
    lines = [line for line in summary["table"] if line["first"] == "all"]
    table = Table(title="Held-out agreement with the raters, means over raters")
    for column in lines[0]:
        table.add_column(column)
    for line in lines:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in line.values()))
    console.print(table)
    console.print("Aim, personal after 5 rankings:", summary["aim"])


def _picture(pixels: np.ndarray) -> Picture:
    rgb = Image.fromarray(pixels)
    return Picture(rgb, images.pixel_hash(rgb))


if __name__ == "__main__":
    main()
