"""A stream behind the gate: keys are asked for before its first message, and what it makes is its tenant's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from likeness.gateway.v1 import evaluation_pb2
from likeness.gateway.v1 import evaluation_service_pb2 as pb
from services.gateway.access.caller import Scope
from tests.gateway.access.keys import Keys, Metadata
from tests.gateway.conftest import Gateway
from tests.gateway.evaluations.streaming import METRICS, Stream, item
from tests.gateway.failures import reason_of

pytestmark = pytest.mark.integration

ABSENT = "evaluations/absent"


async def opened(gateway: Gateway, key: Metadata, name: str = "") -> Stream:
    """A stream whose first message is sent."""
    stream = Stream(gateway.evaluations.StreamEvaluations(metadata=key))
    generation = evaluation_pb2.EvaluationGeneration(count=1)
    settings = None if name else evaluation_pb2.EvaluationSettings(metrics=METRICS, generation=generation)
    config = pb.StreamEvaluationsConfig(evaluation=name, settings=settings)
    await stream.call.write(pb.StreamEvaluationsRequest(config=config))
    return stream


async def refused(call: Any) -> tuple[Any, ...]:
    """Code and reason of a refused call or stream."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "read"):
            await call.read()
        await call
    return reason_of(caught.value)[:2]


CALLS: dict[str, Callable[[Any, str, Metadata], Any]] = {
    "get": lambda stub, name, key: stub.GetEvaluation(pb.GetEvaluationRequest(name=name), metadata=key),
    "cancel": lambda stub, name, key: stub.CancelEvaluation(pb.CancelEvaluationRequest(name=name), metadata=key),
    "watch": lambda stub, name, key: stub.WatchEvaluation(pb.WatchEvaluationRequest(name=name), metadata=key),
    "report": lambda stub, name, key: stub.GetEvaluationReport(pb.GetEvaluationReportRequest(name=name), metadata=key),
}


async def test_stream_without_a_key_is_refused(closed: Gateway, keys: Keys) -> None:
    nobody = closed.evaluations.StreamEvaluations()
    assert await refused(nobody) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING")
    reader = closed.evaluations.StreamEvaluations(metadata=await keys.make(scope=Scope.READ))
    assert await refused(reader) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_TOO_NARROW")


async def test_evaluations_are_their_tenants(closed: Gateway, keys: Keys) -> None:
    acme, beta = await keys.make("acme"), await keys.make("beta")
    stream = await opened(closed, acme)
    await stream.send(*(item(offset) for offset in range(3)))
    assert len(await stream.finished()) == 3
    for name, call in CALLS.items():
        foreign = await refused(call(closed.evaluations, stream.name, beta))
        missing = await refused(call(closed.evaluations, ABSENT, beta))
        assert foreign == missing == (grpc.StatusCode.NOT_FOUND, "EVALUATION_NOT_FOUND"), name
    taken_over = await opened(closed, beta, stream.name)
    assert await refused(taken_over.call) == (grpc.StatusCode.NOT_FOUND, "EVALUATION_NOT_FOUND")
    listed = await closed.evaluations.ListEvaluations(pb.ListEvaluationsRequest(), metadata=beta)
    assert not listed.evaluations
    mine = await closed.evaluations.ListEvaluations(pb.ListEvaluationsRequest(), metadata=acme)
    assert [one.name for one in mine.evaluations] == [stream.name]
    await closed.evaluations.GetEvaluation(pb.GetEvaluationRequest(name=stream.name), metadata=acme)


@pytest.mark.usefixtures("one_day")
async def test_pictures_of_prompts_are_counted(closed: Gateway, keys: Keys) -> None:
    key = await keys.make("acme")
    stream = await opened(closed, key)
    await stream.send(item(0, prompts=["rgb 1 2 3", "rgb 4 5 6"]))
    (result,) = await stream.finished()
    assert not result.HasField("error"), result.error
    made = await closed.server.access.tenants.usage("acme")
    assert made.images == len(result.images) == 2 and made.pixels > 0
