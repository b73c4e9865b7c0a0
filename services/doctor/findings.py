"""What a check of this machine finds, as a JSON line that `likeness doctor` reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis: as `likeness.doctor.Finding`, which this package must not need.

    Attributes:
        message: What is, in one sentence.
        advice: What to do about it; empty if there is nothing to do.
    """

    check: str
    state: Literal["ok", "note", "warning", "problem"]
    message: str
    advice: str = ""

    def line(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))
