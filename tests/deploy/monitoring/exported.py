"""What the services export, as their modules say it. `tests/e2e/test_metrics.py` compares that with a running cluster.

Read from the source: importing every service takes minutes on a busy machine.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import services

ROOT = Path(services.__file__).parent
TIMED = ("rpc_timer", "handled")
"""Functions that time the calls of the service that they are told first."""
SAMPLES = {"counter": ["_total"], "gauge": [""], "histogram": ["_count", "_sum", "_bucket"]}


@dataclass(frozen=True)
class Exported:
    """A sample as Prometheus knows it, without the labels that scraping adds."""

    name: str
    type: str
    labels: frozenset[str]


@cache
def exported() -> dict[str, Exported]:
    """Samples by name, of every metric that some module of the services makes."""
    found: dict[str, Exported] = {}
    for family, kind, labels in _families():
        for sample in SAMPLES[kind]:
            more = {"le"} if sample == "_bucket" else set()
            found[family + sample] = Exported(family + sample, kind, labels | more)
    return found


def _families() -> Iterator[tuple[str, str, frozenset[str]]]:
    for file in sorted(ROOT.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        calls = ast.walk(ast.parse(text)) if any(one in text for one in ('"likeness_', *TIMED)) else ()
        for call in calls:
            if not isinstance(call, ast.Call) or not call.args:
                continue
            made = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            first = call.args[0].value if isinstance(call.args[0], ast.Constant) else None
            if made in TIMED and isinstance(first, str):
                yield f"likeness_{first}_rpc_seconds", "histogram", frozenset({"method", "code"})
            elif made in SAMPLES and isinstance(first, str) and first.startswith("likeness_"):
                labels = ast.literal_eval(call.args[2]) if len(call.args) > 2 else ()
                yield first, made, frozenset(labels)
