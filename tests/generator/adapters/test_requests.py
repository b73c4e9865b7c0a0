"""Adapters through gRPC: what is listed, recorded and refused."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator

import grpc
import pytest
from PIL import Image

from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from services.generator.catalog import Catalog
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from services.generator.service import GeneratorService
from tests.generator.grpc_server import events, item, pngs, request, serve
from tests.generator.tiny import TINY

Stub = rpc.GeneratorServiceStub
SCALES = "-4 to 4"


@pytest.fixture
async def adapted_stub(adapted: LoadedModel) -> AsyncIterator[Stub]:
    """A client of a real gRPC server over the model with adapters."""
    service = GeneratorService(Catalog([TINY], {"tiny": adapted.known}, {}, ["tiny"]), StepEngine({"tiny": adapted}))
    async with serve(service) as client:
        yield client
    service.close()


async def test_adapters_are_listed_with_their_model(adapted_stub: Stub, adapted: LoadedModel) -> None:
    (model,) = (await adapted_stub.ListModels(pb.ListModelsRequest())).models
    listed = [(one.id, one.revision, one.license, one.absent_reason) for one in model.adapters]
    assert listed == [(one.id, one.revision, one.license, one.absent_reason) for one in adapted.card.adapters]
    assert [bool(one.absent_reason) for one in model.adapters] == [False, False, True]


async def test_the_record_says_which_adapter_and_how_much_of_it(adapted_stub: Stub, adapted: LoadedModel) -> None:
    answers = await events(
        adapted_stub, item("star", adapter="star"), item("moon", adapter="moon", adapter_scale=-0.25), item("plain")
    )
    done = {answer.item_id: answer.image for answer in answers if answer.HasField("image")}
    star, moon, _ = adapted.card.adapters
    recorded = {
        name: (image.record.adapter, image.record.adapter_scale, image.record.adapter_revision)
        for name, image in done.items()
    }
    assert recorded == {
        "star": ("star", 1.0, star.revision),
        "moon": ("moon", -0.25, moon.revision),
        "plain": ("", 0.0, ""),
    }
    assert len(set(pngs(answers).values())) == 3
    texts = {name: Image.open(io.BytesIO(image.image.data)).text for name, image in done.items()}  # type: ignore[attr-defined]
    stored = {name: json.loads(text["likeness"]) for name, text in texts.items()}
    assert [stored["moon"][f"adapter{field}"] for field in ("", "_scale", "_revision")] == list(recorded["moon"])
    assert texts["moon"]["parameters"].endswith(f", Adapter: moon -0.25, Adapter hash: {moon.revision}")
    assert "Adapter" not in texts["plain"]["parameters"]


async def test_the_ends_of_the_scale_are_allowed(adapted_stub: Stub) -> None:
    scales = {"least": -4, "none": 0, "most": 4}
    answers = await events(
        adapted_stub, *(item(name, adapter="moon", adapter_scale=scale) for name, scale in scales.items())
    )
    assert set(pngs(answers)) == set(scales)


@pytest.mark.parametrize(
    ("wrong", "field", "allowed"),
    [
        (item(adapter="sun"), "adapter", "empty, star, moon, lost"),
        (item(adapter="Star"), "adapter", "empty, star, moon, lost"),
        (item(adapter="star", adapter_scale=4.1), "adapter_scale", SCALES),
        (item(adapter="star", adapter_scale=-4.1), "adapter_scale", SCALES),
        (item(adapter="star", adapter_scale=float("nan")), "adapter_scale", SCALES),
        (item(adapter_scale=1), "adapter_scale", "unset, or an adapter"),
        (item(adapter_scale=0), "adapter_scale", "unset, or an adapter"),
    ],
)
async def test_a_wrong_adapter_is_refused_and_the_allowed_ones_are_named(
    adapted_stub: Stub, wrong: pb.GenerateItem, field: str, allowed: str
) -> None:
    code, detail = await _refusal(adapted_stub, wrong)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert detail["reason"] == "INVALID_FIELD" and detail["field"] == f"items[0].{field}"
    assert detail["message"].endswith(f"; allowed: {allowed}")


async def test_a_model_without_adapters_says_so(stub: Stub) -> None:
    code, detail = await _refusal(stub, item(adapter="star"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and detail["message"].endswith("; allowed: empty")


async def test_an_absent_adapter_is_unavailable_and_says_why(adapted_stub: Stub, adapted: LoadedModel) -> None:
    code, detail = await _refusal(adapted_stub, item(adapter="lost"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert (detail["reason"], detail["field"]) == ("MODEL_UNAVAILABLE", "items[0].adapter")
    assert detail["message"] == adapted.card.adapters[2].absent_reason


async def _refusal(stub: Stub, wrong: pb.GenerateItem) -> tuple[grpc.StatusCode, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in stub.Generate(request(wrong)):
            pass
    return refused.value.code(), json.loads(refused.value.details() or "")
