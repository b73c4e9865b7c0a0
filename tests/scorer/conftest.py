"""A tiny CLIP and backbones, all with random weights, and pictures to compare."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from services.common import images
from services.common.profile import Defaults, Embedder, GeneratorModel, Profile
from services.common.settings import Settings
from services.scorer import differences, registry
from services.scorer.domain import RankedDifferences
from services.scorer.metrics import imagenet, lpips_distance
from services.scorer.metrics.lpips_distance import SQUEEZE, Lpips
from services.scorer.pictures import Picture

CONTEXT_LENGTH = 16
MERGES = ("r e", "re d</w>", "c a", "ca r</w>")

MakePicture = Callable[..., Picture]
MakeFeatures = Callable[[imagenet.Backbone], nn.Sequential]
MakeRankings = Callable[..., tuple[RankedDifferences, ...]]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models folder that holds `clip-embedded`: half-precision weights, its own merges, a relative bpe_path."""
    folder = tmp_path_factory.mktemp("models") / "clip-embedded"
    folder.mkdir()
    with gzip.open(folder / "bpe.txt.gz", "wb") as file:
        file.write("\n".join(["#version: 0.2", *MERGES]).encode())
    model_cfg = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": 512 + len(MERGES) + 2,
            "width": 32,
            "heads": 2,
            "layers": 1,
            "tokenizer_kwargs": {"bpe_path": "bpe.txt.gz"},
        },
    }
    preprocess_cfg = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    weights = open_clip.CLIP(**json.loads(json.dumps(model_cfg))).state_dict()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    save_file(halves, folder / "open_clip_model.safetensors")
    return folder.parent


@pytest.fixture(scope="session")
def settings(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with the tiny models and without LPIPS weights."""
    empty = tmp_path_factory.mktemp("no-weights")
    return Settings(models_dir=models_dir, lpips_weights_dir=empty, device="cpu", torch_threads=1)


@pytest.fixture(scope="session")
def embedder_config() -> Embedder:
    """The embedded profile's embedder."""
    return Embedder(id="clip-embedded", kind="open_clip", source="clip-embedded", embedded=True, license="Apache-2.0")


@pytest.fixture(scope="session")
def profile(embedder_config: Embedder) -> Profile:
    """A profile with the tiny CLIP."""
    return Profile(
        name="tiny",
        description="for tests",
        generators=(GeneratorModel(id="none", source="none"),),
        embedders=(embedder_config,),
        defaults=Defaults(metrics=("clip-embedded",), selection_metrics=("clip-embedded",)),
    )


@pytest.fixture(scope="session")
def loaded(settings: Settings, profile: Profile) -> registry.Registry:
    """The registry of the tiny profile."""
    return registry.build(settings, profile)


@pytest.fixture(scope="session")
def make_picture() -> MakePicture:
    """Makes a smooth random picture: `make_picture(seed, width, height)`."""

    def make(seed: int, width: int = 64, height: int = 64) -> Picture:
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        rgb = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        return Picture(rgb, images.pixel_hash(rgb))

    return make


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


@pytest.fixture(scope="session")
def lpips_metric(random_features: MakeFeatures) -> Lpips:
    """LPIPS with its published heads on a SqueezeNet of random weights."""
    return Lpips(SQUEEZE, random_features(SQUEEZE.backbone))


@pytest.fixture(scope="session")
def make_rankings(lpips_metric: Lpips) -> MakeRankings:
    """Makes rankings of drawn vectors by one who looks at the third layer: `make_rankings(targets, pictures)`."""
    layers = lpips_metric.head.backbone.layers
    taste = np.repeat([0.1, 0.1, 3.0, 0.1, 0.1, 0.1, 0.1], layers)

    def make(targets: int, pictures: int = 6) -> tuple[RankedDifferences, ...]:
        rng = np.random.default_rng(targets)
        rankings = []
        for index in range(targets):
            by_layer = np.repeat(rng.gamma(2.0, 1.0, (pictures, len(layers))), layers, axis=1)
            vectors = (by_layer * rng.gamma(2.0, 2.5e-3, by_layer.shape)).astype(np.float32)
            places = tuple(float(place) for place in (vectors @ taste).argsort().argsort() + 1)
            sent = tuple(differences.encode(lpips_metric, vector) for vector in vectors)
            rankings.append(RankedDifferences(f"rankings[{index}]", f"target-{index}", sent, places))
        return tuple(rankings)

    return make


@pytest.fixture(scope="session")
def real_lpips(shared_folder: Path) -> Lpips:
    """LPIPS on SqueezeNet's own ImageNet features, the one published backbone that is at hand here."""
    folder = shared_folder / "weights/squeezenet1_1"
    if not folder.is_dir():
        pytest.skip("../shared/weights/squeezenet1_1 is absent")
    (metric,) = lpips_distance.build(imagenet.Backbones(Settings(lpips_weights_dir=folder, device="cpu")), SQUEEZE)
    return metric


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Folder with data and weights that the project does not commit; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[3] / "shared"
    if not folder.is_dir():
        pytest.skip("../shared with real data and weights is absent")
    return folder
