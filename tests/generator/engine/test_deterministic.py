"""Deterministic pictures are the same to the bit alone and in a crowd."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from services.generator.domain import ItemRequest
from services.generator.engine.base import Finished, Started
from services.generator.engine.step_engine import StepEngine
from services.generator.families.prompt_cache import PromptCache
from services.generator.pipelines import LoadedModel
from tests.generator.engine.test_batch_mates import MATES, pictures
from tests.generator.engine.test_joining import called, read
from tests.generator.families.running import RECORD
from tests.generator.gate import Gate
from tests.generator.grpc_server import events, item
from tests.generator.tiny import work

ASKED = ItemRequest("asked", "a red star", 5, "a cow", steps=9, scheduler="euler_ancestral", deterministic=True)
OTHER = replace(ASKED, item_id="other", prompt="a green hill", seed=6, steps=4)


async def test_it_is_the_same_to_the_bit_in_a_crowd(engine: StepEngine, tiny: LoadedModel) -> None:
    alone = (await pictures(engine, tiny, ASKED))["asked"]
    tiny.family.prompts = PromptCache()
    # In between, with mates that share its prompts, and behind another deterministic picture.
    crowd = await pictures(engine, tiny, *MATES[:3], OTHER, ASKED, *MATES[3:])
    assert set(crowd) == {"asked", "other", *(mate.item_id for mate in MATES)}
    assert crowd["asked"].tobytes() == alone.tobytes()
    assert crowd["asked"].tobytes() != crowd["other"].tobytes()


async def test_no_call_of_any_part_is_shared(engine: StepEngine, tiny: LoadedModel) -> None:
    calls: dict[str, list[int]] = {"text_encoder": [], "unet": [], "decoder": []}
    pipeline = tiny.family.pipeline
    parts = {"text_encoder": pipeline.text_encoder, "unet": pipeline.unet, "decoder": pipeline.vae.decoder}

    def count(name: str) -> torch.utils.hooks.RemovableHandle:
        def before(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            calls[name].append(len(args[0]))

        return parts[name].register_forward_pre_hook(before)

    handles = [count(name) for name in parts]
    two = [replace(ASKED, prompt="a prompt of its own"), replace(OTHER, prompt="another of its own")]
    await pictures(engine, tiny, *two)
    for handle in handles:
        handle.remove()
    # Two rows of a call are the two halves of one guided picture.
    assert set(calls["text_encoder"]) == {1} and calls["unet"] == [2] * 13 and calls["decoder"] == [1, 1]


async def test_others_share_their_calls_meanwhile(engine: StepEngine, tiny: LoadedModel, gate: Gate) -> None:
    first = engine.submit(work(tiny, MATES[0]))
    await called(gate, 1)
    rest = engine.submit(work(tiny, ASKED, *MATES[1:4]))
    gate.open()
    seen = [event for answers in await asyncio.gather(read(first), read(rest)) for event in answers]
    sizes = {event.item_id: event.batch_size for event in seen if isinstance(event, Started)}
    assert sizes["asked"] == 1 and all(sizes[mate.item_id] == 4 for mate in MATES[1:4])
    assert sum(isinstance(event, Finished) for event in seen) == 5


def test_what_was_encoded_in_a_batch_is_not_taken_for_it(tiny: LoadedModel) -> None:
    family = tiny.family
    record = replace(RECORD, scheduler="ddim", prompt="neither of them seen", negative_prompt="before")
    calls: list[int] = []
    encoder = family.pipeline.text_encoder
    handle = encoder.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    with torch.inference_mode():
        family.begin([record])
        family.begin([replace(record, deterministic=True)])
        family.begin([replace(record, deterministic=True)])
    handle.remove()
    assert calls == [2, 1, 1]


@pytest.mark.parametrize("deterministic", [True, False])
async def test_the_record_says_so(stub: rpc.GeneratorServiceStub, deterministic: bool) -> None:
    *_, last = await events(stub, item("a", deterministic=deterministic))
    assert last.image.record.deterministic is deterministic
    text = Image.open(io.BytesIO(last.image.image.data)).text  # type: ignore[attr-defined]
    assert json.loads(text["likeness"])["deterministic"] is deterministic
