"""What a check finds, also as a JSON line: so the services' checks, which are processes of their own, tell it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum


class State(StrEnum):
    """OK as it should be; NOTE worth knowing; WARNING works, but worse than it should; PROBLEM something fails; SKIPPED
    could not be looked at because of a problem before it."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        check: Name of the check, such as "database"; programs may rely on it.
        message: What is, in one sentence.
        advice: What to do about it; empty if there is nothing to do.
    """

    check: str
    state: State
    message: str
    advice: str = ""

    def line(self) -> str:
        """As JSON, for `from_line`."""
        return json.dumps(asdict(self))


def from_line(line: str) -> Finding | None:
    """The finding of a line; anything else that a library may print is none."""
    try:
        said = json.loads(line)
        return Finding(str(said["check"]), State(said["state"]), str(said["message"]), str(said["advice"]))
    except (ValueError, KeyError, TypeError):
        return None


def ok(check: str, message: str) -> Finding:
    """As it should be."""
    return Finding(check, State.OK, message)


def note(check: str, message: str, advice: str = "") -> Finding:
    """Worth knowing."""
    return Finding(check, State.NOTE, message, advice)


def warning(check: str, message: str, advice: str) -> Finding:
    """Works, but worse than it should."""
    return Finding(check, State.WARNING, message, advice)


def problem(check: str, message: str, advice: str) -> Finding:
    """Something fails."""
    return Finding(check, State.PROBLEM, message, advice)


def skipped(check: str) -> Finding:
    """Not looked at."""
    return Finding(check, State.SKIPPED, "not looked at, because of the problem above")
