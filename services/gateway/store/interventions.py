"""What people do to runs: cancel, take over, hand back. The gateway that runs the session does the rest."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import func, select

from services.common.errors import PreconditionError, Reason
from services.gateway import domain
from services.gateway.loops.state import HUMAN, Lease
from services.gateway.store.changes import Change, owned
from services.gateway.store.codec import decode, encode
from services.gateway.store.database import Database
from services.gateway.store.leases import lease_values
from services.gateway.store.notifications import INTERRUPT_CHANNEL
from services.gateway.store.requests import RequestKey, RequestRepository
from services.gateway.store.run_state import Begun, begun_by, pause
from services.gateway.store.tables import sessions


class PauseMode(StrEnum):
    """When a loop stops for a person."""

    AFTER_ROUND = "after_round"
    AT_ONCE = "at_once"


class InterventionRepository:
    """Each call is one transaction, and with a request id its answer is stored in it."""

    def __init__(self, database: Database, requests: RequestRepository) -> None:
        self._database = database
        self._requests = requests

    async def request_cancel(self, tenant_id: str, session_id: str, key: RequestKey | None = None) -> Begun:
        """Asks whoever runs the session to stop; if nobody does, or its loop is paused, it is ended here.

        Returns:
            The session as it was when this was asked: its end is a later event, or the newest.

        Raises:
            NotFoundError: SESSION_NOT_FOUND.
            PreconditionError: SESSION_NOT_RUNNING.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Begun, stored)
            async with owned(connection, tenant_id, session_id) as change:
                asked = begun_by(change)
                cancelled = domain.SessionState.CANCELLED, domain.StopReason.CANCELLED
                if change.session.state is domain.SessionState.PAUSED:
                    change.set_state(*cancelled)
                elif change.session.state is not domain.SessionState.RUNNING:
                    raise PreconditionError(Reason.SESSION_NOT_RUNNING, "the session is not running", field="name")
                elif _is_orphan(change):
                    change.set(lease_token=sessions.c.lease_token + 1)
                    change.end_run(*cancelled)
                else:
                    change.set(cancel_requested=True)
                    await _interrupt(change)
            await self._requests.answer(connection, key, encode(asked))
        return asked

    async def request_pause(
        self, tenant_id: str, session_id: str, mode: PauseMode, key: RequestKey | None = None
    ) -> Begun:
        """Asks whoever runs the session's loop to stop for a person; if nobody does, it is paused here.

        Returns:
            The session as it was when this was asked: its pause is a later event, or the newest.

        Raises:
            NotFoundError: SESSION_NOT_FOUND.
            PreconditionError: SESSION_NOT_RUNNING, also if all that runs is a person's prompt; SESSION_PAUSED.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Begun, stored)
            async with owned(connection, tenant_id, session_id) as change:
                asked = begun_by(change)
                _require_loop(change)
                if _is_orphan(change):
                    change.set(lease_token=sessions.c.lease_token + 1)
                    await pause(change)
                elif mode is PauseMode.AT_ONCE or change.row["pause_requested"] is None:
                    change.set(pause_requested=mode.value)
                    if mode is PauseMode.AT_ONCE:
                        await _interrupt(change)
            await self._requests.answer(connection, key, encode(asked))
        return asked

    async def resume(
        self, tenant_id: str, session_id: str, owner: str, key: RequestKey | None = None
    ) -> tuple[Begun, Lease | None]:
        """Sets the paused loop running again, leased to `owner`. A repeated call gets the stored answer and no lease.

        Raises:
            NotFoundError: SESSION_NOT_FOUND.
            PreconditionError: SESSION_NOT_PAUSED; SESSION_BUSY, while a person's prompt is being worked on.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Begun, stored), None
            async with owned(connection, tenant_id, session_id) as change:
                paused = change.session.paused
                if paused is None:
                    message = "no loop of the session is paused; StartLoop starts one"
                    raise PreconditionError(Reason.SESSION_NOT_PAUSED, message, field="name")
                change.require_idle()
                said = change.row["person_prompt"]
                change.set(
                    run=encode(paused.settings),
                    run_first_round=paused.first_round,
                    run_restart_round=change.session.round_count + 1 if said else paused.restart_round,
                    run_seconds=paused.seconds_spent,
                    run_start_time=change.now,
                    next_prompt=said or paused.next_prompt,
                    person_prompt="",
                    **lease_values(owner),
                )
                change.set_state(domain.SessionState.RUNNING)
            begun = begun_by(change)
            await self._requests.answer(connection, key, encode(begun))
        return begun, Lease(session_id, change.row["lease_token"] + 1)


def _require_loop(change: Change) -> None:
    if change.session.paused is not None:
        raise PreconditionError(Reason.SESSION_PAUSED, "the loop is paused already", field="name")
    is_running = change.session.state is domain.SessionState.RUNNING
    if not is_running or decode(domain.LoopSettings, change.row["run"]).strategy == HUMAN:
        raise PreconditionError(Reason.SESSION_NOT_RUNNING, "no automatic loop of the session is running", field="name")


def _is_orphan(change: Change) -> bool:
    """Whether no gateway runs the session at the moment."""
    expire_time = change.row["lease_expire_time"]
    return expire_time is None or expire_time < change.row["now"]


async def _interrupt(change: Change) -> None:
    await change.connection.execute(select(func.pg_notify(INTERRUPT_CHANNEL, change.session.id)))
