"""Every check that needs no more than the API, in an order in which the first problem explains those after it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from likeness._channel import Tls
from likeness._client import Client
from likeness._errors import GATEWAY_UNREACHABLE, LikenessError
from likeness.doctor import offers
from likeness.doctor.findings import Finding, State, ok, problem, skipped
from likeness.doctor.parts import clock, parts, version
from likeness.doctor.reaching import explain, reach
from likeness.doctor.round_trip import round_trip

AFTER_STATUS = ("version", "clock", "parts", "models", "metrics", "strategies")
DEEP = ("generate", "score")

_LOG = "See the gateway's log."
_NEW_KEY = "Ask whoever runs the gateway for a new one."
_KEY_ADVICE = {
    "KEY_MISSING": "Set LIKENESS_API_KEY to the key that you were given.",
    "KEY_INVALID": "Check LIKENESS_API_KEY for missing characters, and that it is a key of this deployment.",
    "KEY_EXPIRED": _NEW_KEY,
    "KEY_REVOKED": _NEW_KEY,
    "SCOPE_TOO_NARROW": "Ask whoever runs the gateway for a key that may do this.",
}
"""By reason of the error."""


def examine(client: Client, tls: Tls | None, *, deep: bool = False) -> Iterator[Finding]:
    """Looks at the deployment behind a client.

    Args:
        client: Should try each call once only: a doctor wants to see failures.
        tls: As the client was given it.
        deep: Also makes a picture and scores it.
    """
    for finding in reach(client.address):
        yield finding
        if finding.state is State.PROBLEM:
            yield from _rest(("gateway", *AFTER_STATUS), deep)
            return
    asked = datetime.now(UTC)
    try:
        status = client.status()
    except LikenessError as error:
        yield _silent(client, tls, error)
        yield from _rest(AFTER_STATUS, deep)
        return
    answered = datetime.now(UTC)
    yield ok("gateway", f"answers, with the profile {status.profile}")
    yield version(status)
    yield clock(status, asked, answered)
    yield from parts(status)
    yield from offers.models(client)
    yield from offers.metrics(client)
    yield from offers.strategies(client)
    if deep:
        yield from round_trip(client)


def _silent(client: Client, tls: Tls | None, error: LikenessError) -> Finding:
    """Why a gateway whose port is open gives no status."""
    if error.reason == GATEWAY_UNREACHABLE:
        return explain(client.address, tls)
    if error.code == "UNIMPLEMENTED":
        advice = "Check the port: Ray Serve's proxy, for one, has its own. A very old gateway must be upgraded."
        return problem("gateway", f"a gRPC server answers at {client.address}, but no Likeness gateway", advice)
    if error.code == "DEADLINE_EXCEEDED":
        advice = "It may be overloaded or hang: see its log; restart it if nothing else helps."
        return problem("gateway", "it takes connections but gives no answer", advice)
    return problem("gateway", f"it does not say how it is: {error.message}", _KEY_ADVICE.get(error.reason, _LOG))


def _rest(checks: tuple[str, ...], deep: bool) -> Iterator[Finding]:
    yield from (skipped(check) for check in (*checks, *(DEEP if deep else ())))
