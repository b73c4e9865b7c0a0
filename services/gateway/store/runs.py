"""What a running session writes: one transaction a step, each refused if the lease was lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import insert, update

from services.common.errors import PreconditionError, Reason
from services.gateway import domain
from services.gateway.history import apply, better
from services.gateway.loops.state import HUMAN, Lease, RunState
from services.gateway.store import tables
from services.gateway.store.changes import Change, LeaseLostError, locked, owned
from services.gateway.store.codec import decode, encode
from services.gateway.store.database import Database
from services.gateway.store.images import ImageRepository
from services.gateway.store.leases import lease_values
from services.gateway.store.requests import RequestKey, RequestRepository
from services.gateway.store.run_state import Begun, begun_by, pause, read_run
from services.gateway.store.tenants import TenantRepository


class RunRepository:
    """The steps of runs. Each method that takes a lease raises LeaseLostError if it is not the newest."""

    def __init__(
        self, database: Database, images: ImageRepository, requests: RequestRepository, tenants: TenantRepository
    ) -> None:
        self._database = database
        self._images = images
        self._requests = requests
        self._tenants = tenants

    async def begin(
        self, tenant_id: str, session_id: str, loop: domain.LoopSettings, owner: str, key: RequestKey | None = None
    ) -> tuple[Begun, Lease | None]:
        """Sets a session running, leased to `owner`. A repeated call gets the stored answer and no lease.

        Raises:
            NotFoundError: SESSION_NOT_FOUND.
            PreconditionError: SESSION_BUSY; SESSION_PAUSED, for an automatic loop beside a paused one.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Begun, stored), None
            async with owned(connection, tenant_id, session_id) as change:
                change.require_idle()
                paused = change.session.paused
                if paused is not None and loop.strategy != HUMAN:
                    message = "a loop of the session is paused; go on with it by ResumeLoop, or end it by CancelLoop"
                    raise PreconditionError(Reason.SESSION_PAUSED, message, field="name")
                if paused is not None:
                    change.set(person_prompt=loop.first_prompt)
                change.set(
                    run=encode(loop),
                    run_first_round=change.session.round_count + 1,
                    run_restart_round=1,
                    run_seconds=0.0,
                    run_start_time=change.now,
                    next_prompt=loop.first_prompt or change.row["next_prompt"],
                    **lease_values(owner),
                )
                change.set_state(domain.SessionState.RUNNING, paused=paused)
            begun = begun_by(change)
            await self._requests.answer(connection, key, encode(begun))
        return begun, Lease(session_id, change.row["lease_token"] + 1)

    async def load(self, lease: Lease) -> RunState:
        """The run as it is stored."""
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            if now.row["run_start_time"] is None:
                # A race's session: its time begins with the first gateway that works on it, not with its place in line.
                now.set(run_start_time=now.now)
            return await read_run(now)

    async def understood(self, lease: Lease, state: RunState, tree: domain.Tree, prompt: str) -> RunState:
        """Stores the tree of the target, and the first prompt where nothing better is known."""
        next_prompt = state.next_prompt or ("" if state.session.best else prompt)
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            now.set(tree=encode(tree), next_prompt=next_prompt)
            now.emit(domain.TargetUnderstood(tree, prompt))
        return replace(_after(state, now), next_prompt=next_prompt)

    async def round_started(self, lease: Lease, state: RunState, started: domain.Round) -> RunState:
        """Stores a round with its candidates; its time becomes the database's. Once a pause is asked for none begins.

        Raises:
            LimitError: QUOTA_EXCEEDED, its pictures are more than the tenant has left today; nothing is stored.
        """
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            if now.row["pause_requested"]:
                return _after(state, now)
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
            # Last: the tenant's count stays locked until the transaction ends.
            await self._tenants.spend_in(connection, now.session.tenant_id, len(stamped.candidates))
        return _after(state, now)

    async def candidate_generated(
        self, lease: Lease, state: RunState, candidate: domain.Candidate, data: bytes
    ) -> RunState:
        """Stores a candidate's picture: bytes first, then the row that refers to them."""
        assert candidate.image is not None
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            await self._images.keep(connection, now.session.tenant_id, data, candidate.image)
            await _update_candidate(
                now, candidate, image_hash=candidate.image.content_hash, record=encode(candidate.record)
            )
            now.emit(domain.CandidateGenerated(candidate))
            pixels = candidate.image.width_pixels * candidate.image.height_pixels
            await self._tenants.made_in(connection, now.session.tenant_id, pixels)
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
        return replace(_after(state, now), feedback=feedback)

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
            now.end_run(state, stop_reason, error)

    async def interrupted(self, lease: Lease) -> domain.SessionState | None:
        """Ends the run the way that was asked for, and gives the lease back; None if nobody asked."""
        async with self._database.transaction() as connection, locked(connection, lease.session_id, lease.token) as now:
            if now.session.state is not domain.SessionState.RUNNING:
                raise LeaseLostError(lease.session_id)
            if now.row["cancel_requested"]:
                now.end_run(domain.SessionState.CANCELLED, domain.StopReason.CANCELLED)
                return domain.SessionState.CANCELLED
            if now.row["pause_requested"]:
                await pause(now)
                return domain.SessionState.PAUSED
        return None


def _after(state: RunState, change: Change) -> RunState:
    history = state.history
    for event in change.events:
        history = apply(history, event)
    asked = bool(change.row["pause_requested"])
    return replace(state, history=history, seconds_spent=change.seconds_spent(), pause_requested=asked)


async def _update_candidate(change: Change, candidate: domain.Candidate, **values: object) -> None:
    table = tables.candidates
    where = (table.c.session_id == change.session.id, table.c.id == candidate.id)
    await change.connection.execute(update(table).where(*where).values(**values))


async def _update_round(change: Change, number: int, **values: object) -> None:
    table = tables.rounds
    where = (table.c.session_id == change.session.id, table.c.number == number)
    await change.connection.execute(update(table).where(*where).values(**values))
