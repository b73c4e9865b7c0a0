"""Loops as a client of the SDK follows them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from likeness import AsyncClient, Session, SessionState
from likeness import _events as events
from reliability.light.pictures import paint

TARGET = paint("rgb 200 60 90", 7)
ROUNDS, CANDIDATES = 3, 3


async def started(
    client: AsyncClient, *, rounds: int = ROUNDS, candidates: int = CANDIDATES, steps: int | None = None
) -> Session:
    """A session whose loop runs."""
    session = await client.create_session(TARGET, steps=steps)
    return await client.start_loop(session, rounds=rounds, candidates=candidates)


async def followed(
    client: AsyncClient, session: Session, fault: Callable[[], Awaitable[object]] | None = None, *, after: int = 4
) -> list[events.Event]:
    """Durable events until the loop ends; the fault happens once so many of them were seen."""
    seen: list[events.Event] = []
    async for event in client.watch(session, until_idle=True):
        if event.sequence:
            seen.append(event)
            if len(seen) == after and fault is not None:
                await fault()
    return seen


async def check_whole(
    client: AsyncClient,
    session: Session,
    seen: list[events.Event],
    *,
    rounds: int = ROUNDS,
    candidates: int = CANDIDATES,
) -> None:
    """The loop succeeded, the client saw every event once, and every candidate was made and scored once."""
    details = await client.get_session(session)
    assert details.session.state is SessionState.SUCCEEDED, details.session.error
    assert [event.sequence for event in seen] == list(range(1, details.session.last_event_sequence + 1))
    ids = sorted(f"r{r + 1}c{c + 1}" for r in range(rounds) for c in range(candidates))
    bodies = [event.body for event in seen]
    assert sorted(one.candidate.id for one in bodies if isinstance(one, events.CandidateGenerated)) == ids
    assert sorted(one.candidate.id for one in bodies if isinstance(one, events.CandidateScored)) == ids
