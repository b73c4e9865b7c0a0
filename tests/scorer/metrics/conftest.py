"""Backbones with random weights, in the memory of their convolutional part alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn

from services.scorer.metrics import imagenet

MakeFeatures = Callable[[imagenet.Backbone], nn.Sequential]


@pytest.fixture(scope="session")
def random_features() -> MakeFeatures:
    """Makes a backbone's convolutional part with the same random weights each time."""

    @lru_cache
    def made(backbone: imagenet.Backbone) -> nn.Sequential:
        torch.manual_seed(0)
        features = imagenet.empty(backbone)
        for parameter in features.parameters():
            if parameter.ndim == 1:
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_uniform_(parameter)
        return features.eval().requires_grad_(False)

    return lambda backbone: copy.deepcopy(made(backbone))


@pytest.fixture
def torchvision_makes_random_features(monkeypatch: pytest.MonkeyPatch, random_features: MakeFeatures) -> None:
    """Reference packages that ask torchvision for a backbone get `random_features`, at once and without a network."""
    for backbone in (imagenet.ALEXNET, imagenet.VGG16, imagenet.SQUEEZENET):

        def classifier(*_: object, backbone: imagenet.Backbone = backbone, **__: object) -> SimpleNamespace:
            return SimpleNamespace(features=random_features(backbone))

        monkeypatch.setattr(torchvision.models, backbone.name, classifier)
