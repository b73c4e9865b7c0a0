"""Encoded prompts that are kept: the same words come again with other seeds, the empty negative prompt with most."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import torch

MAX_BYTES = 64 * 2**20

Key = TypeVar("Key", bound=Hashable)


class PromptCache:
    """What text encoders made of prompts, least recently used out first. Of one loaded model; one thread's."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, Mapping[str, torch.Tensor]] = OrderedDict()
        self.bytes = 0
        """Size of the tensors that are kept."""

    def get(
        self, keys: Sequence[Key], encode: Callable[[list[Key]], Sequence[Mapping[str, torch.Tensor]]]
    ) -> list[Mapping[str, torch.Tensor]]:
        """What `encode` makes of each key, in order; it is asked once for all that are not kept.

        Args:
            keys: Everything that the encoding depends on: texts, and an adapter if it changes the text encoder.
            encode: From keys to tensors by name, without a batch dimension.
        """
        missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
        made = dict(zip(missing, encode(missing), strict=True)) if missing else {}
        # Clones: a view of a batch would keep all of it alive.
        made = {key: {name: tensor.clone() for name, tensor in value.items()} for key, value in made.items()}
        found = [made[key] if key in made else self._kept[key] for key in keys]
        for key, value in zip(keys, found, strict=True):
            self._keep(key, value)
        return found

    def _keep(self, key: Hashable, value: Mapping[str, torch.Tensor]) -> None:
        if key not in self._kept:
            self.bytes += _size(value)
        self._kept[key] = value
        self._kept.move_to_end(key)
        while self.bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self.bytes -= _size(dropped)


def _size(value: Mapping[str, torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in value.values())
