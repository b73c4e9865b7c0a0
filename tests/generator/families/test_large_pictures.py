"""Large pictures are decoded in tiles and batches in parts; what fits is decoded as ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline

from services.common.profile import GeneratorModel
from services.common.settings import Settings
from services.generator.families.base import Denoising, Family
from services.generator.families.large_pictures import DEFAULT_MAX_DECODE_PIXELS
from services.generator.families.sdxl import StableDiffusionXL
from services.generator.families.stable_diffusion import StableDiffusion
from services.generator.pipelines import load_model
from tests.generator.families import tiny_families
from tests.generator.families.running import RECORD
from tests.generator.tiny import TINY

LIMIT = 64 * 64
TOLERANCE = 3.0
"""Mean absolute difference of pictures decoded in tiles and whole by an AutoencoderTiny, of 255.

An AutoencoderKL normalizes over all places it sees, so that its tiles are not the whole picture's; by how much depends
on its training. With random weights they differ by 50 of 255: it is compared with diffusers' own tiles instead.
"""

Shapes = list[tuple[int, ...]]


@pytest.fixture(scope="module")
def kl(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """SDXL with a tiny AutoencoderKL of factor 4."""
    return tiny_families.sdxl(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture(scope="module")
def small(models_dir: Path) -> Any:
    """The tiny pipeline with an AutoencoderTiny of factor 4."""
    return StableDiffusionPipeline.from_pretrained(models_dir / "tiny", dtype=torch.float32)


@pytest.fixture(params=["kl", "small"])
def families(request: pytest.FixtureRequest) -> tuple[Family, Family]:
    """The same pipeline with a limit of 64 x 64 pixels, and with the usual one."""
    pipeline = request.getfixturevalue(request.param)
    kind = StableDiffusionXL if request.param == "kl" else StableDiffusion
    return kind(pipeline, max_decode_pixels=LIMIT), kind(pipeline)


@pytest.fixture
def decoded(families: tuple[Family, Family]) -> Iterator[Shapes]:
    """Shapes of what the decoder gets: its memory grows with the largest."""
    shapes: Shapes = []
    decoder = families[0].pipeline.vae.decoder
    handle = decoder.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    yield shapes
    handle.remove()


@torch.inference_mode()
def _finished(family: Family, width: int, height: int, count: int = 1) -> list[Denoising]:
    record = replace(RECORD, scheduler="ddim", steps=1, width_pixels=width, height_pixels=height)
    batch = family.begin([replace(record, seed=seed) for seed in range(count)])
    for one in batch:
        # Smooth as pictures are: tiles of noise have nothing in common with each other.
        coarse = one.latents[None, :, ::8, ::8]
        one.latents = torch.nn.functional.interpolate(coarse, size=one.latents.shape[1:], mode="bilinear")[0]
    return batch


@torch.inference_mode()
def _pixels(family: Family, batch: list[Denoising]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.stack([np.asarray(picture, np.float64) for picture in family.decode(batch)])


@pytest.mark.parametrize("size", [(128, 128), (192, 96)], ids=str)
def test_a_large_picture_is_decoded_in_tiles(
    families: tuple[Family, Family], decoded: Shapes, size: tuple[int, int]
) -> None:
    limited, usual = families
    batch = _finished(limited, *size)
    tiled = _pixels(limited, batch)
    assert len(decoded) > 1 and max(shape[0] * shape[2] * shape[3] * 4 * 4 for shape in decoded) <= LIMIT
    decoded.clear()
    whole = _pixels(usual, batch)
    assert [shape[2:] for shape in decoded] == [(size[1] // 4, size[0] // 4)]
    assert tiled.shape == whole.shape == (1, size[1], size[0], 3)
    assert whole.std() > 1
    vae = usual.pipeline.vae
    if isinstance(vae, AutoencoderTiny):
        assert np.abs(tiled - whole).mean() <= TOLERANCE
        return
    vae.tile_sample_min_size, vae.tile_latent_min_size = 64, 16
    with torch.inference_mode():
        theirs = vae.tiled_decode(batch[0].latents[None] / vae.config.scaling_factor).sample[0]
    expected = (theirs / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy() * 255
    assert np.abs(tiled[0] - expected).max() <= 0.51


def test_large_pictures_of_a_batch_are_decoded_one_by_one(families: tuple[Family, Family], decoded: Shapes) -> None:
    limited, _ = families
    batch = _finished(limited, 128, 64, count=3)
    together = _pixels(limited, batch)
    assert {shape[0] for shape in decoded} == {1}
    for one, picture in zip(batch, together, strict=True):
        assert np.array_equal(_pixels(limited, [one])[0], picture)


def test_a_batch_is_decoded_in_parts_that_keep_to_the_limit(families: tuple[Family, Family], decoded: Shapes) -> None:
    limited, usual = families
    batch = _finished(limited, 32, 64, count=5)
    parts = _pixels(limited, batch)
    assert [shape[0] for shape in decoded] == [2, 2, 1]
    assert np.abs(parts - _pixels(usual, batch)).mean() <= 0.05


def test_what_fits_is_decoded_in_one_call_and_the_same_to_the_bit(
    families: tuple[Family, Family], decoded: Shapes
) -> None:
    limited, usual = families
    _pixels(limited, _finished(limited, 128, 128))
    decoded.clear()
    # Also after another picture was decoded in tiles.
    for size, count in (((64, 64), 1), ((32, 32), 4)):
        batch = _finished(limited, *size, count=count)
        assert np.array_equal(_pixels(limited, batch), _pixels(usual, batch))
        assert [shape[0] for shape in decoded] == [count, count]
        decoded.clear()


def test_the_limit_is_the_profiles(models_dir: Path) -> None:
    assert GeneratorModel(id="x", source="x").max_decode_pixels == DEFAULT_MAX_DECODE_PIXELS == 2_097_152
    model = TINY.model_copy(update={"max_decode_pixels": LIMIT})
    family = load_model(model, Settings(models_dir=models_dir, device="cpu")).family
    shapes: Shapes = []
    family.pipeline.vae.decoder.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    _pixels(family, _finished(family, 128, 64))
    assert len(shapes) > 1
