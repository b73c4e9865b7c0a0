"""A race with its table. The table is made in a thread: many entrants have many pairs to test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.gateway.races.model import Entry, Race

if TYPE_CHECKING:
    from services.gateway.races.table import RaceTable


@dataclass(frozen=True)
class RaceView:
    """A race, its table and its entries at one moment."""

    race: Race
    table: RaceTable
    entries: tuple[Entry, ...]


async def viewed(race: Race, entries: Sequence[Entry]) -> RaceView:
    """The race with the table of its entries."""
    return RaceView(race, await asyncio.to_thread(_table, race, entries), tuple(entries))


def _table(race: Race, entries: Sequence[Entry]) -> RaceTable:
    # scipy takes a second to import, which a gateway that starts must not wait for.
    from services.gateway.races.table import table_of

    return table_of(race, entries)
