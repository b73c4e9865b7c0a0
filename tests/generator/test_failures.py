"""The engine outlives out-of-memory, broken denoisers, NaN latents and a withheld picture."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from services.generator.pipelines import LoadedModel
from tests.generator.grpc_server import events, item, pngs

Hooks = Callable[[Callable[[int], None]], None]


async def test_a_batch_that_does_not_fit_is_split_and_later_ones_are_smaller(
    stub: rpc.GeneratorServiceStub, before_denoising: Hooks
) -> None:
    alone = pngs(await events(stub, item("b", seed=2)))["b"]
    calls: list[int] = []

    def memory_for_two(inputs: int) -> None:
        calls.append(inputs // 2)  # guidance doubles the inputs
        if calls[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    before_denoising(memory_for_two)
    items = [item(name, seed=seed) for seed, name in enumerate("abcd", start=1)]
    made = pngs(await events(stub, *items))
    assert set(made) == set("abcd")
    assert np.abs(_pixels(made["b"]) - _pixels(alone)).mean() <= 0.05
    assert calls == [4] + [2] * 8
    calls.clear()
    assert len(pngs(await events(stub, *items))) == 4
    assert calls == [2] * 8


async def test_a_picture_that_never_fits_fails_alone(stub: rpc.GeneratorServiceStub, before_denoising: Hooks) -> None:
    def no_memory(_inputs: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    before_denoising(no_memory)
    (failed,) = _failures(await events(stub, item("a")))
    assert (failed.reason, failed.message) == ("GENERATION_FAILED", "not enough memory for 32 x 32 pixels")


async def test_one_item_that_breaks_the_pipeline_takes_no_other_along(
    stub: rpc.GeneratorServiceStub, tiny: LoadedModel
) -> None:
    poison = tiny.family.pipeline.tokenizer("~").input_ids[1]

    def before(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if (args[0] == poison).any():
            raise RuntimeError("/secret/path exploded")

    handle = tiny.family.pipeline.text_encoder.register_forward_pre_hook(before)
    answers = await events(stub, item("a"), item("b", "~"), item("c"))
    handle.remove()
    assert set(pngs(answers)) == {"a", "c"}
    (failed,) = _failures(answers)
    assert failed.reason == "GENERATION_FAILED" and "secret" not in failed.message
    assert set(pngs(await events(stub, item("b", "~")))) == {"b"}


async def test_latents_that_are_no_numbers_fail_their_item_only(
    stub: rpc.GeneratorServiceStub, tiny: LoadedModel
) -> None:
    alone = pngs(await events(stub, item("c", seed=3)))["c"]

    def break_second(_: torch.nn.Module, _args: object, output: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        output[0][1] = float("nan")
        return output

    handle = tiny.family.pipeline.unet.register_forward_hook(break_second)
    answers = await events(stub, item("a", seed=1), item("b", seed=2), item("c", seed=3))
    handle.remove()
    made = pngs(answers)
    assert set(made) == {"a", "c"}
    assert np.abs(_pixels(made["c"]) - _pixels(alone)).mean() <= 0.05
    (failed,) = _failures(answers)
    assert failed.reason == "GENERATION_FAILED" and "no numbers" in failed.message


async def test_a_picture_that_the_safety_checker_withholds_is_no_picture(
    stub: rpc.GeneratorServiceStub, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checker's weights do not ship; its answer is put where the pipeline asks for it."""

    def withhold_second(pixels: torch.Tensor, *_: object) -> tuple[torch.Tensor, list[bool]]:
        return pixels, [index == 1 for index in range(len(pixels))]

    monkeypatch.setattr(tiny.family.pipeline, "run_safety_checker", withhold_second)
    answers = await events(stub, item("a"), item("b"))
    assert set(pngs(answers)) == {"a"}
    (failed,) = _failures(answers)
    assert failed.reason == "GENERATION_FAILED" and "safety checker" in failed.message


def _failures(answers: list[pb.GenerateResponse]) -> list[pb.FailedEvent]:
    return [answer.failed.error for answer in answers if answer.HasField("failed")]


def _pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(Image.open(io.BytesIO(png)), dtype=np.float64)
