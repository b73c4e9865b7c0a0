"""Values that are kept for their next use, as many as there is room for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The values that were used last, by key. The engine's thread is its only user."""

    def __init__(self, most: int) -> None:
        """Takes how many are kept."""
        self._most = most
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        """Least recently used first."""

    def find(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made where it is not kept."""
        if key not in self._values:
            self._values[key] = make()
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
        return self._values[key]
