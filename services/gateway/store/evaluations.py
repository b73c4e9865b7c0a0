"""Evaluations and their results. Whoever works on one holds its newest token; results with an older one are refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import PreconditionError, Reason
from services.gateway.evaluations.model import (
    Evaluation,
    EvaluationSettings,
    EvaluationSource,
    EvaluationState,
    ItemResult,
)
from services.gateway.profiles.ids import profiles_in
from services.gateway.store import evaluation_rows as rows
from services.gateway.store.codec import encode
from services.gateway.store.database import Database, now_of
from services.gateway.store.notifications import EVALUATIONS_CHANNEL, JOBS_CHANNEL
from services.gateway.store.profiles import require_profiles
from services.gateway.store.requests import RequestKey, RequestRepository
from services.gateway.store.tables import evaluation_items, evaluations


@dataclass(frozen=True)
class Hold:
    """The right to add results to an evaluation, until somebody else takes it."""

    tenant_id: str
    evaluation_id: str
    token: int


@dataclass(frozen=True)
class OpenedStream:
    """An evaluation that a stream goes on with.

    Attributes:
        ahead: Offsets above the committed one that have a result.
    """

    evaluation: Evaluation
    hold: Hold
    ahead: frozenset[int]


class EvaluationRepository:
    """Reads evaluations, and stores them with the results of their items."""

    def __init__(self, database: Database, requests: RequestRepository) -> None:
        self._database = database
        self._requests = requests

    async def create_stream(
        self,
        tenant_id: str,
        evaluation_id: str,
        settings: EvaluationSettings,
        display_name: str,
        key: RequestKey | None,
    ) -> str:
        """Stores an evaluation of a stream; returns its id, or that of the one that the request id created before.

        Raises:
            ConflictError: REQUEST_ID_REUSED.
            NotFoundError: PROFILE_NOT_FOUND, for a personal metric.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return str(stored)
            kind = {"source": EvaluationSource.STREAM.value, "state": EvaluationState.RUNNING.value}
            await insert_evaluation(connection, tenant_id, evaluation_id, settings, display_name=display_name, **kind)
            await self._requests.answer(connection, key, evaluation_id)
            return evaluation_id

    async def open_stream(self, tenant_id: str, evaluation_id: str, *, field: str) -> OpenedStream:
        """Takes a stream's evaluation over from whatever stream had it.

        Raises:
            NotFoundError: EVALUATION_NOT_FOUND, blamed on `field`.
            PreconditionError: EVALUATION_NOT_OPEN, it is cancelled, has failed, or has a manifest.
        """
        async with self._database.transaction() as connection:
            row = await rows.read_evaluation(connection, tenant_id, evaluation_id, field=field, lock=True)
            if row["source"] != EvaluationSource.STREAM.value:
                raise rows.not_open("one with a manifest", field=field)
            if row["state"] not in (EvaluationState.RUNNING.value, EvaluationState.SUCCEEDED.value):
                raise rows.not_open(row["state"], field=field)
            token = row["lease_token"] + 1
            # One that was ended goes on when more is sent.
            await change(connection, evaluation_id, lease_token=token, state=EvaluationState.RUNNING.value)
            await connection.execute(select(func.pg_notify(JOBS_CHANNEL, evaluation_id)))
            query = select(evaluation_items.c.item_offset).where(
                *rows.is_item_of(tenant_id, evaluation_id),
                evaluation_items.c.item_offset >= row["committed_offset"],
            )
            ahead = frozenset((await connection.execute(query)).scalars())
            current = await rows.read_evaluation(connection, tenant_id, evaluation_id)
        return OpenedStream(rows.evaluation(current), Hold(tenant_id, evaluation_id, token), ahead)

    async def get(self, tenant_id: str, evaluation_id: str, *, field: str = "name") -> Evaluation:
        """An evaluation. Raises NotFoundError (EVALUATION_NOT_FOUND), blamed on `field`."""
        async with self._database.query() as connection:
            return rows.evaluation(await rows.read_evaluation(connection, tenant_id, evaluation_id, field=field))

    async def check_held(self, hold: Hold) -> None:
        """Raises what `add_results` would, once somebody else has the evaluation, or nobody may add to it."""
        async with self._database.query() as connection:
            row = await rows.read_evaluation(connection, hold.tenant_id, hold.evaluation_id)
        if row["state"] != EvaluationState.RUNNING.value or row["lease_token"] != hold.token:
            raise _lost(row)

    async def add_results(self, hold: Hold, results: Sequence[ItemResult], *, committed_offset: int) -> None:
        """Stores results of items that have none, and the offset below which everything is stored with them.

        Raises:
            NotFoundError: EVALUATION_NOT_FOUND, it was deleted.
            PreconditionError: EVALUATION_TAKEN_OVER, or EVALUATION_NOT_OPEN if it was cancelled; nothing is stored.
        """
        async with self._database.transaction() as connection:
            await held_change(
                connection,
                hold,
                committed_offset=committed_offset,
                done_count=evaluations.c.done_count + len(results),
                failed_count=evaluations.c.failed_count + sum(one.error is not None for one in results),
            )
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None
            records = [rows.item_record(hold.evaluation_id, hold.tenant_id, one) for one in results]
            await raw.copy_records_to_table(evaluation_items.name, records=records, columns=rows.ITEM_COLUMNS)

    async def find_results(self, tenant_id: str, evaluation_id: str, offsets: Iterable[int]) -> dict[int, ItemResult]:
        """Stored results of these items, by offset, without those that have none."""
        query = evaluation_items.select().where(
            *rows.is_item_of(tenant_id, evaluation_id), evaluation_items.c.item_offset.in_(list(offsets))
        )
        async with self._database.query() as connection:
            return {row["item_offset"]: rows.item_result(row) for row in (await connection.execute(query)).mappings()}

    async def finish(self, hold: Hold, state: EvaluationState) -> Evaluation:
        """Ends the work on an evaluation; errors as `add_results`."""
        async with self._database.transaction() as connection:
            await held_change(connection, hold, state=state.value)
            return rows.evaluation(await rows.read_evaluation(connection, hold.tenant_id, hold.evaluation_id))


async def insert_evaluation(
    connection: AsyncConnection, tenant_id: str, evaluation_id: str, settings: EvaluationSettings, **values: object
) -> None:
    """Stores a new evaluation. Raises NotFoundError (PROFILE_NOT_FOUND), for a personal metric."""
    if personal := profiles_in(settings.metrics):
        await require_profiles(connection, tenant_id, personal, field="settings.metrics")
    now = await now_of(connection)
    same = {"tenant_id": tenant_id, "settings": encode(settings), "create_time": now, "update_time": now}
    await connection.execute(insert(evaluations).values(id=evaluation_id, **same, **values))


async def held_change(connection: AsyncConnection, hold: Hold, **values: object) -> None:
    """Changes an evaluation on behalf of who works on it.

    Raises:
        NotFoundError: EVALUATION_NOT_FOUND, it was deleted.
        PreconditionError: EVALUATION_TAKEN_OVER, or EVALUATION_NOT_OPEN if it was cancelled.
    """
    held = (evaluations.c.lease_token == hold.token, evaluations.c.state == EvaluationState.RUNNING.value)
    if not await change(connection, hold.evaluation_id, *held, **values):
        raise _lost(await rows.read_evaluation(connection, hold.tenant_id, hold.evaluation_id))


def _lost(row: RowMapping) -> PreconditionError:
    if row["state"] != EvaluationState.RUNNING.value:
        return rows.not_open(row["state"], field="evaluation")
    message = "another stream or gateway goes on with this evaluation"
    return PreconditionError(Reason.EVALUATION_TAKEN_OVER, message, field="evaluation")


async def change(connection: AsyncConnection, evaluation_id: str, *conditions: object, **values: object) -> bool:
    """Changes an evaluation, if the conditions hold, and tells who watches; says whether they did."""
    query = update(evaluations).where(evaluations.c.id == evaluation_id, *conditions)  # type: ignore[arg-type]
    query = query.values(update_time=func.clock_timestamp(), **values)
    told = func.pg_notify(EVALUATIONS_CHANNEL, evaluation_id)
    return (await connection.execute(query.returning(told))).first() is not None
