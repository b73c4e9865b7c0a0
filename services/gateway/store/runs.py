"""What a running session writes: one transaction a step, each refused if the lease was lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import insert, update

from services.gateway import domain
from services.gateway.history import History, apply, better
from services.gateway.loops.state import Lease, RunState
from services.gateway.store import tables
from services.gateway.store.changes import Change, LeaseLostError, locked
from services.gateway.store.codec import decode, encode
from services.gateway.store.database import Database
from services.gateway.store.images import ImageRepository
from services.gateway.store.leases import lease_values
from services.gateway.store.requests import RequestKey, RequestRepository
from services.gateway.store.sessions import read_rounds


@dataclass(frozen=True)
class Begun:
    """A run as it was begun; stored as the answer of the call that began it.

    Attributes:
        session: The session, running.
        sequence: Sequence of the event that says so.
    """

    session: domain.Session
    sequence: int


class RunRepository:
    """The steps of runs. Each method that takes a lease raises LeaseLostError if it is not the newest."""

    def __init__(self, database: Database, images: ImageRepository, requests: RequestRepository) -> None:
        self._database = database
        self._images = images
        self._requests = requests

    async def begin(
        self, session_id: str, loop: domain.LoopSettings, owner: str, key: RequestKey | None = None
    ) -> tuple[Begun, Lease | None]:
        """Sets a session running, leased to `owner`. A repeated call gets the stored answer and no lease.

        Raises:
            NotFoundError: SESSION_NOT_FOUND.
            PreconditionError: SESSION_BUSY.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Begun, stored), None
            async with locked(connection, session_id) as change:
                change.require_idle()
                change.set(
                    run=encode(loop),
                    run_first_round=change.session.round_count + 1,
                    next_prompt=loop.first_prompt or change.row["next_prompt"],
                    cancel_requested=False,
                    **lease_values(owner),
                )
                change.set_state(domain.SessionState.RUNNING)
                token = change.row["lease_token"] + 1
            session = apply(History(change.session), change.events[-1]).session
            begun = Begun(session, change.events[-1].sequence)
            await self._requests.answer(connection, key, encode(begun))
        return begun, Lease(session_id, token)

    async def load(self, lease: Lease) -> RunState:
        """The run as it is stored."""
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            rounds = await read_rounds(connection, lease.session_id)
        last = rounds[-1] if rounds else None
        feedback = last.feedback if last is not None and not last.finished else None
        return RunState(
            history=History(now.session, rounds),
            loop=decode(domain.LoopSettings, now.row["run"]),
            first_round=now.row["run_first_round"],
            next_prompt=now.row["next_prompt"],
            feedback=feedback,
        )

    async def understood(self, lease: Lease, state: RunState, tree: domain.Tree, prompt: str) -> RunState:
        """Stores the tree of the target, and the first prompt where nothing better is known."""
        next_prompt = state.next_prompt or ("" if state.session.best else prompt)
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            now.set(tree=encode(tree), next_prompt=next_prompt)
            now.emit(domain.TargetUnderstood(tree, prompt))
        return replace(_after(state, now), next_prompt=next_prompt)

    async def round_started(self, lease: Lease, state: RunState, started: domain.Round) -> RunState:
        """Stores a round with its candidates; its time becomes the database's."""
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            stamped = replace(started, create_time=now.now)
            await connection.execute(
                insert(tables.rounds).values(
                    session_id=lease.session_id,
                    number=stamped.number,
                    strategy=stamped.strategy,
                    aspect=stamped.aspect and stamped.aspect.value,
                    base_prompt=stamped.base_prompt,
                    create_time=stamped.create_time,
                )
            )
            await connection.execute(
                insert(tables.candidates),
                [
                    {
                        "session_id": lease.session_id,
                        "id": one.id,
                        "round_number": stamped.number,
                        "position": position,
                        "prompt": one.prompt,
                        "origin": one.origin,
                        "seed": one.seed,
                        "edits": encode(one.edits),
                        "noise_mix": encode(one.noise_mix),
                    }
                    for position, one in enumerate(stamped.candidates)
                ],
            )
            now.set(round_count=stamped.number)
            now.emit(domain.RoundStarted(stamped))
        return _after(state, now)

    async def candidate_generated(
        self, lease: Lease, state: RunState, candidate: domain.Candidate, data: bytes
    ) -> RunState:
        """Stores a candidate's picture: bytes first, then the row that refers to them."""
        assert candidate.image is not None
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            await self._images.keep(connection, data, candidate.image)
            await _update_candidate(
                now, candidate, image_hash=candidate.image.content_hash, record=encode(candidate.record)
            )
            now.emit(domain.CandidateGenerated(candidate))
        return _after(state, now)

    async def candidate_failed(self, lease: Lease, state: RunState, candidate: domain.Candidate) -> RunState:
        """Stores why a candidate failed."""
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            await _update_candidate(now, candidate, error=encode(candidate.error))
            now.emit(domain.CandidateFailed(candidate))
        return _after(state, now)

    async def candidates_scored(
        self, lease: Lease, state: RunState, candidates: Sequence[domain.Candidate]
    ) -> RunState:
        """Stores the scores of several candidates at once, and the best so far."""
        best = state.session.best
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            for one in candidates:
                await _update_candidate(now, one, scores=encode(one.scores), loop_score=one.loop_score)
                now.emit(domain.CandidateScored(one))
                best = better(best, one)
            now.set(best=encode(best))
        return _after(state, now)

    async def critiqued(self, lease: Lease, state: RunState, number: int, feedback: domain.Feedback) -> RunState:
        """Stores feedback before the prompt is revised by it. No event: RoundFinished tells it."""
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            await _update_round(now, number, feedback=encode(feedback))
        return replace(state, feedback=feedback)

    async def round_finished(self, lease: Lease, state: RunState, finished: domain.Round, next_prompt: str) -> RunState:
        """Stores the end of a round and the prompt that the next one starts from."""
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            await _update_round(
                now,
                finished.number,
                best_candidate_id=finished.best_candidate_id,
                feedback=encode(finished.feedback),
                gain=finished.gain,
                finished=True,
            )
            now.set(next_prompt=next_prompt)
            now.emit(domain.RoundFinished(finished))
        return replace(_after(state, now), next_prompt=next_prompt, feedback=None)

    async def stopped(
        self,
        lease: Lease,
        state: domain.SessionState,
        stop_reason: domain.StopReason | None,
        error: domain.ItemError | None = None,
    ) -> None:
        """Ends the run and gives the lease back."""
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            if now.session.state is not domain.SessionState.RUNNING:
                raise LeaseLostError(lease.session_id)
            now.set_state(state, stop_reason, error)


def _after(state: RunState, change: Change) -> RunState:
    history = state.history
    for event in change.events:
        history = apply(history, event)
    return replace(state, history=history)


async def _update_candidate(change: Change, candidate: domain.Candidate, **values: object) -> None:
    table = tables.candidates
    where = (table.c.session_id == change.session.id, table.c.id == candidate.id)
    await change.connection.execute(update(table).where(*where).values(**values))


async def _update_round(change: Change, number: int, **values: object) -> None:
    table = tables.rounds
    where = (table.c.session_id == change.session.id, table.c.number == number)
    await change.connection.execute(update(table).where(*where).values(**values))
