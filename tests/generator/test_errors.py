"""What Generate refuses: the field and the allowed values are named, nothing is ignored or mended silently."""

from __future__ import annotations

import json
from dataclasses import replace

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from likeness.types.v1.image_pb2 import Image
from likeness.types.v1.model_pb2 import NoisePart as Part
from services.generator.catalog import Catalog
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from services.generator.service import GeneratorService
from tests.generator.grpc_server import events, item, pngs, request, serve
from tests.generator.tiny import TINY

WEIGHTS = "1e-06 to 1e+06, positive or negative"
GRIDS = "a square number up to 256"
FACTORS = "-1e+06 to 1e+06"
SIZES = "multiples of 16 from 16 to 128"
PICTURE = Image(data=b"is not read before the other fields are")
PROMPTS = "1 to 2000 characters, not only white space"


@pytest.mark.parametrize(
    ("wrong", "field", "allowed"),
    [
        (item(steps=0), "steps", "1 to 200"),
        (item(steps=201), "steps", "1 to 200"),
        (item(steps=-1), "steps", "1 to 200"),
        (item(guidance_scale=-0.1), "guidance_scale", "0 to 50"),
        (item(guidance_scale=50.1), "guidance_scale", "0 to 50"),
        (item(guidance_scale=float("nan")), "guidance_scale", "0 to 50"),
        (item(guidance_scale=float("inf")), "guidance_scale", "0 to 50"),
        (item(width_pixels=0), "width_pixels", SIZES),
        (item(width_pixels=-16), "width_pixels", SIZES),
        (item(width_pixels=65), "width_pixels", SIZES),
        (item(height_pixels=144), "height_pixels", SIZES),
        (item(scheduler="heun"), "scheduler", "ddim, euler, euler_ancestral, dpmpp_2m, unipc"),
        (item(prompt=""), "prompt", PROMPTS),
        (item(prompt=" \n\t"), "prompt", PROMPTS),
        (item(prompt="x" * 2001), "prompt", PROMPTS),
        (item(negative_prompt="x" * 2001), "negative_prompt", "at most 2000 characters"),
        (item(negative_prompt="x", guidance_scale=1), "negative_prompt", "empty, or a guidance scale above 1"),
        (item(preview_interval_steps=-1), "preview_interval_steps", "0 for no previews, or 1 to 200"),
        (item(preview_interval_steps=201), "preview_interval_steps", "0 for no previews, or 1 to 200"),
        (item(strength=0.5), "strength", "unset, or an image too"),
        (item(initial_image=PICTURE), "strength", "above 0, up to 1, with an initial image"),
        (item(initial_image=PICTURE, strength=0), "strength", "above 0, up to 1"),
        (item(initial_image=PICTURE, strength=1.01), "strength", "above 0, up to 1"),
        (item(initial_image=PICTURE, strength=float("nan")), "strength", "above 0, up to 1"),
        (item(initial_image=PICTURE, strength=0.24), "strength", "1/4 to 1"),
        (item(mask=PICTURE), "mask", "unset, or an image too"),
        (item(second_strength=0.5), "second_strength", "unset, or an image too"),
        (
            item(initial_image=PICTURE, strength=0.5, mask=PICTURE, second_strength=0.5),
            "second_strength",
            "unset, or no mask",
        ),
        (item(initial_image=PICTURE, strength=0.5, second_strength=0), "second_strength", "above 0, up to 1"),
        (item(initial_image=PICTURE, strength=0.5, second_strength=1.01), "second_strength", "above 0, up to 1"),
        (item(initial_image=PICTURE, strength=0.5, second_strength=0.24), "second_strength", "1/4 to 1"),
        (
            item(initial_image=PICTURE, strength=0.5, mask=Image(content_hash="0" * 64)),
            "mask.content_hash",
            "the picture's bytes in data",
        ),
        (
            item(initial_image=Image(content_hash="0" * 64), strength=0.5),
            "initial_image.content_hash",
            "the picture's bytes in data",
        ),
        (item(item_id=""), "item_id", "any text, unique in the request"),
        (item("first"), "item_id", "any text, unique in the request"),
        (item(noise_mix=[Part(seed=n, weight=1) for n in range(65)]), "noise_mix", "at most 64"),
        (item(noise_mix=2 * [Part(seed=1, weight=1)]), "noise_mix[1].seed", f"0 to {2**64 - 1}, each seed once"),
        (item(noise_mix=[Part(seed=1)]), "noise_mix[0].weight", WEIGHTS),
        (item(noise_mix=[Part(seed=1, weight=float("nan"))]), "noise_mix[0].weight", WEIGHTS),
        (item(noise_mix=[Part(seed=1, weight=-1e7)]), "noise_mix[0].weight", WEIGHTS),
        (item(noise_mix=[Part(seed=1, weight=1, cells=[1, 1])]), "noise_mix[0].cells", GRIDS),
        (item(noise_mix=[Part(seed=1, weight=1, cells=17 * 17 * [1])]), "noise_mix[0].cells", GRIDS),
        (item(noise_mix=[Part(seed=1, weight=1, cells=[float("inf")])]), "noise_mix[0].cells", FACTORS),
        (
            item(noise_mix=[Part(seed=n, weight=1, cells=n * n * [1]) for n in (2, 3)]),
            "noise_mix",
            "one grid for all parts that have cells",
        ),
        (
            item(noise_mix=[Part(seed=n, weight=1, cells=[1, 1, 0, 1]) for n in (2, 3)]),
            "noise_mix",
            "some weight in every cell",
        ),
    ],
)
async def test_a_wrong_field_is_named_with_the_allowed_values(
    stub: rpc.GeneratorServiceStub, wrong: pb.GenerateItem, field: str, allowed: str
) -> None:
    error = await _refusal(stub, request(item("first"), wrong))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    detail = json.loads(error.details() or "")
    assert detail["reason"] == "INVALID_FIELD" and detail["field"] == f"items[1].{field}"
    assert detail["message"].startswith(f"items[1].{field}: ") and detail["message"].endswith(f"allowed: {allowed}")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (request(), "items"),
        (request(*(item(str(index)) for index in range(65))), "items"),
        (request(item(), request_id=""), "request_id"),
        (request(item(), request_id="x" * 65), "request_id"),
        (request(item(), time_limit=Duration()), "time_limit"),
        (request(item(), time_limit=Duration(seconds=-1)), "time_limit"),
        (request(item(), priority=4), "priority"),
    ],
)
async def test_a_wrong_request_is_refused(
    stub: rpc.GeneratorServiceStub, wrong: pb.GenerateRequest, field: str
) -> None:
    error = await _refusal(stub, wrong)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert json.loads(error.details() or "")["field"] == field


@pytest.mark.parametrize(
    ("limits", "wrong", "field", "allowed"),
    [
        ({"takes_negative_prompt": False}, item(negative_prompt="x"), "negative_prompt", "empty"),
        ({"takes_guidance_scale": False}, item(guidance_scale=2.5), "guidance_scale", "unset, or 3"),
    ],
)
async def test_what_a_model_would_not_heed_is_refused(
    tiny: LoadedModel,
    engine: StepEngine,
    limits: dict[str, bool],
    wrong: pb.GenerateItem,
    field: str,
    allowed: str,
) -> None:
    heedless = replace(tiny, card=replace(tiny.card, limits=replace(tiny.card.limits, **limits)))
    async with serve(GeneratorService(Catalog([TINY], {"tiny": heedless.known}, {}, ["tiny"]), engine)) as stub:
        (model,) = (await stub.ListModels(pb.ListModelsRequest())).models
        assert {name: getattr(model.generation_limits, name) for name in limits} == limits
        error = await _refusal(stub, request(wrong))
        detail = json.loads(error.details() or "")
        assert (error.code(), detail["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, f"items[0].{field}")
        assert detail["message"].endswith(f"allowed: {allowed}")
        # As a record of such a model says it.
        assert set(pngs(await events(stub, item(guidance_scale=3)))) == {"a"}


async def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(stub: rpc.GeneratorServiceStub) -> None:
    error = await _refusal(stub, request(item(), model="sdxl"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    detail = json.loads(error.details() or "")
    assert detail["reason"] == "MODEL_NOT_FOUND" and detail["message"].endswith("known: tiny")


async def test_the_largest_allowed_values_are_allowed(stub: rpc.GeneratorServiceStub) -> None:
    answers = await events(
        stub,
        item("a", "x" * 2000, guidance_scale=50, steps=1, width_pixels=128, height_pixels=16),
        item("b", guidance_scale=0, steps=1, width_pixels=16, height_pixels=16),
    )
    assert set(pngs(answers)) == {"a", "b"}


async def _refusal(stub: rpc.GeneratorServiceStub, wrong: pb.GenerateRequest) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in stub.Generate(wrong):
            pass
    return refused.value
