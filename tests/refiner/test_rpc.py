"""The refiner over a real gRPC server: what callers get, right and wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from likeness.refiner.v1 import refiner_service_pb2 as pb
from likeness.refiner.v1 import refiner_service_pb2_grpc as pb_grpc
from likeness.types.v1 import image_pb2, model_pb2, understanding_pb2
from services.refiner.domain import LanguageModelInfo
from services.refiner.service import RefinerService
from services.refiner.servicer import Handlers, RefinerServicer
from services.refiner.strategies.registry import Registry
from services.refiner.strategies.repainter import Repainter
from services.refiner.understanding.caption_understander import CachedUnderstander, CaptionUnderstander
from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.tree_builder import TreeBuilder
from tests.refiner.helpers import CAR_CAT, FISH_CAT, ScriptedCaptions, png

TARGET, BEST, UNKNOWN = (255, 0, 0), (0, 0, 255), (7, 7, 7)
IMAGE = image_pb2.Image(data=png(TARGET))


@pytest.fixture
async def stub(parser: PromptParser) -> AsyncIterator[pb_grpc.RefinerServiceStub]:
    captions = ScriptedCaptions({TARGET: {CAR_CAT: 0.7, FISH_CAT: 0.3}, BEST: {FISH_CAT: 1.0}})
    understander = CachedUnderstander(CaptionUnderstander(captions, TreeBuilder(parser)))
    model = LanguageModelInfo("captioner-test", "r1", "captioner-test", True, "Apache-2.0")
    registry = Registry([Repainter(understander, parser, model)])
    server = grpc.aio.server()
    pb_grpc.add_RefinerServiceServicer_to_server(RefinerServicer(Handlers(RefinerService(registry))), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.RefinerServiceStub(channel)
    await server.stop(None)


def _propose(**more: Any) -> pb.ProposeRequest:
    values: dict[str, Any] = {"request_id": "r", "strategy": "repainter", "target": IMAGE, "base_prompt": CAR_CAT}
    values |= {"round_number": 1, "prompt_count": 4, "seed": 2**64 - 1, **more}
    return pb.ProposeRequest(**values)


def _critique(**more: Any) -> pb.CritiqueRequest:
    values: dict[str, Any] = {"request_id": "r", "strategy": "repainter", "target": IMAGE, "best_prompt": FISH_CAT}
    values |= {"best": image_pb2.Image(data=png(BEST)), "round_number": 2, **more}
    return pb.CritiqueRequest(**values)


def _revise(prompt: str = CAR_CAT, **feedback: Any) -> pb.ReviseRequest:
    message = understanding_pb2.Feedback(**feedback)
    return pb.ReviseRequest(request_id="r", strategy="repainter", prompt=prompt, feedback=message)


async def test_understand(stub: pb_grpc.RefinerServiceStub) -> None:
    answer = await stub.Understand(pb.UnderstandRequest(request_id="r", strategy="repainter", image=IMAGE))
    assert answer.prompt == answer.tree.base_caption == CAR_CAT
    car = answer.tree.objects[0]
    assert car.name == "car" and car.questions[0].answer == "car"
    color = next(feature for feature in car.features if feature.name == "color")
    assert (color.value, color.aspect) == ("red", understanding_pb2.ASPECT_COLOR)
    assert color.confidence == pytest.approx(0.7)
    assert answer.tree.relations[0].predicate == "left of"


async def test_the_tree_travels_back_unchanged(stub: pb_grpc.RefinerServiceStub) -> None:
    tree = (await stub.Understand(pb.UnderstandRequest(strategy="repainter", image=IMAGE))).tree
    assert await stub.Propose(_propose(tree=tree)) == await stub.Propose(_propose())


async def test_propose(stub: pb_grpc.RefinerServiceStub) -> None:
    answer = await stub.Propose(_propose())
    assert [prompt.origin for prompt in answer.prompts] == ["base", "alternative", "synonym"]
    edit = answer.prompts[1].edits[0]
    assert (edit.property, edit.before, edit.after) == ("objects[0].kind", "car", "fish")


async def test_an_unset_aspect_is_that_of_the_round(stub: pb_grpc.RefinerServiceStub) -> None:
    unset = await stub.Propose(_propose(round_number=5))
    named = await stub.Propose(_propose(round_number=5, aspect=understanding_pb2.ASPECT_OVERALL))
    style = await stub.Propose(_propose(round_number=5, aspect=understanding_pb2.ASPECT_STYLE))
    assert unset == named != style


async def test_critique_and_revise(stub: pb_grpc.RefinerServiceStub) -> None:
    answer = await stub.Critique(_critique(aspect=understanding_pb2.ASPECT_OVERALL))
    assert answer.feedback.aspect == understanding_pb2.ASPECT_OVERALL
    assert 0 <= answer.agreement <= 1
    revised = await stub.Revise(_revise(FISH_CAT, text=answer.feedback.text, edits=answer.feedback.edits))
    assert revised.prompt == FISH_CAT
    revised = await stub.Revise(_revise(text="make the car blue"))
    assert revised.prompt == CAR_CAT.replace("red", "blue")
    assert [(e.property, e.before, e.after) for e in revised.edits] == [("objects[0].color", "red", "blue")]
    assert (await stub.Revise(_revise(text=""))).prompt == CAR_CAT


async def test_list_strategies(stub: pb_grpc.RefinerServiceStub) -> None:
    answer = await stub.ListStrategies(pb.ListStrategiesRequest())
    strategy, model = answer.strategies[0], answer.models[0]
    assert strategy.id == "repainter" and strategy.revision and strategy.embedded
    assert (model.id, model.revision, model.role) == ("captioner-test", "r1", model_pb2.MODEL_ROLE_LANGUAGE)


INVALID = grpc.StatusCode.INVALID_ARGUMENT
LONG = "x" * 2001


@pytest.mark.parametrize(
    ("method", "request_message", "code", "reason", "field"),
    [
        (
            "Understand",
            pb.UnderstandRequest(strategy="dream", image=IMAGE),
            grpc.StatusCode.NOT_FOUND,
            "STRATEGY_NOT_FOUND",
            "strategy",
        ),
        ("Understand", pb.UnderstandRequest(strategy="repainter"), INVALID, "INVALID_FIELD", "image"),
        (
            "Understand",
            pb.UnderstandRequest(strategy="repainter", image=image_pb2.Image(content_hash="ab")),
            INVALID,
            "INVALID_FIELD",
            "image",
        ),
        (
            "Understand",
            pb.UnderstandRequest(strategy="repainter", image=image_pb2.Image(data=b"no")),
            INVALID,
            "IMAGE_UNREADABLE",
            "image",
        ),
        (
            "Understand",
            pb.UnderstandRequest(strategy="repainter", image=IMAGE, request_id="x" * 65),
            INVALID,
            "INVALID_FIELD",
            "request_id",
        ),
        ("Propose", _propose(base_prompt=""), INVALID, "INVALID_FIELD", "base_prompt"),
        ("Propose", _propose(base_prompt=" \n"), INVALID, "INVALID_FIELD", "base_prompt"),
        ("Propose", _propose(base_prompt=LONG), INVALID, "INVALID_FIELD", "base_prompt"),
        ("Propose", _propose(prompt_count=0), INVALID, "INVALID_FIELD", "prompt_count"),
        ("Propose", _propose(prompt_count=65), INVALID, "INVALID_FIELD", "prompt_count"),
        ("Propose", _propose(round_number=0), INVALID, "INVALID_FIELD", "round_number"),
        ("Propose", _propose(round_number=-3), INVALID, "INVALID_FIELD", "round_number"),
        ("Propose", _propose(aspect=77), INVALID, "INVALID_FIELD", "aspect"),
        ("Propose", _propose(target=image_pb2.Image(data=b"")), INVALID, "IMAGE_UNREADABLE", "target"),
        ("Propose", _propose(strategy=""), grpc.StatusCode.NOT_FOUND, "STRATEGY_NOT_FOUND", "strategy"),
        ("Critique", _critique(best=image_pb2.Image(data=png(BEST)[:40])), INVALID, "IMAGE_UNREADABLE", "best"),
        ("Critique", _critique(best_prompt=""), INVALID, "INVALID_FIELD", "best_prompt"),
        ("Critique", _critique(round_number=0), INVALID, "INVALID_FIELD", "round_number"),
        ("Revise", _revise(""), INVALID, "INVALID_FIELD", "prompt"),
        ("Revise", _revise(LONG), INVALID, "INVALID_FIELD", "prompt"),
        ("Revise", _revise(text=LONG), INVALID, "INVALID_FIELD", "feedback.text"),
        ("Revise", _revise(aspect=9), INVALID, "INVALID_FIELD", "feedback.aspect"),
        ("Revise", _revise(edits=[understanding_pb2.PromptEdit()] * 65), INVALID, "INVALID_FIELD", "feedback.edits"),
    ],
)
async def test_wrong_requests_are_told_what_is_wrong(
    stub: pb_grpc.RefinerServiceStub, method: str, request_message: Any, code: grpc.StatusCode, reason: str, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(stub, method)(request_message)
    detail = json.loads(caught.value.details() or "")
    assert (caught.value.code(), detail["reason"], detail["field"]) == (code, reason, field)


async def test_an_unknown_strategy_hears_the_known_ones(stub: pb_grpc.RefinerServiceStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="known: repainter"):
        await stub.Revise(pb.ReviseRequest(strategy="llm", prompt="a cat"))


async def test_defects_say_nothing_of_the_inside(stub: pb_grpc.RefinerServiceStub) -> None:
    # The scripted captioner has no captions for this picture and fails with a KeyError.
    request = pb.UnderstandRequest(strategy="repainter", image=image_pb2.Image(data=png(UNKNOWN)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Understand(request)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert json.loads(caught.value.details() or "")["reason"] == "INTERNAL"
    assert "KeyError" not in (caught.value.details() or "") and "7" not in (caught.value.details() or "")
