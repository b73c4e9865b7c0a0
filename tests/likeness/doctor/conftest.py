"""A patient for every test, and a doctor who says what matters of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from likeness import Client, RetryPolicy, Tls
from likeness.doctor import Finding, State, examine

Diagnose = Callable[..., dict[str, Finding]]


@pytest.fixture
def diagnose() -> Diagnose:
    """The worst finding of each check at an address; of two equally bad ones the first."""

    def examined(
        address: str, *, tls: Tls | None = None, deep: bool = False, timeout_seconds: float = 10
    ) -> dict[str, Finding]:
        worst: dict[str, Finding] = {}
        order = list(State)
        with Client(address, tls=tls, retry=RetryPolicy(attempts=1), timeout_seconds=timeout_seconds) as client:
            for finding in examine(client, tls, deep=deep):
                known = worst.get(finding.check)
                if known is None or order.index(finding.state) > order.index(known.state):
                    worst[finding.check] = finding
        return worst

    return examined
