"""Feature pyramids of recent targets: the share of a comparison that every candidate of a target has in common."""

from __future__ import annotations

import threading
from collections import OrderedDict

import torch

Pyramid = tuple[torch.Tensor, ...]
"""Features [N, C, H, W] of each layer."""


class PyramidCache:
    """Pyramids of the targets used last, by pixel hash, within a bound of memory."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, Pyramid] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, pixel_hash: str) -> Pyramid | None:
        """The pyramid, or None; marks it as used."""
        with self._lock:
            if pixel_hash in self._entries:
                self._entries.move_to_end(pixel_hash)
            return self._entries.get(pixel_hash)

    def put(self, pixel_hash: str, pyramid: Pyramid) -> None:
        """Keeps a pyramid and drops the ones unused for longest; one over the bound is not kept."""
        size = _bytes_of(pyramid)
        with self._lock:
            if pixel_hash in self._entries or size > self._max_bytes:
                return
            self._entries[pixel_hash] = pyramid
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, dropped = self._entries.popitem(last=False)
                self._bytes -= _bytes_of(dropped)


def _bytes_of(pyramid: Pyramid) -> int:
    return sum(layer.element_size() * layer.nelement() for layer in pyramid)
