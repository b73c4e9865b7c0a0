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


def draw(record: GenerationRecord, side: int = 8) -> torch.Tensor:
    """Noise [4, side, side] of a record, as families draw it."""
    generator = torch.Generator("cpu").manual_seed(record.seed)
    return noise.draw(record, (4, side, side), torch.float32, generator)


def test_without_a_mix_it_is_the_noise_that_the_pipeline_draws(tiny: LoadedModel) -> None:
    pipeline = tiny.family.pipeline
    channels, generator = pipeline.unet.config.in_channels, torch.Generator("cpu").manual_seed(1)
    own = pipeline.prepare_latents(1, channels, 32, 32, pipeline.unet.dtype, tiny.device, generator)
    drawn = noise.draw(record(tiny, 1), own.shape[1:], own.dtype, torch.Generator("cpu").manual_seed(1))
    assert torch.equal(drawn * pipeline.scheduler.init_noise_sigma, own[0])


def test_a_mix_leaves_the_generator_for_the_noise_of_later_steps(tiny: LoadedModel) -> None:
    generator = torch.Generator("cpu").manual_seed(1)
    noise.draw(record(tiny, 1, NoisePart(4, 1.0)), (4, 8, 8), torch.float32, generator)
    assert torch.equal(generator.get_state(), torch.Generator("cpu").manual_seed(1).get_state())


def test_a_mix_is_noise_of_unit_variance_and_only_the_ratio_of_weights_counts(tiny: LoadedModel) -> None:
    mixed = record(tiny, 1, NoisePart(4, 3.0), NoisePart(5, 4.0))
    longer = replace(mixed, noise_mix=(NoisePart(4, 30.0), NoisePart(5, 40.0)))
    first, second = draw(mixed, 256), draw(longer, 256)
    assert first.std().item() == pytest.approx(1.0, abs=0.01)
    assert torch.allclose(first, second, atol=1e-5)
    four, five = (draw(record(tiny, seed), 256) for seed in (4, 5))
    assert torch.allclose(first, 0.6 * four + 0.8 * five, atol=1e-5)


def test_each_place_takes_the_noise_that_weighs_there(tiny: LoadedModel) -> None:
    left, right = NoisePart(4, 2.0, (1.0, 0.0, 1.0, 0.0)), NoisePart(5, 1.0, (0.0, 3.0, 0.0, 3.0))
    side = 256
    mixed = draw(record(tiny, 1, left, right), side)
    four, five = (draw(record(tiny, seed), side) for seed in (4, 5))
    # Out to the centers of the outer cells one part stands alone.
    assert torch.allclose(mixed[..., : side // 4], four[..., : side // 4], atol=1e-6)
    assert torch.allclose(mixed[..., -(side // 4) :], five[..., -(side // 4) :], atol=1e-6)
    assert mixed[..., side // 2 - 8 : side // 2 + 8].std().item() == pytest.approx(1.0, abs=0.03)


def test_equal_cells_weigh_as_no_cells(tiny: LoadedModel) -> None:
    plain = record(tiny, 1, NoisePart(4, 0.6), NoisePart(5, -0.8))
    celled = record(tiny, 1, NoisePart(4, 0.6, (1.0,) * 16), NoisePart(5, -0.8))
    assert torch.allclose(draw(plain), draw(celled), atol=1e-6)


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
