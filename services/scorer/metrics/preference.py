"""What preference models share: the reading of a score as a chance to be preferred, and the linear head of LAION's.

Preference models are trained on pairs: the chance that a person prefers a to b is sigmoid(score a - score b). So a
score is normalized to the chance that the picture is preferred to one that scores a fixed, published reference, by the
model's own reckoning: monotone, 0.5 at the reference, and as steep as the model is sure.
"""

from __future__ import annotations

import math

from torch import nn

HEAD_WIDTHS = (1024, 128, 64, 16, 1)
_DROPOUTS = (0.2, 0.2, 0.1)


def win_probability(lead: float) -> float:
    """Chance to be preferred to a picture whose score is lower by `lead`."""
    if lead >= 0:
        return 1.0 / (1.0 + math.exp(-lead))
    return math.exp(lead) / (1.0 + math.exp(lead))


def linear_head(width: int) -> nn.Sequential:
    """Head width-1024-128-64-16-1 without activations, in the layer numbering of its published checkpoints.

    The layers are the MLP of improved-aesthetic-predictor (simple_inference.py), which ImageReward took over: dropout
    after the first three, none before the last two.
    """
    layers: list[nn.Module] = []
    for index, out in enumerate(HEAD_WIDTHS):
        layers.append(nn.Linear(width, out))
        layers += [nn.Dropout(rate) for rate in _DROPOUTS[index : index + 1]]
        width = out
    return nn.Sequential(*layers)
