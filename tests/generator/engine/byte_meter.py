"""A meter that works on the CPU: it counts the bytes of tensors that are alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class ByteMeter:
    """Peaks are those of the tensors that a call makes; what is left is what the test says."""

    def __init__(self, left: int = 0) -> None:
        self.left = left
        self.looks = 0
        self.peaks: list[int] = []
        """Of all calls so far."""

    def peak_bytes(self, call: Callable[[], object]) -> int:
        """Makes a call and counts."""
        with _Alive() as alive:
            call()
        self.peaks.append(alive.peak)
        return alive.peak

    def left_bytes(self) -> int:
        """What the test says."""
        self.looks += 1
        return self.left


class _Alive(TorchDispatchMode):
    """Bytes of the storages that were made since it began and are still referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._bytes = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for given in tree_leaves((args, kwargs)):
            if isinstance(given, torch.Tensor):
                self._seen.add(given.untyped_storage()._cdata)
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self._bytes)
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._seen:
            return
        self._seen.add(storage._cdata)
        self._bytes += storage.nbytes()
        weakref.finalize(storage, self._drop, storage._cdata, storage.nbytes())

    def _drop(self, name: int, size: int) -> None:
        self._seen.discard(name)
        self._bytes -= size
