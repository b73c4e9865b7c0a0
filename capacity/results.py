"""Where results lie, and how the page gets at them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reliability.results import machine
from reliability.results import write as write_row

RESULTS = Path(__file__).parent / "results"
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"

__all__ = ["BENCHMARKS", "RESULTS", "benchmark", "machine", "read", "write"]


def write(name: str, result: dict[str, Any]) -> None:
    """Writes a result."""
    write_row(RESULTS / f"{name}.json", result)


def read(name: str) -> Any:
    """A result of this folder."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def benchmark(name: str) -> Any:
    """A result of `benchmarks/`."""
    return json.loads((BENCHMARKS / f"{name}.json").read_text(encoding="utf-8"))
