"""Accuracies by attribute from predicted and true class indices [N, A] (order of ``ATTRIBUTES``)."""

from __future__ import annotations

import torch

from world import vocabulary as v
from world.scene import ATTRIBUTES

_COLUMN = {name: column for column, name in enumerate(ATTRIBUTES)}


def _mean(values: torch.Tensor) -> float | None:
    return round(values.float().mean().item(), 4) if len(values) else None


def summary(predicted: torch.Tensor, true: torch.Tensor) -> dict[str, float | None]:
    """Shares of right attributes; undefined ones (-1) do not count. None where nothing is defined.

    ``all`` is the share of pictures with every defined attribute right. ``relation`` counts pairs only,
    ``position`` single objects only.
    """
    right = (predicted == true) | (true < 0)
    defined = true >= 0
    pair = true[:, _COLUMN["count"]] == 1

    def over(*names: str, where: torch.Tensor | None = None) -> float | None:
        columns = [_COLUMN[name] for name in names]
        keep = defined[:, columns]
        if where is not None:
            keep = keep & (where if where.ndim == 2 else where[:, None])
        return _mean(right[:, columns][keep])

    kinds = ("kind1", "kind2")
    sizes = true[:, [_COLUMN["size1"], _COLUMN["size2"]]]
    style = true[:, _COLUMN["style"]]
    result = {
        "count": over("count"),
        "kind": over(*kinds),
        "kind_large": over(*kinds, where=sizes == 1),
        "kind_small": over(*kinds, where=sizes == 0),
        "kind_single": over("kind1", where=~pair),
        "kind_pair": over(*kinds, where=pair),
        "colour": over("colour1", "colour2"),
        "size": over("size1", "size2"),
        "position": over("layout", where=~pair),
        "relation": over("layout", where=pair),
        "background": over("background"),
        "style": over("style"),
        "quality": over("quality"),
        "all": _mean(right.all(1)),
    }
    for index, name in enumerate(v.STYLE_NAMES):
        result[f"kind_{name}"] = over(*kinds, where=style == index)
    return result


def per_kind(predicted: torch.Tensor, true: torch.Tensor) -> dict[str, float | None]:
    """Accuracy of each kind, over both slots."""
    columns = [_COLUMN["kind1"], _COLUMN["kind2"]]
    predicted, true = predicted[:, columns].flatten(), true[:, columns].flatten()
    return {name: _mean((predicted == true)[true == i]) for i, name in enumerate(v.KIND_NAMES)}
