"""What the gateway says of itself: version, clock, and each part that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from likeness import __version__
from likeness._types import Health, Status
from likeness.doctor.findings import Finding, note, ok, problem, warning

SKEW_SECONDS = 5.0
"""Clocks that differ by less do no harm."""

_BACKEND = "Look into its log (`likeness up` keeps it in LIKENESS_HOME/logs), and start it again if it has ended."
_ADVICE = {
    "generator": _BACKEND,
    "scorer": _BACKEND,
    "refiner": _BACKEND,
    "database": "Start PostgreSQL again, or mend LIKENESS_DATABASE_URL; sessions need it. Nothing stored is lost.",
    "cache": "Start Redis again, or mend LIKENESS_REDIS_URL. Until then embeddings are computed anew each time.",
    "object_store": "Make room or mend the rights in the folder or bucket of LIKENESS_OBJECT_STORE_URL.",
}


def version(status: Status) -> Finding:
    """Whether client and gateway are of one release."""
    if status.version == __version__:
        return ok("version", f"client and gateway are both {__version__}")
    return warning(
        "version",
        f"the client is {__version__}, the gateway {status.version}: one may lack calls or fields of the other",
        f'Install the client of the gateway\'s version: pip install "likeness=={status.version}".',
    )


def clock(status: Status, asked: datetime, answered: datetime) -> Finding:
    """Whether the two clocks agree, as far as a question and its answer can tell.

    Args:
        asked: This machine's clock before the call, in UTC.
        answered: The same after it.
    """
    if status.server_time is None:
        return note("clock", "the gateway does not tell its time: it is older than this client")
    ahead = max((status.server_time - answered).total_seconds(), (asked - status.server_time).total_seconds())
    if ahead < SKEW_SECONDS:
        return ok("clock", "the clocks of client and gateway agree")
    side = "ahead of" if status.server_time > answered else "behind"
    return warning(
        "clock",
        f"the gateway's clock is {ahead:.0f} s {side} this machine's: times in answers look wrong here, and "
        "certificates and keys may seem expired or not yet valid",
        "Let both machines take their time from NTP.",
    )


def parts(status: Status) -> Iterator[Finding]:
    """One finding a part, and one for the whole."""
    for part in status.components:
        name = part.component
        advice = _ADVICE.get(name, "See the gateway's log.")
        if part.health is Health.SERVING:
            yield ok(name, part.detail or "works")
        elif part.health is Health.DEGRADED:
            yield warning(name, f"works with less: {part.detail}", advice)
        else:
            yield problem(name, f"does not work: {part.detail or 'no reason given'}", advice)
    if status.health is Health.NOT_SERVING and all(part.health is not Health.NOT_SERVING for part in status.components):
        advice = "Wait until it has ended and another has taken its place; its loops go on there."
        yield problem("gateway", "it is stopping: every part works, but it takes no new requests", advice)
