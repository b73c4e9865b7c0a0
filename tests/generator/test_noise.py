"""Initial noise as a mix of seeds' noises."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from likeness.types.v1.model_pb2 import NoisePart as Part
from services.common.errors import InvalidInputError
from services.generator import noise
from services.generator.domain import GenerationRecord, ItemRequest, NoisePart
from services.generator.pipelines import LoadedModel
from services.generator.validation import resolve
from tests.generator.grpc_server import events, item, pngs
from tests.generator.tiny import work

Stub = rpc.GeneratorServiceStub


def record(model: LoadedModel, seed: int, *mix: NoisePart) -> GenerationRecord:
    """A checked record."""
    return work(model, ItemRequest("a", "a red star", seed, noise_mix=mix))[0].record


def test_without_a_mix_the_pipeline_draws_its_own_noise(tiny: LoadedModel) -> None:
    assert noise.initial(tiny.pipeline, [record(tiny, 1), record(tiny, 2)]) is None


def test_beside_a_mix_a_plain_seed_gives_exactly_the_pipelines_noise(tiny: LoadedModel) -> None:
    mixed = record(tiny, 3, NoisePart(4, 1.0), NoisePart(5, -2.0))
    ours = noise.initial(tiny.pipeline, [record(tiny, 1), mixed])
    assert ours is not None
    generator = torch.Generator("cpu").manual_seed(1)
    pipeline = tiny.pipeline
    channels = pipeline.unet.config.in_channels
    own = pipeline.prepare_latents(1, channels, 32, 32, pipeline.unet.dtype, tiny.device, [generator])
    assert torch.equal(ours[:1] * pipeline.scheduler.init_noise_sigma, own)


def test_a_mix_is_noise_of_unit_variance_and_only_the_ratio_of_weights_counts(tiny: LoadedModel) -> None:
    wide = replace(record(tiny, 1, NoisePart(4, 3.0), NoisePart(5, 4.0)), width_pixels=1024, height_pixels=1024)
    longer = replace(wide, noise_mix=(NoisePart(4, 30.0), NoisePart(5, 40.0)))
    first, second = noise.initial(tiny.pipeline, [wide, longer])  # type: ignore[misc]
    assert first.std().item() == pytest.approx(1.0, abs=0.01)
    assert torch.allclose(first, second, atol=1e-5)
    four, five = (noise.initial(tiny.pipeline, [replace(wide, noise_mix=(NoisePart(seed, 1.0),))]) for seed in (4, 5))
    assert four is not None and five is not None
    assert torch.allclose(first, 0.6 * four[0] + 0.8 * five[0], atol=1e-5)


def test_each_place_takes_the_noise_that_weighs_there(tiny: LoadedModel) -> None:
    left, right = NoisePart(4, 2.0, (1.0, 0.0, 1.0, 0.0)), NoisePart(5, 1.0, (0.0, 3.0, 0.0, 3.0))
    wide = replace(record(tiny, 1, left, right), width_pixels=1024, height_pixels=1024)
    four, five = (noise.initial(tiny.pipeline, [replace(wide, noise_mix=(NoisePart(seed, 1.0),))]) for seed in (4, 5))
    mixed = noise.initial(tiny.pipeline, [wide])
    assert mixed is not None and four is not None and five is not None
    side = mixed.shape[-1]
    # Out to the centers of the outer cells one part stands alone.
    assert torch.allclose(mixed[..., : side // 4], four[..., : side // 4], atol=1e-6)
    assert torch.allclose(mixed[..., -(side // 4) :], five[..., -(side // 4) :], atol=1e-6)
    assert mixed[..., side // 2 - 8 : side // 2 + 8].std().item() == pytest.approx(1.0, abs=0.03)


def test_equal_cells_weigh_as_no_cells(tiny: LoadedModel) -> None:
    plain = record(tiny, 1, NoisePart(4, 0.6), NoisePart(5, -0.8))
    celled = record(tiny, 1, NoisePart(4, 0.6, (1.0,) * 16), NoisePart(5, -0.8))
    first, second = noise.initial(tiny.pipeline, [plain, celled])  # type: ignore[misc]
    assert torch.allclose(first, second, atol=1e-6)


async def test_a_little_of_another_seed_varies_a_picture(stub: Stub) -> None:
    answers = await events(
        stub,
        item("base", seed=5),
        item("alone", seed=9, noise_mix=[Part(seed=5, weight=1)]),
        item("near", seed=6, noise_mix=[Part(seed=5, weight=1), Part(seed=6, weight=0.1)]),
        item("far", seed=6),
    )
    pixels = {name: np.asarray(Image.open(io.BytesIO(png)), dtype=float) for name, png in pngs(answers).items()}

    def distance(name: str) -> float:
        return float(np.abs(pixels[name] - pixels["base"]).mean())

    assert distance("alone") <= 0.05
    assert 0 < distance("near") < distance("far")
    record = next(one.image.record for one in answers if one.item_id == "near" and one.HasField("image"))
    assert [(part.seed, part.weight) for part in record.noise_mix] == [(5, 1.0), (6, 0.1)]


def test_a_model_that_takes_no_mix_says_so(tiny: LoadedModel) -> None:
    card = replace(tiny.card, limits=replace(tiny.card.limits, mixes_noise=False))
    asked = ItemRequest("a", "x", 1, noise_mix=(NoisePart(1, 1.0),))
    with pytest.raises(InvalidInputError) as refused:
        resolve([asked], card, lambda _: False)
    assert refused.value.field == "items[0].noise_mix" and "allowed: empty" in str(refused.value)
