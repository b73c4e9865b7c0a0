"""The engine against the stock diffusers pipeline on one GPU, and what single changes of the denoiser bring.

    python -m benchmarks.generation_gpu sd15|sdxl [--device cuda] [--budget-seconds 420] [--out FOLDER]
    python -m benchmarks.generation_gpu sdxl --tiny --device cpu --out /tmp/tiny     # shows that it runs, in seconds

Models of the true architectures with random weights (`true_models.py`), bf16: nothing is downloaded, and neither Ray,
gRPC nor a database is needed (GPU.md says which packages are). On a CPU the precision is float32, and rows of compiled
denoisers and CUDA graphs are left out.

Ways: `stock` is the diffusers pipeline, `engine` the service's. Loads: `alone`, one picture after the other with the
model's default steps; `batch`, a call of the stock pipeline with a full batch of such; `queue`, pictures of .6, .8, 1.2
and 1.4 times the default steps, by the stock pipeline one after the other, by the engine with 32 open requests. Each
further row is the engine with one change. Rows come in the order of their importance: none is begun when the budget of
seconds is used up, and the files are written after each, so that a run that is cut short loses only its last rows.

Latency is from asking to the picture. Denoiser seconds are the time between beginning and end of its calls on the
device, so that they hold gaps in which the device waits for Python. Overhead is the time of the row over that of the
calls of denoiser, text encoders and decoder. The matrix share is the rate of the denoiser's operations (counted by
torch) by that of a large bf16 matrix product, measured first. Difference is the mean absolute pixel difference, of 255,
to the stock pipeline's pictures of the same requests one by one. Ratios are of images a second to those of the stock
pipeline one by one under the same load. Rows go to generation_gpu_<model>.csv, and with the setting to .json.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from rich.console import Console

from benchmarks import chip, denoiser_changes, true_models
from benchmarks.generation_load import difference
from benchmarks.gpu_ways import Made, by_engine, flops_of_a_step, one_call_each, requests, warm_up
from services.generator.domain import GenerationRecord
from services.generator.families.prompt_cache import PromptCache
from services.generator.pipelines import LoadedModel

RESULTS = Path(__file__).parent / "results"
STEPS_MIX = (0.6, 0.8, 1.2, 1.4)
"""Of requests of the queue, in turn, by the default steps."""
OPEN_REQUESTS = 32
ALONE = 4
COMPARED = 8
"""Pictures of the queue that the stock pipeline makes."""
QUEUE = {"sd15": 128, "sdxl": 64}
CHANGES: dict[str, denoiser_changes.Change] = {
    "channels_last": denoiser_changes.channels_last,
    "fused QKV": denoiser_changes.fused_qkv,
    "CUDA graphs": denoiser_changes.in_graphs,
    "torch.compile": denoiser_changes.compiled,
    "torch.compile and CUDA graphs": denoiser_changes.compiled_in_graphs,
}
_ALSO_ON_CPUS = ("channels_last", "fused QKV")
"""The others need CUDA, or minutes of a CPU to compile."""


@dataclass(frozen=True)
class Row:
    """One way under one load with one change."""

    model: str
    hardware: str
    torch: str
    precision: str
    width: int
    height: int
    steps: float
    """Mean."""
    way: str
    change: str
    load: str
    pictures: int
    batch: float
    """Mean number of pictures in a denoiser call."""
    seconds_per_image: float
    mean_latency_seconds: float | None
    p95_latency_seconds: float | None
    """Of the engine; stock pictures of a queue were not asked for at once."""
    images_per_second: float
    denoiser_seconds_per_image: float
    overhead: float
    matrix_share: float
    peak_gibibytes: float | None
    difference: float
    ratio_to_stock: float


class Bench:
    """A model, its requests, and the rows so far."""

    def __init__(self, model: LoadedModel, precision: str, queue: int) -> None:
        """Measures the chip and counts the denoiser's operations."""
        self.model = model
        self.rows: list[Row] = []
        self.failures: dict[str, str] = {}
        self._precision = precision
        self._stopwatch = chip.Stopwatch(model.device)
        self.matrix_rate = chip.matrix_rate(model.device, model.family.pipeline.unet.dtype)
        self.alone = requests(model, (1.0,), ALONE)
        self.queue = requests(model, STEPS_MIX, queue)
        self.flops = flops_of_a_step(model, self.alone[0])
        self._references: dict[GenerationRecord, Image.Image] = {}

    def stock(self, load: str) -> None:
        """A row of the stock pipeline. `alone` and `queue` come first: other rows are compared with their pictures."""
        batch = self.model.max_batch if load == "batch" else 1
        records = {"alone": self.alone, "queue": self.queue[:COMPARED]}.get(load) or requests(self.model, (1.0,), batch)
        made = self._row("stock", "none", load, records, functools.partial(one_call_each, self.model, batch=batch))
        if made is not None and load != "batch":
            self._references |= dict(zip(records, made.pictures, strict=True))

    def engine(self, change: str, load: str) -> None:
        """A row of the engine, with the denoiser as it has been changed."""
        records, at_once = (self.alone, 1) if load == "alone" else (self.queue, OPEN_REQUESTS)
        self._row("engine", change, load, records, functools.partial(by_engine, self.model, at_once=at_once))

    def _row(
        self, way: str, change: str, load: str, records: Sequence[GenerationRecord], make: Callable[..., Made]
    ) -> Made | None:
        console, device = Console(), self.model.device
        began = time.perf_counter()
        try:
            with chip.timed_networks(self.model.family.pipeline, self._stopwatch):
                make(warm_up(records, load, self.model.max_batch))
                chip.finish(device)
                warm_seconds = time.perf_counter() - began
                chip.forget_peak(device)
                self._stopwatch.reset()
                # Every row encodes its prompts, as the stock pipeline does.
                self.model.family.prompts = PromptCache()
                made = make(records)
        except Exception as error:  # one row that cannot be had must not cost the others
            console.print_exception(max_frames=8)
            self.failures[f"{way}, {change}, {load}"] = f"{type(error).__name__}: {error}"
            return None
        self.rows.append(self._measured(way, change, load, records, made))
        console.print(f"{self.rows[-1]}\n  warm-up {warm_seconds:.1f} s")
        return made

    def _measured(self, way: str, change: str, load: str, records: Sequence[GenerationRecord], made: Made) -> Row:
        count, steps = len(records), sum(record.steps for record in records)
        denoiser = self._stopwatch.seconds(chip.DENOISER)
        bare = self._stopwatch.seconds(chip.DENOISER, chip.ENCODER, chip.DECODER)
        alone = dict(zip(records, made.pictures, strict=True))
        known = [record for record in records if record in self._references] or list(records)
        to_stock = [difference(alone[record], self._references.get(record, alone[record])) for record in known]
        compared = "queue" if load == "queue" else "alone"
        base = next((row for row in self.rows if (row.way, row.load) == ("stock", compared)), None)
        rate = count / made.seconds
        has_latencies = way == "engine" or load == "alone"
        return Row(
            model=self.model.card.id,
            hardware=chip.hardware(self.model.device),
            torch=torch.__version__,
            precision=self._precision,
            width=records[0].width_pixels,
            height=records[0].height_pixels,
            steps=steps / count,
            way=way,
            change=change,
            load=load,
            pictures=count,
            batch=steps / self._stopwatch.calls(chip.DENOISER),
            seconds_per_image=made.seconds / count,
            mean_latency_seconds=statistics.fmean(made.latencies) if has_latencies else None,
            p95_latency_seconds=float(np.quantile(made.latencies, 0.95)) if has_latencies else None,
            images_per_second=rate,
            denoiser_seconds_per_image=denoiser / count,
            overhead=made.seconds / bare - 1,
            matrix_share=steps * self.flops / denoiser / self.matrix_rate,
            peak_gibibytes=chip.peak_gibibytes(self.model.device),
            difference=statistics.fmean(to_stock),
            ratio_to_stock=rate / base.images_per_second if base else 1.0,
        )


def main() -> None:
    """Runs all rows that the budget holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(true_models.ARCHITECTURES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small layers and pictures, for a machine without a GPU")
    parser.add_argument("--budget-seconds", type=float, default=420.0, help="no row is begun afterwards")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    began = time.perf_counter()
    architecture = true_models.ARCHITECTURES[options.model]
    if options.tiny:
        architecture = true_models.tiny(architecture)
    device = torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = true_models.build(architecture, device, dtype)
    bench = Bench(model, str(dtype).removeprefix("torch."), OPEN_REQUESTS + 8 if options.tiny else QUEUE[options.model])
    console = Console()
    console.print(f"{chip.hardware(device)}: {bench.matrix_rate / 1e12:.2f} T operations/s, ready in {_since(began)}")
    skipped = []
    for name, row in plan(bench, device):
        if time.perf_counter() - began > options.budget_seconds:
            skipped.append(name)
            continue
        row()
        write(options.out, bench, {"skipped": skipped, "seconds": round(time.perf_counter() - began, 1)})
    write(options.out, bench, {"skipped": skipped, "seconds": round(time.perf_counter() - began, 1)})
    console.print(f"{len(bench.rows)} rows in {_since(began)}; failed: {list(bench.failures)}; skipped: {skipped}")


def plan(bench: Bench, device: torch.device) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and rows, the most important first. A change is in place until the row after its last one is asked for."""
    yield "stock, alone", lambda: bench.stock("alone")
    yield "engine, alone", lambda: bench.engine("none", "alone")
    yield "stock, queue", lambda: bench.stock("queue")
    yield "engine, queue", lambda: bench.engine("none", "queue")
    yield "stock, batch", lambda: bench.stock("batch")
    for change, make in CHANGES.items():
        if change not in _ALSO_ON_CPUS and device.type == "cpu":
            continue
        with make(bench.model.family.pipeline.unet):
            for load in ("alone", "queue"):
                # Compiling and capturing for every batch at once would take longer than a machine is lent for.
                if load == "alone" or change != "torch.compile and CUDA graphs":
                    yield f"{change}, {load}", functools.partial(bench.engine, change, load)


def write(folder: Path, bench: Bench, further: dict[str, object]) -> None:
    """Rows as CSV; rows, setting and what failed as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    model = bench.model
    lines = [{name: _rounded(value) for name, value in asdict(row).items()} for row in bench.rows]
    summary = {
        "rows": lines,
        "failed": bench.failures,
        **further,
        "setting": {
            "matrix_operations_per_second": bench.matrix_rate,
            "operations_of_a_step": bench.flops,
            "scheduler": model.card.limits.schedulers[0],
            "guidance_scale": model.card.limits.default_guidance_scale,
            "max_batch": model.max_batch,
            "open_requests": OPEN_REQUESTS,
            "steps_of_the_queue": STEPS_MIX,
            "diffusers": diffusers.__version__,
            "transformers": transformers.__version__,
            "cuda": torch.version.cuda,
        },
    }
    if lines:
        with (folder / f"generation_gpu_{model.card.id}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
    text = json.dumps(summary, indent=1)
    (folder / f"generation_gpu_{model.card.id}.json").write_text(text + "\n", encoding="utf-8")


def _rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


def _since(began: float) -> str:
    return f"{time.perf_counter() - began:.1f} s"


if __name__ == "__main__":
    main()
