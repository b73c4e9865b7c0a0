"""A tiny CLIP with random weights in the embedded model's layout, and pictures to compare."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from services.common import images
from services.common.profile import Defaults, Embedder, GeneratorModel, Profile
from services.common.settings import Settings
from services.scorer import registry
from services.scorer.pictures import Picture

CONTEXT_LENGTH = 16
MERGES = ("r e", "re d</w>", "c a", "ca r</w>")

MakePicture = Callable[..., Picture]

# The same examples each time, nothing kept on disk, and no clock on a machine that does other work.
hypothesis.settings.register_profile(
    "likeness",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("likeness")


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
def shared_folder() -> Path:
    """Folder with data and weights that the project does not commit; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[3] / "shared"
    if not folder.is_dir():
        pytest.skip("../shared with real data and weights is absent")
    return folder
