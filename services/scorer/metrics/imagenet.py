"""The ImageNet backbones that LPIPS and DISTS stand on: torchvision's, found by file name, never downloaded.

Either file will do, in LIKENESS_LPIPS_WEIGHTS_DIR, or without it in models/lpips or torch hub's checkpoints folder:

| backbone | convolutional part alone | torchvision's own file |
|---|---|---|
| AlexNet | alexnet_features.safetensors | alexnet-owt-*.pth (alexnet-owt-7be5be79.pth) |
| VGG16 | vgg16_features.safetensors | vgg16-*.pth (vgg16-397923af.pth) |
| SqueezeNet 1.1 | squeezenet1_1_features.safetensors | squeezenet1_1-*.pth (squeezenet1_1-b8a52dc0.pth) |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from services.common.errors import Reason, UnavailableError
from services.common.profile import models_dir
from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics import checkpoints


@dataclass(frozen=True)
class Backbone:
    """A classifier of torchvision's, of which only the convolutional part is used."""

    name: str
    checkpoints: str
    """torchvision's file, as torch hub caches it."""
    create: Callable[[], Any]

    @property
    def file(self) -> str:
        """Name of a safetensors file with the convolutional part alone."""
        return f"{self.name}_features.safetensors"


ALEXNET = Backbone("alexnet", "alexnet-owt-*.pth", torchvision.models.alexnet)
VGG16 = Backbone("vgg16", "vgg16-*.pth", torchvision.models.vgg16)
SQUEEZENET = Backbone("squeezenet1_1", "squeezenet1_1-*.pth", torchvision.models.squeezenet1_1)


class Backbones:
    """Loads each backbone once for all metrics that stand on it."""

    def __init__(self, settings: Settings, dtype: compute.DType = "float32") -> None:
        self._settings = settings
        self._device = compute.device_of(settings)
        self._dtype = compute.dtype_on(self._device, dtype)
        self._loaded: dict[str, nn.Sequential] = {}

    def load(self, backbone: Backbone) -> nn.Sequential:
        """The convolutional part with its weights.

        Raises:
            UnavailableError: there are no weights, or they are not this backbone's.
        """
        if backbone.name not in self._loaded:
            path = find(self._settings, backbone)
            model = checkpoints.ModelSource(backbone.name, str(path))
            state = {name.removeprefix("features."): value for name, value in checkpoints.read(model, path).items()}
            module = empty(backbone)
            # The classifier of torchvision's own file is not part of any metric.
            features = {name: value for name, value in state.items() if name[0].isdigit()}
            checkpoints.load_strictly(model, module, features)
            self._loaded[backbone.name] = module.to(self._device, self._dtype).eval().requires_grad_(False)
        return self._loaded[backbone.name]


def find(settings: Settings, backbone: Backbone) -> Path:
    """Path of a backbone's weights.

    Raises:
        UnavailableError: there are none; says which files were looked for and what to do.
    """
    folder = settings.lpips_weights_dir
    usual = (models_dir(settings) / "lpips", Path(torch.hub.get_dir()) / "checkpoints")
    for place in (folder,) if folder else usual:
        for path in [place / backbone.file, *sorted(place.glob(backbone.checkpoints))]:
            if path.is_file():
                return path
    places = "LIKENESS_LPIPS_WEIGHTS_DIR" if folder else "models/lpips or torch hub's checkpoints folder"
    raise UnavailableError(
        Reason.MODEL_UNAVAILABLE,
        f"{backbone.file} or torchvision's {backbone.checkpoints} is needed in {places}; "
        "put one there, or set LIKENESS_LPIPS_WEIGHTS_DIR to its folder",
    )


def empty(backbone: Backbone) -> nn.Sequential:
    """The convolutional part with weights to be filled; the classifier, most of the memory, is never made."""
    with torch.device("meta"):
        features: nn.Sequential = backbone.create().features
    return features.to_empty(device="cpu")
