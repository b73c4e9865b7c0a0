"""Does the automatic loop beat spending the same pictures on fresh seeds of the first prompt?

    python -m benchmarks.loop_quality [--targets 40] [--rounds 4] [--candidates 4] [--address HOST:PORT]

For each target (half of them held-out attribute combinations) one loop runs through the whole cluster, then the same
number of pictures is made from the loop's first prompt with fresh seeds, chosen by the same score. The arm "prompts" is
the loop without its search over noises. Reported per round: the metrics whose mean the loop optimizes, metrics that it
does not, the true attributes that the best prompt names, and, for first and final prompt, the mean over fresh seeds.
Without --address an embedded cluster is started for the run.
Raw rows go to benchmarks/results/loop_quality.csv, the table to loop_quality.json.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import platform
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats

import likeness
from benchmarks.cluster import embedded_cluster
from benchmarks.truth import Target, attributes_recovered, targets

RESULTS = Path(__file__).parent / "results"
OPTIMIZED = ("clip-embedded", "ssim")
WATCHED = ("lpips-squeeze", "psnr", "phash")
LOOPS = {"loop": False, "prompts": True}
"""Arm -> whether its noise stays fresh."""
FRESH_SEEDS = 4
SESSIONS_AT_ONCE = 2
"""Targets under way side by side: one waits for the captioner while the other draws."""


@dataclass(frozen=True)
class Row:
    """One target at one point: after a round of the loop, or under the baseline."""

    target: int
    split: str
    arm: str
    round: int
    prompt: str
    attributes: float
    scores: dict[str, float]


def main() -> None:
    """Runs the comparison and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--address", default=None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    console = Console()
    rows: list[Row] = []
    with cluster(options.address) as address, likeness.Client(address) as client:
        offered = {metric.id for metric in client.metrics()}
        metrics = [*OPTIMIZED, *(metric for metric in WATCHED if metric in offered)]
        run = partial(run_target, client, metrics=metrics, rounds=options.rounds, candidates=options.candidates)
        with ThreadPoolExecutor(SESSIONS_AT_ONCE) as pool:
            made = pool.map(run, targets(options.targets))
            for part in track(made, description="targets", total=options.targets, console=console):
                rows += part
        # Written before the cluster stops: an interrupted stop must not cost the run.
        summary = summarize(rows, options.rounds)
        summary["setting"] = {
            "targets": options.targets,
            "rounds": options.rounds,
            "candidates": options.candidates,
            "fresh_seeds": FRESH_SEEDS,
            "optimized": OPTIMIZED,
            "cpu": platform.processor() or platform.machine(),
        }
        write(options.out, rows, summary)
    show(console, summary)


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[str]:
    """The address given, or that of an embedded cluster that lives for the run."""
    if address is not None:
        yield address
        return
    with embedded_cluster() as started:
        yield started


def run_target(client: likeness.Client, target: Target, metrics: list[str], rounds: int, candidates: int) -> list[Row]:
    """Loop, baseline and fresh-seed arms for one target."""

    def row(arm: str, round_number: int, candidate: likeness.Candidate) -> Row:
        scores = {score.metric: score.normalized for score in candidate.scores}
        recovered = attributes_recovered(candidate.prompt, target.scene)
        return Row(target.index, target.split, arm, round_number, candidate.prompt, recovered, scores)

    made: list[Row] = []
    ends: dict[str, likeness.RegenerationResult] = {}
    for arm, fresh_noise in LOOPS.items():
        ends[arm] = client.regenerate(
            target.png,
            rounds=rounds,
            candidates=candidates,
            metrics=metrics,
            selection_metrics=OPTIMIZED,
            seed=target.index,
            fresh_noise=fresh_noise,
        )
        made += [row(arm, number, best) for number, best in best_by_round(ends[arm])]
    first_prompt = ends["loop"].rounds[0].base_prompt
    # Other session seeds, so that no seed of the loop comes again.
    baseline = human_round(client, target, metrics, first_prompt, rounds * candidates, seed=10_000 + target.index)
    chosen = max(baseline, key=lambda candidate: candidate.loop_score or 0.0)
    made.append(row("seeds", rounds, chosen))
    for arm, prompt in (("fresh-first", first_prompt), ("fresh-final", ends["loop"].best.prompt)):
        fresh = human_round(client, target, metrics, prompt, FRESH_SEEDS, seed=20_000 + target.index)
        each = [row(arm, 0, candidate) for candidate in fresh]
        means = {metric: statistics.fmean(r.scores[metric] for r in each) for metric in metrics}
        made.append(Row(target.index, target.split, arm, 0, prompt, each[0].attributes, means))
    return made


def best_by_round(result: likeness.RegenerationResult) -> list[tuple[int, likeness.Candidate]]:
    """The best candidate up to each round, by loop score; the older of equals."""
    found: list[tuple[int, likeness.Candidate]] = []
    scored: list[likeness.Candidate] = []
    for finished in result.rounds:
        scored += [candidate for candidate in finished.candidates if candidate.loop_score is not None]
        found.append((finished.number, max(scored, key=lambda candidate: candidate.loop_score or 0.0)))
    return found


def human_round(
    client: likeness.Client, target: Target, metrics: list[str], prompt: str, count: int, *, seed: int
) -> list[likeness.Candidate]:
    """`count` pictures of one prompt, scored; the session is deleted afterwards."""
    session = client.create_session(target.png, metrics=metrics, selection_metrics=OPTIMIZED, seed=seed)
    for _ in client.submit_prompt(session.name, prompt, image_count=count):
        pass
    candidates = client.get_session(session.name).rounds[-1].candidates
    client.delete_session(session.name)
    return [candidate for candidate in candidates if candidate.loop_score is not None]


def summarize(rows: list[Row], rounds: int) -> dict[str, object]:
    """Means per arm and round, and the paired tests."""
    metrics = list(rows[0].scores)

    def pick(arm: str, round_number: int, split: str | None = None) -> list[Row]:
        return [r for r in rows if r.arm == arm and r.round == round_number and split in (None, r.split)]

    def means(chosen: list[Row]) -> dict[str, float | int]:
        return {
            **{metric: round(statistics.fmean(r.scores[metric] for r in chosen), 4) for metric in metrics},
            "attributes": round(statistics.fmean(r.attributes for r in chosen), 4),
            "n": len(chosen),
        }

    points = [(arm, number) for arm in LOOPS for number in range(1, rounds + 1)]
    points += [("seeds", rounds), ("fresh-first", 0), ("fresh-final", 0)]
    table = [
        {"arm": arm, "round": number, "split": split or "all", **means(pick(arm, number, split))}
        for split in (None, "seen", "held_out")
        for arm, number in points
        if pick(arm, number, split)
    ]
    tests = [
        paired(metric, pick(arm, rounds), pick("seeds", rounds), f"{arm} against seeds")
        for arm in LOOPS
        for metric in metrics
    ] + [
        paired(metric, pick("fresh-final", 0), pick("fresh-first", 0), "final against first prompt")
        for metric in metrics
    ]
    return {"table": table, "tests": tests, "attributes": attribute_change(pick("loop", rounds), pick("seeds", rounds))}


def paired(metric: str, ours: list[Row], theirs: list[Row], name: str) -> dict[str, object]:
    """Paired comparison of normalized values: mean difference, t-test and Wilcoxon p, wins, ties, losses."""
    differences = [a.scores[metric] - b.scores[metric] for a, b in zip(ours, theirs, strict=True)]
    changed = [d for d in differences if abs(d) > 1e-9]
    return {
        "comparison": name,
        "metric": metric,
        "mean_difference": round(statistics.fmean(differences), 5),
        "t_test_p": float(stats.ttest_1samp(differences, 0.0).pvalue) if len(changed) > 1 else None,
        "wilcoxon_p": float(stats.wilcoxon(changed).pvalue) if len(changed) > 5 else None,
        "wins": sum(d > 1e-9 for d in differences),
        "ties": len(differences) - len(changed),
        "losses": sum(d < -1e-9 for d in differences),
    }


def attribute_change(final: list[Row], first: list[Row]) -> dict[str, object]:
    """True attributes named by the final prompt against those of the first prompt, per target."""
    both = [(a.attributes, b.attributes) for a, b in zip(final, first, strict=True)]
    return {
        "final_mean": round(statistics.fmean(a for a, _ in both), 4),
        "first_mean": round(statistics.fmean(b for _, b in both), 4),
        "gained": sum(a > b for a, b in both),
        "kept": sum(a == b for a, b in both),
        "lost": sum(a < b for a, b in both),
    }


def write(folder: Path, rows: list[Row], summary: dict[str, object]) -> None:
    """Raw rows as CSV, the table as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = list(rows[0].scores)
    with (folder / "loop_quality.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["target", "split", "arm", "round", "attributes", *metrics, "prompt"])
        for r in rows:
            scores = [round(r.scores[metric], 5) for metric in metrics]
            writer.writerow([r.target, r.split, r.arm, r.round, round(r.attributes, 4), *scores, r.prompt])
    (folder / "loop_quality.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def show(console: Console, summary: dict[str, object]) -> None:
    """Prints the summary."""
    for title, key in (("Means, normalized 0..1, higher is better", "table"), ("Paired comparisons", "tests")):
        lines = summary[key]
        assert isinstance(lines, list)
        table = Table(title=title)
        for column in lines[0]:
            table.add_column(column)
        for line in lines:
            table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in line.values()))
        console.print(table)
    console.print("True attributes:", summary["attributes"])


if __name__ == "__main__":
    main()
