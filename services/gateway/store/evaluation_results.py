"""Evaluations as callers see them: lists, results in order, cancelling, deleting."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime

from sqlalchemy import delete, func, select, tuple_

from services.gateway.evaluations.model import Evaluation, EvaluationState, ItemResult
from services.gateway.store import evaluation_rows as rows
from services.gateway.store.codec import decode, encode
from services.gateway.store.database import Database
from services.gateway.store.evaluation_values import EvaluationValues, evaluation_values
from services.gateway.store.evaluations import change
from services.gateway.store.notifications import EVALUATIONS_CHANNEL, JOBS_CHANNEL
from services.gateway.store.requests import RequestKey, RequestRepository
from services.gateway.store.tables import evaluation_items, evaluations

_ENDED = (EvaluationState.SUCCEEDED.value, EvaluationState.CANCELLED.value, EvaluationState.FAILED.value)


class EvaluationResultRepository:
    """Reads what evaluations have, and stops or deletes them."""

    def __init__(self, database: Database, requests: RequestRepository) -> None:
        self._database = database
        self._requests = requests

    async def list_page(self, tenant_id: str, count: int, before: tuple[datetime, str] | None) -> list[Evaluation]:
        """At most `count` evaluations, newest first, older than the one with this create time and id."""
        table = evaluations
        query = select(table).where(table.c.tenant_id == tenant_id)
        query = query.order_by(table.c.create_time.desc(), table.c.id.desc()).limit(count)
        if before is not None:
            query = query.where(tuple_(table.c.create_time, table.c.id) < tuple_(*before))
        async with self._database.query() as connection:
            return [rows.evaluation(row) for row in (await connection.execute(query)).mappings()]

    async def results(
        self, tenant_id: str, evaluation_id: str, from_offset: int, limit: int
    ) -> tuple[Evaluation, list[ItemResult]]:
        """An evaluation, and its next results from an offset on, in order.

        While it runs they have no gaps: the last one given is followed by the next. One that was stopped has results
        beyond its committed offset too.

        Raises:
            NotFoundError: EVALUATION_NOT_FOUND.
        """
        async with self._database.snapshot() as connection:
            evaluation = rows.evaluation(await rows.read_evaluation(connection, tenant_id, evaluation_id))
            offset = evaluation_items.c.item_offset
            query = select(evaluation_items).where(*rows.is_item_of(tenant_id, evaluation_id), offset >= from_offset)
            if evaluation.state.value not in _ENDED:
                query = query.where(offset < evaluation.committed_offset)
            found = (await connection.execute(query.order_by(offset).limit(limit))).mappings() if limit else ()
            return evaluation, [rows.item_result(row) for row in found]

    def values(self, tenant_id: str, evaluation_id: str) -> AbstractAsyncContextManager[EvaluationValues]:
        """What a report reads, for as long as the block runs. Raises NotFoundError (EVALUATION_NOT_FOUND)."""
        return evaluation_values(self._database, tenant_id, evaluation_id)

    async def cancel(self, tenant_id: str, evaluation_id: str, key: RequestKey | None = None) -> Evaluation:
        """Stops an evaluation: whoever works on it can store nothing more.

        Raises:
            NotFoundError: EVALUATION_NOT_FOUND.
            PreconditionError: EVALUATION_NOT_OPEN, it has ended.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Evaluation, stored)
            row = await rows.read_evaluation(connection, tenant_id, evaluation_id, lock=True)
            if row["state"] in _ENDED:
                raise rows.not_open(row["state"], field="name")
            ended = {"state": EvaluationState.CANCELLED.value, "error": None}
            await change(connection, evaluation_id, lease_owner=None, lease_expire_time=None, **ended)
            await connection.execute(select(func.pg_notify(JOBS_CHANNEL, evaluation_id)))
            cancelled = rows.evaluation(await rows.read_evaluation(connection, tenant_id, evaluation_id))
            await self._requests.answer(connection, key, encode(cancelled))
            return cancelled

    async def delete(self, tenant_id: str, evaluation_id: str, key: RequestKey | None = None) -> None:
        """Deletes an evaluation with its results.

        Raises:
            NotFoundError: EVALUATION_NOT_FOUND.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if await self._requests.reserve(connection, key) is not None:
                return
            await self._requests.answer(connection, key, {"deleted": evaluation_id})
            await rows.read_evaluation(connection, tenant_id, evaluation_id, lock=True)
            await connection.execute(delete(evaluations).where(*rows.is_evaluation(tenant_id, evaluation_id)))
            for channel in (EVALUATIONS_CHANNEL, JOBS_CHANNEL):
                await connection.execute(select(func.pg_notify(channel, evaluation_id)))
