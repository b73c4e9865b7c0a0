"""StreamEvaluations of EvaluationService: convert, hand on, convert back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from likeness.gateway.v1 import evaluation_service_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2_grpc
from services.common.errors import InvalidInputError
from services.gateway.access.caller import current_caller
from services.gateway.evaluations.answers import Answer, Committed
from services.gateway.evaluations.model import EvaluationItem
from services.gateway.evaluations.streams import EvaluationStreams, StreamInput
from services.gateway.rpc import evaluation_converters as converters
from services.gateway.rpc.interceptors import request_id_of
from services.gateway.rpc.request_keys import request_key


class EvaluationStreamServicer(evaluation_service_pb2_grpc.EvaluationServiceServicer):
    """The part of the public evaluation API that takes a stream of items."""

    def __init__(self, streams: EvaluationStreams) -> None:
        self._streams = streams

    async def StreamEvaluations(
        self, requests: AsyncIterator[pb.StreamEvaluationsRequest], context: Any
    ) -> AsyncIterator[pb.StreamEvaluationsResponse]:
        """Evaluates items as they come. Cancelling the call cancels what is under way."""
        config = await _config(requests)
        asked = StreamInput(
            evaluation=config.evaluation,
            settings=converters.settings_from_proto(config.settings) if config.HasField("settings") else None,
            display_name=config.display_name,
            max_outstanding_items=config.max_outstanding_items,
            max_outstanding_bytes=config.max_outstanding_bytes,
        )
        key = await request_key(config)
        tenant_id = current_caller().tenant_id
        async with self._streams.opened(tenant_id, asked, key, call_id=request_id_of(context)) as stream:
            yield pb.StreamEvaluationsResponse(
                opened=pb.EvaluationOpened(
                    evaluation=converters.evaluation_to_proto(stream.opened.evaluation),
                    max_outstanding_items=stream.limits.items,
                    max_outstanding_bytes=stream.limits.bytes,
                )
            )
            async with aclosing(stream.run(_items(requests))) as events:
                async for event in events:
                    yield _response(event)


async def _config(requests: AsyncIterator[pb.StreamEvaluationsRequest]) -> pb.StreamEvaluationsConfig:
    async for request in requests:
        if request.WhichOneof("message") == "config":
            return request.config
        break
    raise InvalidInputError("config", "is missing", allowed="a first request with config")


async def _items(requests: AsyncIterator[pb.StreamEvaluationsRequest]) -> AsyncIterator[list[EvaluationItem]]:
    async for request in requests:
        match request.WhichOneof("message"):
            case "items":
                yield [converters.item_from_proto(item) for item in request.items.items]
            case "config":
                raise InvalidInputError("config", "came again", allowed="items after the first request")
            case _:
                raise InvalidInputError("message", "is empty", allowed="items")


def _response(event: list[Answer] | Committed) -> pb.StreamEvaluationsResponse:
    if isinstance(event, Committed):
        return pb.StreamEvaluationsResponse(committed=pb.EvaluationCommitted(committed_offset=event.offset))
    results = [converters.result_to_proto(one.result, replayed=one.replayed) for one in event]
    return pb.StreamEvaluationsResponse(results=pb.EvaluationResults(results=results))
