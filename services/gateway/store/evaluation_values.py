"""What a report of an evaluation reads: values without the rest of the results, items of a name beside each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import ColumnElement, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway.evaluations.model import Evaluation
from services.gateway.evaluations.reports import MAX_TOLD, ItemValues, ScoreValue, Systems, item_values
from services.gateway.store import evaluation_rows as rows
from services.gateway.store.database import Database
from services.gateway.store.tables import evaluation_items

PAGE_ROWS = 1000

_SCORES = "$[*].scores[*] ? (!(@.error != null))"
"""Of all pictures, those that did not fail."""


class EvaluationValues:
    """An evaluation and the values of its items, all of one moment."""

    def __init__(self, connection: AsyncConnection, evaluation: Evaluation) -> None:
        self._connection = connection
        self.evaluation = evaluation

    async def systems(self) -> Systems:
        """Systems that items with a result belong to."""
        named = select(evaluation_items.c.system).where(*self._items).distinct().subquery()
        first = select(named.c.system).order_by(named.c.system.collate("C")).limit(MAX_TOLD)
        count = await self._connection.scalar(select(func.count()).select_from(named))
        return Systems(tuple(await self._connection.scalars(first)), count or 0)

    async def has_system(self, system: str) -> bool:
        """Whether an item with a result belongs to it."""
        query = select(evaluation_items.c.item_offset).where(*self._items, evaluation_items.c.system == system)
        return (await self._connection.execute(query.limit(1))).first() is not None

    async def pages(self) -> AsyncIterator[Sequence[ItemValues]]:
        """Values of every item that has a result, those of the same group and item_id one after the other.

        PostgreSQL sorts them, on its disk if they are many; here are never more than PAGE_ROWS.
        """
        columns = evaluation_items.c
        found = (_of_scores(name) for name in ("metric", "raw", "higher_is_better"))
        query = select(columns.group_name, columns.item_id, columns.system, *found).where(*self._items)
        # By bytes: it is quick, and all that matters is that equal names meet.
        query = query.order_by(columns.group_name.collate("C"), columns.item_id.collate("C"))
        async with self._connection.stream(query, execution_options={"yield_per": PAGE_ROWS}) as streamed:
            async for page in streamed.partitions():
                yield [_values(row) for row in page]

    @property
    def _items(self) -> tuple[ColumnElement[bool], ...]:
        return rows.is_item_of(self.evaluation.tenant_id, self.evaluation.id)


@asynccontextmanager
async def evaluation_values(database: Database, tenant_id: str, evaluation_id: str) -> AsyncIterator[EvaluationValues]:
    """The values of an evaluation for as long as the block runs. Raises NotFoundError (EVALUATION_NOT_FOUND)."""
    async with database.snapshot() as connection:
        row = await rows.read_evaluation(connection, tenant_id, evaluation_id)
        yield EvaluationValues(connection, rows.evaluation(row))


def _of_scores(name: str) -> ColumnElement[Any]:
    """One field of the scores that did not fail, as a list."""
    path = cast(f"{_SCORES}.{name}", JSONPATH)
    return func.jsonb_path_query_array(evaluation_items.c.images, path, type_=JSONB)


def _values(row: Sequence[Any]) -> ItemValues:
    group, item_id, system, metrics, raws, directions = row
    # An item that failed has no pictures. What is not finite is stored as text.
    scores = map(ScoreValue, metrics or (), map(float, raws or ()), directions or ())
    return item_values(item_id, group, system, scores)
