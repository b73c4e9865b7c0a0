"""How many pictures a call of a group takes at most: what the profile says, or fewer where memory is short."""

from __future__ import annotations

from collections.abc import Collection, Hashable

from services.generator.batch_memory import Batches
from services.generator.engine.group import GroupKey
from services.generator.engine.model_table import ModelTable


class BatchLimits:
    """Limits by the memory that was left when the engine's thread last looked; before that, those of the profile.

    A group keeps the limit that it begins with until it is empty: what memory does meanwhile, `splitter.py` meets.
    """

    def __init__(self, models: ModelTable) -> None:
        self._models = models
        self._left: dict[str, int] = {}

    def look(self, models: Collection[str]) -> None:
        """Sees how much memory is left for calls of these models; the engine's thread only, between two calls."""
        for model in models:
            memory = self._models[model].memory
            if memory is not None:
                self._left[model] = memory.meter.left_bytes()

    def of(self, key: Hashable) -> Batches:
        """Limits of a group that begins now; any thread may ask."""
        assert isinstance(key, GroupKey)
        if key.deterministic:
            return Batches(1, 1)
        model = self._models[key.model]
        if model.memory is None or key.model not in self._left:
            return Batches(model.max_batch, model.max_batch)
        return model.memory.batches(self._left[key.model], key.pixels, model.max_batch)
