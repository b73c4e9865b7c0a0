"""What each test of a fault shows, in words: the rows of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T", bound=Callable[..., object])


@dataclass(frozen=True)
class Fault:
    """A fault and what it means, each a sentence for people."""

    fault: str
    client_sees: str
    retried: str
    lost: str


FAULTS: dict[str, Fault] = {}
"""By name of the test function."""


def shows(fault: str, *, client_sees: str, retried: str, lost: str) -> Callable[[T], T]:
    """Says what a test shows."""

    def register(test: T) -> T:
        FAULTS[test.__name__] = Fault(fault, client_sees, retried, lost)
        return test

    return register
