"""The scorer's RPCs for a plain gRPC server; Ray Serve answers through the same handlers."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NoReturn, TypeVar

import grpc

from likeness.scorer.v1 import scorer_service_pb2 as pb
from likeness.scorer.v1 import scorer_service_pb2_grpc as pb_grpc
from services.common import telemetry
from services.common.errors import InternalError, LikenessError
from services.common.grpc_errors import code_of, to_detail
from services.scorer import converters, head_converters
from services.scorer.service import Scorer

log = telemetry.get_logger(__name__)
Response = TypeVar("Response")


class Handlers:
    """Request message in, response message out; every failure is a LikenessError."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        """Embeds pictures with one model."""

        async def work() -> pb.EmbedResponse:
            pictures = converters.pictures_from(request.images, "images")
            return converters.embed_response(await self._scorer.embed(request.model, pictures))

        return await _answered("Embed", request.request_id, work())

    async def score(self, request: pb.ScoreRequest) -> pb.ScoreResponse:
        """Scores candidates."""

        async def work() -> pb.ScoreResponse:
            return converters.score_response(await self._scorer.score(converters.query_from(request)))

        return await _answered("Score", request.request_id, work())

    async def compare(self, request: pb.CompareRequest) -> pb.CompareResponse:
        """Makes difference vectors."""

        async def work() -> pb.CompareResponse:
            target = converters.picture_from(request.target, "target")
            candidates = converters.pictures_from(request.candidates, "candidates")
            return head_converters.compare_response(await self._scorer.compare(request.metric, target, candidates))

        return await _answered("Compare", request.request_id, work())

    async def get_head(self, request: pb.GetHeadRequest) -> pb.GetHeadResponse:
        """Gives a published head."""

        async def work() -> pb.GetHeadResponse:
            return head_converters.head_response(self._scorer.published_head(request.metric))

        return await _answered("GetHead", "", work())

    async def fit_head(self, request: pb.FitHeadRequest) -> pb.FitHeadResponse:
        """Learns a head from rankings."""

        async def work() -> pb.FitHeadResponse:
            return head_converters.fit_response(await self._scorer.fit_head(head_converters.fit_query_from(request)))

        return await _answered("FitHead", request.request_id, work())

    async def list_metrics(self) -> pb.ListMetricsResponse:
        """Lists metrics, present and absent, and embedding models."""

        async def work() -> pb.ListMetricsResponse:
            return converters.list_response(self._scorer.metrics(), self._scorer.models(), self._scorer.absent())

        return await _answered("ListMetrics", "", work())


class ScorerServicer(pb_grpc.ScorerServiceServicer):
    """ScorerService on a grpc.aio server."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def Embed(
        self, request: pb.EmbedRequest, context: grpc.aio.ServicerContext[pb.EmbedRequest, pb.EmbedResponse]
    ) -> pb.EmbedResponse:
        """See the contract."""
        try:
            return await self._handlers.embed(request)
        except LikenessError as error:
            await _abort(context, error)

    async def Score(
        self, request: pb.ScoreRequest, context: grpc.aio.ServicerContext[pb.ScoreRequest, pb.ScoreResponse]
    ) -> pb.ScoreResponse:
        """See the contract."""
        try:
            return await self._handlers.score(request)
        except LikenessError as error:
            await _abort(context, error)

    async def Compare(
        self, request: pb.CompareRequest, context: grpc.aio.ServicerContext[pb.CompareRequest, pb.CompareResponse]
    ) -> pb.CompareResponse:
        """See the contract."""
        try:
            return await self._handlers.compare(request)
        except LikenessError as error:
            await _abort(context, error)

    async def GetHead(
        self, request: pb.GetHeadRequest, context: grpc.aio.ServicerContext[pb.GetHeadRequest, pb.GetHeadResponse]
    ) -> pb.GetHeadResponse:
        """See the contract."""
        try:
            return await self._handlers.get_head(request)
        except LikenessError as error:
            await _abort(context, error)

    async def FitHead(
        self, request: pb.FitHeadRequest, context: grpc.aio.ServicerContext[pb.FitHeadRequest, pb.FitHeadResponse]
    ) -> pb.FitHeadResponse:
        """See the contract."""
        try:
            return await self._handlers.fit_head(request)
        except LikenessError as error:
            await _abort(context, error)

    async def ListMetrics(
        self,
        request: pb.ListMetricsRequest,
        context: grpc.aio.ServicerContext[pb.ListMetricsRequest, pb.ListMetricsResponse],
    ) -> pb.ListMetricsResponse:
        """See the contract."""
        return await self._handlers.list_metrics()


async def _answered(method: str, request_id: str, work: Awaitable[Response]) -> Response:
    with telemetry.bind(request_id=request_id[:64]), telemetry.rpc_timer("scorer", method):
        try:
            return await work
        except LikenessError as error:
            log.info("rpc_refused", method=method, reason=error.reason.value, field=error.field)
            raise
        except Exception as error:
            log.exception("rpc_failed", method=method)
            raise InternalError() from error


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: LikenessError) -> NoReturn:
    await context.abort(code_of(error), to_detail(error))
