"""A run as its session's row and rounds tell it, and how it is set aside for a person."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.gateway import domain
from services.gateway.history import History, apply
from services.gateway.loops import rules
from services.gateway.loops.state import RunState
from services.gateway.store.changes import Change
from services.gateway.store.codec import decode
from services.gateway.store.sessions import read_rounds


@dataclass(frozen=True)
class Begun:
    """A run as it was begun, or its end as it was asked for; stored as the answer of the call that did so.

    Attributes:
        session: The session at that moment.
        sequence: Sequence of its newest event then.
    """

    session: domain.Session
    sequence: int


def begun_by(change: Change) -> Begun:
    """The session after the events of a change."""
    history = History(change.session)
    for event in change.events:
        history = apply(history, event)
    return Begun(history.session, history.session.last_event_sequence)


async def read_run(change: Change) -> RunState:
    """The run of a locked session."""
    row = change.row
    state = RunState(
        history=History(change.session, await read_rounds(change.connection, change.session.id)),
        loop=decode(domain.LoopSettings, row["run"]),
        first_round=row["run_first_round"],
        next_prompt=row["next_prompt"],
        restart_round=row["run_restart_round"],
        seconds_spent=change.seconds_spent(),
        pause_requested=bool(row["pause_requested"]),
    )
    last = state.rounds[-1] if state.rounds else None
    feedback = last.feedback if last is not None and not last.finished else None
    return replace(state, feedback=feedback)


async def pause(change: Change) -> None:
    """Sets an automatic run aside with all that is needed to go on with it."""
    state = await read_run(change)
    paused = domain.PausedLoop(
        settings=state.loop,
        rounds_done=sum(one.finished for one in state.rounds),
        images_made=rules.spent(state).images,
        seconds_spent=state.seconds_spent,
        first_round=state.first_round,
        restart_round=state.restart_round,
        next_prompt=state.next_prompt,
    )
    change.set(person_prompt="")
    change.set_state(domain.SessionState.PAUSED, paused=paused)
