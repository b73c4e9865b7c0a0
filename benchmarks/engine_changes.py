"""What a change of the engine saves: its own work over the bare calls of the networks, with the change and without.

    python -m benchmarks.engine_changes [--repeats 5]

A long queue of pictures of the embedded model, `alike` and `mixed` in steps, scheduler and guidance, goes through the
engine with the change and without in turns. Overhead is the processor time of the whole process (engine, event loop)
over that of text encoder, denoiser and decoder in it. Processor time on one thread, so that other work on the machine
hardly counts; with more threads the same work weighs more, since only the networks use them. Rows
(medians) go to benchmarks/results/engine_changes.csv.

    together    pictures whose scheduler is DDIM take its step together (`families/linear_steps.py`)
    history     steps of DPM++ and UniPC are made of what the picture has seen (`families/history_steps.py`)
    pictures    what the decoder gives is rounded to bytes before it is taken to PIL (`families/pictures.py`)
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.chip import replaced
from benchmarks.step_level import StepServer, bare_calls, make_all, requests
from services.common.profile import load_profile
from services.common.settings import Settings
from services.generator.domain import GenerationRecord
from services.generator.families import pictures
from services.generator.families.history_steps import HistorySteps
from services.generator.families.linear_steps import LinearSteps
from services.generator.pipelines import LoadedModel, load_model

RESULTS = Path(__file__).parent / "results"
QUEUE = 16
WARM_UP = 4


@dataclass(frozen=True)
class Row:
    """A change, for one kind of requests."""

    change: str
    mix: str
    repeats: int
    overhead_without: float
    """Processor time over that of the bare calls, less one."""
    overhead_with: float


@contextmanager
def one_by_one() -> Iterator[None]:
    """Every picture takes its own scheduler's step."""
    with replaced([(LinearSteps, "factors", lambda *_: None)]):
        yield


@contextmanager
def without_history() -> Iterator[None]:
    """DPM++ and UniPC take their own steps."""
    with replaced([(HistorySteps, "begin", lambda *_: None)]):
        yield


@contextmanager
def as_stock() -> Iterator[None]:
    """The image processor makes the pictures."""
    with replaced([(pictures, "of_decoded", lambda processor, decoded: processor.postprocess(decoded))]):
        yield


CHANGES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "together": one_by_one,
    "history": without_history,
    "pictures": as_stock,
}
"""Changes by name, with what undoes them meanwhile."""


def main() -> None:
    """Runs all and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(load_profile("embedded").generators[0], Settings(device="cpu"))
    rows = []
    for change, undone in CHANGES.items():
        # Requests that are all alike have the model's own scheduler, DDIM.
        for mix in ("mixed",) if change == "history" else ("alike", "mixed"):
            records = requests(model, mix, QUEUE, seed=0)
            found: dict[str, list[float]] = {"without": [], "with": []}
            for _ in range(options.repeats):
                for way, state in (("without", undone), ("with", nullcontext)):
                    with state():
                        found[way].append(overhead(model, records))
            medians = (statistics.median(found["without"]), statistics.median(found["with"]))
            rows.append(Row(change, mix, options.repeats, *(round(median, 4) for median in medians)))
            Console().print(rows[-1], found)
    with (RESULTS / "engine_changes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def overhead(model: LoadedModel, records: Sequence[GenerationRecord]) -> float:
    """The engine's work for a queue beyond the bare calls, as a share of these."""
    server = StepServer(model)
    try:
        with bare_calls(model, time.thread_time) as bare:
            asyncio.run(make_all(server, records[:WARM_UP]))
            bare.seconds = 0.0
            began = time.process_time()
            asyncio.run(make_all(server, records))
            return (time.process_time() - began) / bare.seconds - 1
    finally:
        server.close()


if __name__ == "__main__":
    main()
