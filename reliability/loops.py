"""Clients that run one loop after another through whatever happens to the deployment."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from likeness import AsyncClient, LikenessError, RetryPolicy, Session, SessionState
from likeness._events import SessionSnapshot
from reliability.light.pictures import paint, prompt_of

PATIENT = RetryPolicy(attempts=1000, initial_delay_seconds=0.2, max_delay_seconds=2.0, reconnect_seconds=180.0)
"""Waits for gateways that are started again, as a program without a person would."""
CALL_SECONDS = 180.0
MAX_ROUNDS, MAX_CANDIDATES = 5, 3


@dataclass
class LoopTally:
    """What became of the loops, as their clients saw it."""

    started: int = 0
    open: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    """Final states of sessions; failures with their reason."""
    client_errors: Counter[str] = field(default_factory=Counter)
    """Errors that reached a client after all retries, by code and reason."""
    wrong_logs: list[str] = field(default_factory=list)
    """Sessions of which a watch missed or repeated an event."""
    seconds: list[float] = field(default_factory=list)
    """Of each loop, from the call that created its session to its end."""
    watched_events: int = 0


async def run_loops(address: str, number: int, seed: int, tally: LoopTally, goes_on: Callable[[], bool]) -> None:
    """Runs loops one after another until `goes_on` says no; the one under way is followed to its end.

    Args:
        address: Of all gateways.
        number: Of this client.
        seed: Of everything random.
        tally: Shared by all clients.
        goes_on: Whether another loop should begin.
    """
    chance = random.Random(f"{seed}-{number}")
    async with AsyncClient(address, retry=PATIENT, timeout_seconds=CALL_SECONDS) as client:
        while goes_on():
            tally.started += 1
            tally.open += 1
            began = time.monotonic()
            try:
                await _one(client, chance, tally)
            except LikenessError as error:
                tally.client_errors[f"{error.code} {error.reason}".strip()] += 1
            finally:
                tally.open -= 1
            tally.seconds.append(time.monotonic() - began)


async def _one(client: AsyncClient, chance: random.Random, tally: LoopTally) -> None:
    color = (chance.randrange(256), chance.randrange(256), chance.randrange(256))
    target = paint(prompt_of(color), chance.randrange(2**32))
    session = await client.create_session(target, seed=chance.randrange(2**32))
    rounds, candidates = chance.randint(1, MAX_ROUNDS), chance.randint(1, MAX_CANDIDATES)
    await client.start_loop(session, rounds=rounds, candidates=candidates)
    sequences: list[int] = []
    async for event in client.watch(session, until_idle=True):
        if isinstance(event.body, SessionSnapshot):
            assert event.sequence == 0
        elif event.sequence:
            sequences.append(event.sequence)
    tally.watched_events += len(sequences)
    details = await client.get_session(session)
    if sequences != list(range(1, details.session.last_event_sequence + 1)):
        tally.wrong_logs.append(session.name)
    made = sum(len(one.candidates) for one in details.rounds)
    if details.session.state is SessionState.SUCCEEDED and made != rounds * candidates:
        tally.wrong_logs.append(f"{session.name}: {made} candidates of {rounds * candidates}")
    tally.ended[_ending(details.session)] += 1


def _ending(session: Session) -> str:
    reason = session.error.reason if session.error is not None else ""
    return f"{session.state.value} {reason}".strip()
