"""The service from a profile: start-up, ListModels, models that are missing, the shipped model."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.types.v1 import model_pb2
from services.common.errors import InvalidInputError
from services.common.profile import ROOT, Defaults, GeneratorModel, Profile, load_profile
from services.common.settings import Settings
from services.common.telemetry import render_metrics
from services.generator.pipelines import LoadedModel
from services.generator.service import GeneratorService
from tests.generator.grpc_server import events, item, pngs, request, serve
from tests.generator.tiny import TINY

ABSENT = GeneratorModel(id="absent", source="absent", embedded=True)
EMBEDDED = ROOT / "models" / "generator-embedded" / "model_index.json"


def _profile(*models: GeneratorModel) -> Profile:
    defaults = Defaults(metrics=("ssim",), selection_metrics=("ssim",))
    return Profile(name="test", description="", generators=models, defaults=defaults)


def _start(profile: Profile, models_dir: Path | None) -> GeneratorService:
    return GeneratorService.start(Settings(models_dir=models_dir, device="cpu", torch_threads=1), profile)


async def test_a_model_that_is_missing_leaves_the_others_usable(models_dir: Path, tiny: LoadedModel) -> None:
    service = await asyncio.to_thread(_start, _profile(TINY, ABSENT), models_dir)
    async with serve(service) as stub:
        model, absent = (await stub.ListModels(pb.ListModelsRequest())).models
        assert (model.id, model.role, model.revision) == ("tiny", model_pb2.MODEL_ROLE_GENERATOR, tiny.card.revision)
        assert (model.load_state, model.size_bytes) == (model_pb2.LOAD_STATE_LOADED, tiny.size_bytes)
        parts = (tiny.family.pipeline.unet, tiny.family.pipeline.vae, tiny.family.pipeline.text_encoder)
        assert tiny.size_bytes >= sum(4 * part.num_parameters() for part in parts)
        assert (absent.id, absent.source, absent.load_state) == ("absent", "absent", model_pb2.LOAD_STATE_FAILED)
        assert "models/absent" in absent.load_problem and not absent.HasField("generation_limits")
        limits = model.generation_limits
        assert limits.schedulers[0] == "ddim" and limits.max_steps == 200 and limits.token_limit == 30
        assert limits.mixes_noise and limits.takes_initial_image
        assert set(pngs(await events(stub, item("a")))) == {"a"}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Generate(request(item(), model="absent")).read()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        detail = json.loads(refused.value.details() or "")
        assert detail["reason"] == "MODEL_UNAVAILABLE" and "models/absent" in detail["message"]
    service.close()
    assert b'likeness_generator_pictures_total{model="tiny",outcome="made"}' in render_metrics()


async def test_a_model_whose_first_picture_fails_is_unavailable(models_dir: Path) -> None:
    odd = TINY.model_copy(update={"id": "odd", "width_pixels": 20})
    service = await asyncio.to_thread(_start, _profile(TINY, odd), models_dir)
    async with serve(service) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Generate(request(item(), model="odd")).read()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        detail = json.loads(refused.value.details() or "")
        assert detail["message"].endswith("first picture failed; width_pixels: is 20; allowed: multiples of 8")
        assert set(pngs(await events(stub, item("a")))) == {"a"}
    service.close()


async def test_without_any_model_the_replica_runs_and_says_why(tmp_path: Path) -> None:
    service = await asyncio.to_thread(_start, _profile(ABSENT), tmp_path)
    service.check()
    async with serve(service) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListModels(pb.ListModelsRequest())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "models/absent" in (refused.value.details() or "")
    service.close()


async def test_under_a_budget_those_stay_for_which_there_is_room_and_the_others_take_turns(models_dir: Path) -> None:
    profile = _profile(TINY, TINY.model_copy(update={"id": "second"}))
    settings = Settings(models_dir=models_dir, device="cpu", torch_threads=1, generator_memory_mib=2)
    service = await asyncio.to_thread(GeneratorService.start, settings, profile)
    async with serve(service) as stub:
        first, second = (await stub.ListModels(pb.ListModelsRequest())).models
        assert first.load_state == model_pb2.LOAD_STATE_LOADED
        assert second.load_state == model_pb2.LOAD_STATE_NOT_LOADED and second.size_bytes == first.size_bytes
        assert second.generation_limits == first.generation_limits
        answers = [answer async for answer in stub.Generate(request(item("a"), model="second"))]
        assert set(pngs(answers)) == {"a"}
        first, second = (await stub.ListModels(pb.ListModelsRequest())).models
        assert first.load_state == model_pb2.LOAD_STATE_NOT_LOADED
        assert second.load_state == model_pb2.LOAD_STATE_LOADED
        assert set(pngs(await events(stub, item("a")))) == {"a"}
    service.close()


def test_a_model_larger_than_the_whole_budget_is_an_error_at_the_start(models_dir: Path) -> None:
    settings = Settings(models_dir=models_dir, device="cpu", torch_threads=1, generator_memory_mib=1)
    with pytest.raises(InvalidInputError) as refused:
        GeneratorService.start(settings, _profile(TINY))
    assert refused.value.message == (
        "LIKENESS_GENERATOR_MEMORY_MIB: is 1, too little for the profile's models: 'tiny' takes 1.8 MiB; "
        "allowed: at least 2"
    )


@pytest.mark.skipif(not EMBEDDED.is_file(), reason="models/generator-embedded is not trained yet")
async def test_the_shipped_models_draw_what_the_prompt_says_and_the_same_in_a_batch() -> None:
    """A night is darker than snow; tolerance as for the tiny model. No two models draw alike."""
    profile = load_profile("comparison")
    service = await asyncio.to_thread(_start, profile, None)
    night = "a small red star, starry night background, plain style"
    day = "a small red star, snow background, plain style"
    nights = {}
    async with serve(service) as stub:
        for model in (one.id for one in profile.generators):
            items = item("night", night), item("day", day), item("more", day, seed=2)
            together = pngs([event async for event in stub.Generate(request(*items, model=model))])
            alone = pngs([event async for event in stub.Generate(request(items[0], model=model))])
            pixels = {name: _pixels(png) for name, png in together.items()}
            assert pixels["day"].mean() > pixels["night"].mean() + 30, model
            assert np.abs(pixels["night"] - _pixels(alone["night"])).mean() <= 0.05, model
            nights[model] = pixels["night"]
    service.close()
    for one, other in itertools.combinations(nights.values(), 2):
        assert np.abs(one - other).mean() > 1


def _pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(Image.open(io.BytesIO(png)), dtype=np.float64)
