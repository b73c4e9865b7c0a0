"""Reference packages on the same random backbones as the metrics."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torchvision
from torch import nn

from services.scorer.metrics import imagenet

MakeFeatures = Callable[[imagenet.Backbone], nn.Sequential]


@pytest.fixture
def torchvision_makes_random_features(monkeypatch: pytest.MonkeyPatch, random_features: MakeFeatures) -> None:
    """Reference packages that ask torchvision for a backbone get `random_features`, at once and without a network."""
    for backbone in (imagenet.ALEXNET, imagenet.VGG16, imagenet.SQUEEZENET):

        def classifier(*_: object, backbone: imagenet.Backbone = backbone, **__: object) -> SimpleNamespace:
            return SimpleNamespace(features=random_features(backbone))

        monkeypatch.setattr(torchvision.models, backbone.name, classifier)
