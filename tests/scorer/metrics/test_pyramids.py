"""What is kept of recent targets."""

from __future__ import annotations

import torch

from services.scorer.metrics.pyramids import PyramidCache


def test_the_cache_drops_what_was_unused_for_longest() -> None:
    cache = PyramidCache(max_bytes=2 * 400)
    a, b, c = ((torch.full((1, 100), float(i)),) for i in range(3))
    cache.put("a", a)
    cache.put("b", b)
    assert cache.get("a") is a
    cache.put("c", c)
    assert cache.get("b") is None
    assert (cache.get("a"), cache.get("c")) == (a, c)
    cache.put("huge", (torch.zeros(1, 1000),))
    assert cache.get("huge") is None
