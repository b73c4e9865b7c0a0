"""Accuracies by attribute from predicted and true class indices [N, A] (order of ``ATTRIBUTES``)."""

from __future__ import annotations

import torch

from world import vocabulary as v
from world.scene import ATTRIBUTES, MOST_OBJECTS

SLOTS = range(1, MOST_OBJECTS + 1)
"""Numbers of the objects in the names of attributes."""
_COLUMN = {name: column for column, name in enumerate(ATTRIBUTES)}


def _mean(values: torch.Tensor) -> float | None:
    return round(values.float().mean().item(), 4) if len(values) else None


def summary(predicted: torch.Tensor, true: torch.Tensor) -> dict[str, float | None]:
    """Shares of right attributes; undefined ones (-1) do not count. None where nothing is defined.

    ``all`` is the share of pictures with every defined attribute right. ``relation`` counts pictures of two and
    three objects, ``position`` those of one.
    """
    right = (predicted == true) | (true < 0)
    defined = true >= 0
    single, pair, triple = (true[:, _COLUMN["count"]] == count for count in range(MOST_OBJECTS))

    def over(*names: str, where: torch.Tensor | None = None) -> float | None:
        columns = [_COLUMN[name] for name in names]
        keep = defined[:, columns]
        if where is not None:
            keep = keep & (where if where.ndim == 2 else where[:, None])
        return _mean(right[:, columns][keep])

    kinds, colours, sizes_of = (tuple(f"{name}{slot}" for slot in SLOTS) for name in ("kind", "colour", "size"))
    sizes = true[:, [_COLUMN[name] for name in sizes_of]]
    style = true[:, _COLUMN["style"]]
    result = {
        "count": over("count"),
        "kind": over(*kinds),
        "kind_large": over(*kinds, where=sizes == 1),
        "kind_small": over(*kinds, where=sizes == 0),
        "kind_single": over("kind1", where=single),
        "kind_pair": over(*kinds, where=pair),
        "kind_triple": over(*kinds, where=triple),
        "colour": over(*colours),
        "size": over(*sizes_of),
        "position": over("layout", where=single),
        "relation": over("layout", where=~single),
        "background": over("background"),
        "style": over("style"),
        "quality": over("quality"),
        "all": _mean(right.all(1)),
    }
    for index, name in enumerate(v.STYLE_NAMES):
        result[f"kind_{name}"] = over(*kinds, where=style == index)
    return result


def per_kind(predicted: torch.Tensor, true: torch.Tensor) -> dict[str, float | None]:
    """Accuracy of each kind, over all slots."""
    columns = [_COLUMN[f"kind{slot}"] for slot in SLOTS]
    predicted, true = predicted[:, columns].flatten(), true[:, columns].flatten()
    return {name: _mean((predicted == true)[true == i]) for i, name in enumerate(v.KIND_NAMES)}
