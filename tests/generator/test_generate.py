"""Generate through a real gRPC server: order of events, records, seeds, batches."""

from __future__ import annotations

import io
import json

from PIL import Image

from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from services.generator.pipelines import LoadedModel
from tests.generator.grpc_server import events, item, pngs

Stub = rpc.GeneratorServiceStub


async def test_an_item_queues_starts_counts_its_steps_and_ends_with_a_picture(stub: Stub) -> None:
    answers = await events(stub, item("a", steps=5))
    kinds = [answer.WhichOneof("event") for answer in answers]
    assert kinds == ["queued", "started", *["step"] * kinds.count("step"), "image"]
    steps = [answer.step.step for answer in answers if answer.HasField("step")]
    assert steps == sorted(set(steps)) and steps[-1] == 5
    assert {answer.step.total_steps for answer in answers if answer.HasField("step")} == {5}
    left = [answer.step.time_left.ToTimedelta().total_seconds() for answer in answers if answer.HasField("step")]
    assert all(seconds >= 0 for seconds in left) and left[-1] <= left[0]
    assert answers[1].started.total_steps == 5 and answers[1].started.batch_size == 1


async def test_items_of_a_call_know_how_many_are_ahead_and_share_a_batch(stub: Stub) -> None:
    answers = await events(stub, *(item(name, seed=seed) for seed, name in enumerate("abcd")))
    assert [answer.queued.items_ahead for answer in answers if answer.HasField("queued")] == [0, 1, 2, 3]
    assert {answer.started.batch_size for answer in answers if answer.HasField("started")} == {4}
    assert set(pngs(answers)) == set("abcd")


async def test_items_with_different_settings_share_calls_and_other_sizes_do_not(stub: Stub) -> None:
    answers = await events(
        stub,
        item("a"),
        item("b", steps=2),
        item("c", width_pixels=48, height_pixels=32),
        item("d", guidance_scale=7, scheduler="euler"),
        item("e", guidance_scale=1),
        item("f", negative_prompt="blurry"),
    )
    sizes = {answer.item_id: answer.started.batch_size for answer in answers if answer.HasField("started")}
    # f is the fifth of its size: it takes b's place, which is the first to be done.
    assert sizes == {"a": 4, "b": 4, "c": 1, "d": 4, "e": 4, "f": 4}
    pictures = {name: Image.open(io.BytesIO(png)) for name, png in pngs(answers).items()}
    assert pictures["c"].size == (48, 32) and pictures["a"].size == (32, 32)
    assert len({picture.tobytes() for picture in pictures.values()}) == 6


async def test_the_png_says_how_to_make_the_picture_again(stub: Stub, tiny: LoadedModel) -> None:
    seed = 2**64 - 1
    prompt = "ein großer roter Stern ★, \u0434"
    (answer,) = [
        answer
        for answer in await events(stub, item("a", prompt, seed, negative_prompt="blurry, grey", scheduler="unipc"))
        if answer.HasField("image")
    ]
    record = answer.image.record
    assert (record.prompt, record.seed, record.steps, record.scheduler) == (prompt, seed, 4, "unipc")
    assert (record.model, record.model_revision) == ("tiny", tiny.card.revision)
    text = Image.open(io.BytesIO(answer.image.image.data)).text  # type: ignore[attr-defined]
    stored = json.loads(text["likeness"])
    assert stored == {name: getattr(record, name) for name in stored}
    assert set(stored) == {field.name for field in record.DESCRIPTOR.fields}
    assert text["parameters"] == (
        f"{prompt}\nNegative prompt: blurry, grey\n"
        f"Steps: 4, Sampler: unipc, CFG scale: 3, Seed: {seed}, Size: 32x32, "
        f"Model hash: {tiny.card.revision}, Model: tiny"
    )


async def test_the_same_request_gives_the_same_bytes_and_another_seed_does_not(stub: Stub) -> None:
    first = pngs(await events(stub, item("a", seed=7, scheduler="euler_ancestral")))
    second = pngs(await events(stub, item("a", seed=7, scheduler="euler_ancestral")))
    other = pngs(await events(stub, item("a", seed=8, scheduler="euler_ancestral")))
    assert first["a"] == second["a"] != other["a"]


async def test_a_prompt_longer_than_the_text_encoder_reads_is_reported(stub: Stub) -> None:
    answers = await events(stub, item("fits", "a" * 30), item("long", "a" * 31))
    truncated = {answer.item_id: answer.image.prompt_truncated for answer in answers if answer.HasField("image")}
    assert truncated == {"fits": False, "long": True}
