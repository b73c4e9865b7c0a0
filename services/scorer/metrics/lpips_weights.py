"""Finding the SqueezeNet 1.1 weights that `lpips-squeeze` stands on. Nothing is ever downloaded."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from services.common.errors import Reason, UnavailableError
from services.common.profile import models_dir
from services.common.settings import Settings

FILE = "squeezenet1_1_features.safetensors"
CHECKPOINTS = "squeezenet1_1-*.pth"
"""torchvision's checkpoint, as torch hub caches it."""

State = dict[str, torch.Tensor]


def find(settings: Settings) -> Path:
    """Path of the weights: in LIKENESS_LPIPS_WEIGHTS_DIR, or else in the models folder or torch hub's cache.

    Raises:
        UnavailableError: there are none; says which files were looked for and what to do.
    """
    folder = settings.lpips_weights_dir
    usual = (models_dir(settings) / "lpips-squeeze", Path(torch.hub.get_dir()) / "checkpoints")
    for place in (folder,) if folder else usual:
        for path in [place / FILE, *sorted(place.glob(CHECKPOINTS))]:
            if path.is_file():
                return path
    places = "LIKENESS_LPIPS_WEIGHTS_DIR" if folder else "models/lpips-squeeze or torch hub's checkpoints folder"
    raise UnavailableError(
        Reason.MODEL_UNAVAILABLE,
        f"lpips-squeeze needs {FILE} or torchvision's {CHECKPOINTS} in {places}; "
        "put one there, or set LIKENESS_LPIPS_WEIGHTS_DIR to its folder",
    )


def load(path: Path) -> State:
    """Float32 weights of the convolutional part, by torchvision's names without `features.`.

    Raises:
        UnavailableError: the file is broken.
    """
    try:
        state: State = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu")
    except Exception as error:  # both readers raise many kinds
        message = f"lpips-squeeze: {path.name} is broken; replace it"
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, message) from error
    features = {name.removeprefix("features."): value.float() for name, value in state.items()}
    return {name: value for name, value in features.items() if name[0].isdigit()}
