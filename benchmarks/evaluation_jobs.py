"""A batch of prompts through `likeness evaluate`, end to end: how long, and how long PRIP's whole set would take.

    python -m benchmarks.evaluation_jobs --prompts FOLDER [--count 200] [--images 4] [--address HOST:PORT]

FOLDER has HPSv2's prompts, a JSON list for each of four styles (800 each). As many prompts of each are made into
a manifest, evaluated through the command line with all text-image metrics, and written as Parquet with
a report. Without --address an embedded cluster is started for the run. The pictures of prompts that the embedded model
does not know say nothing; what is measured is throughput. The summary goes to benchmarks/results/evaluation_jobs.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import likeness
from benchmarks.cluster import embedded_cluster

RESULTS = Path(__file__).parent / "results"
STYLES = ("anime", "concept-art", "paintings", "photo")
WHOLE_SET = 3200
"""Prompts of all styles: what PRIP's table 1 is about."""


def main() -> None:
    """Runs the batch and writes the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--metrics", default="")
    parser.add_argument("--address", default=None)
    options = parser.parse_args()
    started = contextlib.nullcontext(options.address) if options.address else embedded_cluster()
    with started as address, tempfile.TemporaryDirectory() as folder:
        summary = run(Path(folder), address, options)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "evaluation_jobs.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=2))


def run(folder: Path, address: str, options: argparse.Namespace) -> dict[str, Any]:
    """Evaluates a manifest through the command line.

    Args:
        folder: Where manifest and results go.
        address: Of the gateway.
        options: The command line's.
    """
    manifest, out, report = folder / "prompts.jsonl", folder / "results.parquet", folder / "report.md"
    write_manifest(manifest, options.prompts, options.count)
    with likeness.Client(address) as client:
        metrics = options.metrics or ",".join(one.id for one in client.metrics() if one.input == "text_image")
    # As with `likeness` itself.
    command = [sys.executable, "-m", "likeness.cli.main", "evaluate", str(manifest), "--out", str(out)]
    command += ["--images", str(options.images), "--metrics", metrics, "--report", str(report), "--address", address]
    begin = time.perf_counter()
    code = subprocess.run([*command, "--json"], check=False, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - begin
    evaluation = json.loads(code.stdout.splitlines()[-1])["evaluation"]
    pictures = options.count * options.images
    return {
        "prompts": options.count,
        "images_a_prompt": options.images,
        "exit_code": code.returncode,
        "state": evaluation["state"],
        "done": evaluation["done_count"],
        "failed": evaluation["failed_count"],
        "seconds": round(seconds, 1),
        "pictures_per_second": round(pictures / seconds, 2),
        "projected_minutes_of_3200_prompts": round(seconds * WHOLE_SET / options.count / 60, 1),
        "metrics": metrics.split(","),
        "report": report.read_text(encoding="utf-8").splitlines(),
        "setting": {
            "cpu": platform.processor() or platform.machine(),
            "cores_used": len(os.sched_getaffinity(0)),
            "load_average": os.getloadavg()[0],
            "model": evaluation["settings"]["model"],
            "version": likeness.__version__,
        },
    }


def write_manifest(path: Path, prompts: Path, count: int) -> None:
    """Writes `count` prompts, as many of each style, as JSON lines."""
    each = count // len(STYLES)
    with path.open("w", encoding="utf-8") as file:
        for style in STYLES:
            texts = json.loads((prompts / f"{style}.json").read_text(encoding="utf-8"))
            for number, text in enumerate(texts[:each]):
                row = {"item_id": f"{style}-{number}", "group": style, "system": "no refinement", "prompt": text}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
