"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
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
