"""Rows for every table of a database as it is, read from its catalog and not from the code: any revision gets some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.gateway.access.caller import DEFAULT_TENANT

VERSION_TABLE = "alembic_version"
ROWS = 2
"""Rows a table and call; the second may refer to the first of its table."""
VALUES: dict[str, Any] = {"tenant_id": DEFAULT_TENANT}
"""By column name: values that the meaning of a column asks for, where it is no key by itself. A release without tenants
cannot know other ones."""

Snapshot = dict[str, list[dict[str, Any]]]
"""Rows by table."""

_numbers = count(1)


def tables(connection: Connection) -> list[Table]:
    """All tables, those first that others refer to."""
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != VERSION_TABLE]


def fill(connection: Connection) -> None:
    """Adds rows to every table, each column with a value of its own."""
    made: Snapshot = {}
    for table in tables(connection):
        made[table.name] = []
        for index in range(ROWS):
            row = {column.name: _value(column) for column in table.columns if not _by_itself(column)}
            row |= _references(table, made, index)
            connection.execute(insert(table), row)
            made[table.name].append(row)


def snapshot(connection: Connection) -> Snapshot:
    """Every row of every table."""
    return {
        table.name: [dict(row._mapping) for row in connection.execute(select(table))] for table in tables(connection)
    }


def lost(before: Snapshot, after: Snapshot) -> dict[str, list[dict[str, Any]]]:
    """Rows of `before` that `after` does not have, in the tables and columns that both know."""
    found = {}
    for table in before.keys() & after.keys():
        shared = _columns(before[table]) & _columns(after[table])
        there = Counter(_projected(row, shared) for row in after[table])
        gone = Counter(_projected(row, shared) for row in before[table]) - there
        if gone:
            found[table] = [row for row in before[table] if _projected(row, shared) in gone]
    return found


def _columns(rows: list[dict[str, Any]]) -> set[str]:
    return set(rows[0]) if rows else set()


def _projected(row: dict[str, Any], columns: set[str]) -> str:
    return repr(sorted((name, row[name]) for name in columns))


def _references(table: Table, made: Snapshot, index: int) -> dict[str, Any]:
    """Values of the columns that refer to other rows: to one at the same place; of the same table to the one before."""
    values: dict[str, Any] = {}
    for constraint in table.foreign_key_constraints:
        parents = made[constraint.referred_table.name]
        for element in constraint.elements:
            if parents:
                values[element.parent.name] = parents[min(index, len(parents) - 1)][element.column.name]
            elif element.parent.nullable:
                values[element.parent.name] = None
    return values


def _by_itself(column: Column[Any]) -> bool:
    """Whether the database gives the value."""
    default = getattr(column.server_default, "arg", None)
    return column.computed is not None or column.identity is not None or "nextval" in str(default)


def _value(column: Column[Any]) -> Any:
    alone = column.primary_key and len(column.table.primary_key) == 1
    if column.name in VALUES and not alone:
        return VALUES[column.name]
    make = next((make for kind, make in _MAKERS if isinstance(column.type, kind)), None)
    assert make is not None, f"{column.table.name}.{column.name} has a type that this file knows no value for"
    return make(next(_numbers))


_START = datetime(2026, 1, 1, tzinfo=UTC)
_MAKERS: tuple[tuple[type[Any], Callable[[int], Any]], ...] = (
    (ARRAY, lambda number: [f"value-{number}"]),
    (JSONB, lambda number: {"number": number}),
    (Boolean, lambda number: number % 2 == 0),
    (DateTime, lambda number: _START + timedelta(seconds=number)),
    (Date, lambda number: (_START + timedelta(days=number)).date()),
    (LargeBinary, lambda number: number.to_bytes(4)),
    (Integer, lambda number: number),
    (Float, lambda number: number + 0.5),
    (Text, lambda number: f"value-{number}"),
)
"""A value for each type of column; BigInteger is an Integer, Double a Float."""
