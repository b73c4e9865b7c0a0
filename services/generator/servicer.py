"""RPC methods over GeneratorService, the same behind Ray Serve and behind a plain gRPC server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from likeness.generator.v1 import generator_service_pb2 as pb
from services.common import tracing
from services.common.backend_rpcs import StatusContext, set_status
from services.common.errors import InternalError, LikenessError
from services.common.telemetry import bind, get_logger, rpc_timer
from services.generator.converters import item_requests, models_response, response, urgency
from services.generator.service import GeneratorService

_SERVICE = pb.DESCRIPTOR.services_by_name["GeneratorService"].full_name

log = get_logger(__name__)


class GeneratorServicer:
    """likeness.generator.v1.GeneratorService. Errors set code and details on the context and are raised on."""

    def __init__(self, service: GeneratorService) -> None:
        self._service = service

    async def Generate(
        self, request: pb.GenerateRequest, context: StatusContext
    ) -> AsyncGenerator[pb.GenerateResponse, None]:
        """Makes pictures and streams what happens. Cancelling the call cancels its items."""
        with (
            tracing.served(f"{_SERVICE}/Generate", context.invocation_metadata()),
            rpc_timer("generator", "Generate"),
            bind(request_id=request.request_id),
            _errors_to(context),
        ):
            events = self._service.generate(request.request_id, request.model, item_requests(request), urgency(request))
            async with aclosing(events):
                async for event in events:
                    yield response(event)

    async def ListModels(self, request: pb.ListModelsRequest, context: StatusContext) -> pb.ListModelsResponse:
        """Lists the models and whether they are loaded."""
        with (
            tracing.served(f"{_SERVICE}/ListModels", context.invocation_metadata()),
            rpc_timer("generator", "ListModels"),
            _errors_to(context),
        ):
            return models_response(self._service.list_models())


@contextmanager
def _errors_to(context: StatusContext) -> Iterator[None]:
    try:
        yield
    except LikenessError as error:
        set_status(context, error)
        raise
    except Exception as error:
        log.exception("rpc_failed")
        internal = InternalError()
        set_status(context, internal)
        raise internal from error
