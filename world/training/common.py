"""Paths, the device, seeds, schedules and resumable checkpoints that all trainings share."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
WORK = Path(os.environ.get("WORLD_WORK", ROOT / ".train"))
"""Scratch folder (git-ignored): drawings, latents, checkpoints, reports."""
MODELS = Path(os.environ.get("WORLD_MODELS", ROOT / "models"))
TRAININGS = MODELS / "trainings.json"
SEED = 20


def device() -> torch.device:
    """The GPU when there is one, else the CPU with all cores that this process may use."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return torch.device("cpu")


def fast_bfloat16(on: torch.device) -> bool:
    """Whether bfloat16 pays: on GPUs and on CPUs with instructions for it; others emulate it, 13 times slower."""
    return on.type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def half_precision(on: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 autocast where it pays; about twice as fast as float32 there."""
    return torch.autocast(on.type, dtype=torch.bfloat16, enabled=fast_bfloat16(on))


def hardware() -> str:
    """What the training ran on, in words for the cards."""
    precision = "bfloat16 autocast" if fast_bfloat16(device()) else "float32"
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {precision}"
    cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores"
    return f"CPU {platform.machine()}, {cores}, no GPU, {precision}"


def learning_rate(peak: float, step: int, steps: int, warmup: int = 100, hold: float = 0.0) -> float:
    """Linear warm-up, a plateau until the share ``hold`` of all steps, then a linear decay to 1 % of the peak."""
    done = step / max(steps, 1)
    return peak * min(1.0, (step + 1) / warmup) * max(0.01, min(1.0, (1 - done) / (1 - hold)))


@dataclass
class Progress:
    """Prints one plain line per interval: step, seconds, speed and running means."""

    name: str
    steps: int
    batch: int
    interval: float = 30.0

    def __post_init__(self) -> None:
        self.started = self._last = time.monotonic()
        self._sums: dict[str, float] = {}
        self._count = 0
        self._first: int | None = None

    def tick(self, step: int, **values: float) -> None:
        """Record the values of a step; prints when the interval is over or at the last step."""
        self._first = step - 1 if self._first is None else self._first
        for key, value in values.items():
            self._sums[key] = self._sums.get(key, 0.0) + value
        self._count += 1
        now = time.monotonic()
        if now - self._last < self.interval and step < self.steps:
            return
        speed = (step - self._first) * self.batch / (now - self.started)
        means = " ".join(f"{key} {value / self._count:.4f}" for key, value in self._sums.items())
        print(f"[{self.name}] {step}/{self.steps} {now - self.started:.0f} s {speed:.0f}/s {means}", flush=True)
        self._last, self._sums, self._count = now, {}, 0


@dataclass
class Report:
    """What a training was. In the scratch folder it says "done"; in the repository it is kept for the cards."""

    name: str
    steps: int
    batch: int
    seconds: float
    seed: int
    metrics: dict[str, Any]
    continued: bool = False
    """Whether it started from the shipped weights: it is then added to their runs instead of replacing them."""

    def save(self) -> None:
        """Write ``WORK/<name>.report.json`` and this run's line in ``TRAININGS``."""
        content = asdict(self) | {"hardware": hardware()}
        (WORK / f"{self.name}.report.json").write_text(json.dumps(content, indent=1))
        runs = kept_runs()
        content.pop("metrics")
        runs[self.name] = [*runs.get(self.name, []), content] if self.continued else [content]
        TRAININGS.write_text(json.dumps(runs, indent=1) + "\n")


def report_of(name: str) -> dict[str, Any]:
    """The saved report of a training, empty when it never ran in this scratch folder."""
    path = WORK / f"{name}.report.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def kept_runs() -> dict[str, list[dict[str, Any]]]:
    """The runs that made the shipped weights, by the training's name, oldest first."""
    return json.loads(TRAININGS.read_text()) if TRAININGS.is_file() else {}


class StopRequest:
    """Becomes true at SIGTERM or Ctrl-C, so that a training saves its state before it ends."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True

    def __bool__(self) -> bool:
        return self._asked


class Checkpoint:
    """A resumable state on disk, written at most every ``interval`` seconds."""

    def __init__(self, name: str, interval: float = 150.0) -> None:
        self.path = WORK / f"{name}.checkpoint.pt"
        self._interval = interval
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The last state, None at a first start."""
        return torch.load(self.path, map_location="cpu", weights_only=True) if self.path.is_file() else None

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._last >= self._interval

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, in one rename."""
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)
        self._last = time.monotonic()

    def done(self) -> None:
        """Forget the state of a finished training."""
        self.path.unlink(missing_ok=True)


def batches(count: int, batch: int, start: int, seed: int) -> Iterator[torch.Tensor]:
    """Endless index batches over ``count`` items, shuffled anew each epoch; ``start`` steps are skipped."""
    per_epoch = count // batch
    epoch, offset = divmod(start, per_epoch)
    while True:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1000 + epoch))
        for index in range(offset, per_epoch):
            yield order[index * batch : (index + 1) * batch]
        epoch, offset = epoch + 1, 0


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``target`` when the block ends well, in one rename each."""
    fresh = target.with_name(f".{target.name}.new")
    old = target.with_name(f".{target.name}.old")
    remove_tree(fresh)
    fresh.mkdir(parents=True)
    yield fresh
    for path in fresh.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes files that only their owner reads
    remove_tree(old)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    remove_tree(old)


def remove_tree(folder: Path) -> None:
    """Delete a folder and its content; nothing when it is missing."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
