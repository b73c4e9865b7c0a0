"""Stand-in for the cache of scores at the gateway's seam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.gateway.cache_keys import CacheKey, ScoreValue


class Scores:
    """Scores in memory; `finds` has how many keys each look-up asked for."""

    def __init__(self) -> None:
        self.values: dict[CacheKey[ScoreValue], ScoreValue] = {}
        self.finds: list[int] = []

    async def find(self, keys: Sequence[CacheKey[ScoreValue]]) -> dict[CacheKey[ScoreValue], ScoreValue]:
        """Those that are known."""
        self.finds.append(len(keys))
        return {key: self.values[key] for key in keys if key in self.values}

    async def keep(self, values: Mapping[CacheKey[ScoreValue], ScoreValue]) -> None:
        """Stores scores."""
        self.values |= values
