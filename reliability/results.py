"""Where results lie and what they say of the machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Cores, and how busy they are with this and other work."""
    usable = len(os.sched_getaffinity(0))
    load = f"load average {os.getloadavg()[0]:.1f}, niceness {os.nice(0)}"
    return f"{usable} of {os.cpu_count()} cores, shared with other work, {load}"


def write(path: Path, row: dict[str, Any]) -> None:
    """Writes a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
