"""The scorer's RPCs for a plain gRPC server; Ray Serve answers through the same handlers."""

from __future__ import annotations

import grpc

from likeness.scorer.v1 import scorer_service_pb2 as pb
from likeness.scorer.v1 import scorer_service_pb2_grpc as pb_grpc
from services.common.backend_rpcs import handled, or_abort
from services.scorer import converters, head_converters
from services.scorer.service import Scorer


class Handlers:
    """Request message in, response message out; every failure is a LikenessError."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        """Embeds pictures with one model."""
        with handled("scorer", "Embed", request.request_id):
            pictures = converters.pictures_from(request.images, "images")
            return converters.embed_response(await self._scorer.embed(request.model, pictures))

    async def score(self, request: pb.ScoreRequest) -> pb.ScoreResponse:
        """Scores candidates."""
        with handled("scorer", "Score", request.request_id):
            return converters.score_response(await self._scorer.score(converters.query_from(request)))

    async def compare(self, request: pb.CompareRequest) -> pb.CompareResponse:
        """Makes difference vectors."""
        with handled("scorer", "Compare", request.request_id):
            target = converters.picture_from(request.target, "target")
            candidates = converters.pictures_from(request.candidates, "candidates")
            return head_converters.compare_response(await self._scorer.compare(request.metric, target, candidates))

    async def get_head(self, request: pb.GetHeadRequest) -> pb.GetHeadResponse:
        """Gives a published head."""
        with handled("scorer", "GetHead"):
            return head_converters.head_response(self._scorer.published_head(request.metric))

    async def fit_head(self, request: pb.FitHeadRequest) -> pb.FitHeadResponse:
        """Learns a head from rankings."""
        with handled("scorer", "FitHead", request.request_id):
            return head_converters.fit_response(await self._scorer.fit_head(head_converters.fit_query_from(request)))

    async def list_metrics(self) -> pb.ListMetricsResponse:
        """Lists metrics, present and absent, and embedding models."""
        with handled("scorer", "ListMetrics"):
            return converters.list_response(self._scorer.metrics(), self._scorer.models(), self._scorer.absent())


class ScorerServicer(pb_grpc.ScorerServiceServicer):
    """ScorerService on a grpc.aio server."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def Embed(
        self, request: pb.EmbedRequest, context: grpc.aio.ServicerContext[pb.EmbedRequest, pb.EmbedResponse]
    ) -> pb.EmbedResponse:
        """See the contract."""
        return await or_abort(self._handlers.embed(request), context)

    async def Score(
        self, request: pb.ScoreRequest, context: grpc.aio.ServicerContext[pb.ScoreRequest, pb.ScoreResponse]
    ) -> pb.ScoreResponse:
        """See the contract."""
        return await or_abort(self._handlers.score(request), context)

    async def Compare(
        self, request: pb.CompareRequest, context: grpc.aio.ServicerContext[pb.CompareRequest, pb.CompareResponse]
    ) -> pb.CompareResponse:
        """See the contract."""
        return await or_abort(self._handlers.compare(request), context)

    async def GetHead(
        self, request: pb.GetHeadRequest, context: grpc.aio.ServicerContext[pb.GetHeadRequest, pb.GetHeadResponse]
    ) -> pb.GetHeadResponse:
        """See the contract."""
        return await or_abort(self._handlers.get_head(request), context)

    async def FitHead(
        self, request: pb.FitHeadRequest, context: grpc.aio.ServicerContext[pb.FitHeadRequest, pb.FitHeadResponse]
    ) -> pb.FitHeadResponse:
        """See the contract."""
        return await or_abort(self._handlers.fit_head(request), context)

    async def ListMetrics(
        self,
        request: pb.ListMetricsRequest,
        context: grpc.aio.ServicerContext[pb.ListMetricsRequest, pb.ListMetricsResponse],
    ) -> pb.ListMetricsResponse:
        """See the contract."""
        return await or_abort(self._handlers.list_metrics(), context)
