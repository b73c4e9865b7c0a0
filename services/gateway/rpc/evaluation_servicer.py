"""EvaluationService over gRPC: jobs, progress, results and reports; streams of items are in the base class."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from likeness.gateway.v1 import evaluation_pb2
from likeness.gateway.v1 import evaluation_service_pb2 as pb
from services.common.errors import InvalidInputError
from services.gateway.access.caller import current_caller
from services.gateway.evaluations.manifests import Format
from services.gateway.evaluations.model import ItemResult
from services.gateway.evaluations.service import EvaluationService, ManifestInput
from services.gateway.evaluations.streams import EvaluationStreams
from services.gateway.evaluations.validation import evaluation_id
from services.gateway.rpc import evaluation_converters as converters
from services.gateway.rpc import report_converters
from services.gateway.rpc.evaluation_stream_servicer import EvaluationStreamServicer
from services.gateway.rpc.request_keys import request_key

_FORMATS: dict[int, Format | None] = {
    evaluation_pb2.EvaluationManifest.FORMAT_UNSPECIFIED: None,
    evaluation_pb2.EvaluationManifest.FORMAT_JSONL: Format.JSONL,
    evaluation_pb2.EvaluationManifest.FORMAT_PARQUET: Format.PARQUET,
    evaluation_pb2.EvaluationManifest.FORMAT_WEBDATASET: Format.WEBDATASET,
}


class EvaluationServicer(EvaluationStreamServicer):
    """The public evaluation API."""

    def __init__(self, streams: EvaluationStreams, service: EvaluationService) -> None:
        super().__init__(streams)
        self._service = service

    async def UploadManifestPart(
        self, request: pb.UploadManifestPartRequest, context: Any
    ) -> pb.UploadManifestPartResponse:
        """Stores a part of a manifest."""
        content_hash = await self._service.upload_part(current_caller().tenant_id, request.data)
        return pb.UploadManifestPartResponse(content_hash=content_hash)

    async def CreateEvaluation(self, request: pb.CreateEvaluationRequest, context: Any) -> pb.CreateEvaluationResponse:
        """Stores a job."""
        evaluation = await self._service.create(
            current_caller().tenant_id,
            converters.settings_from_proto(request.settings),
            _manifest(request.manifest),
            request.display_name,
            await request_key(request),
        )
        return pb.CreateEvaluationResponse(evaluation=converters.evaluation_to_proto(evaluation))

    async def GetEvaluation(self, request: pb.GetEvaluationRequest, context: Any) -> pb.GetEvaluationResponse:
        """Returns an evaluation."""
        evaluation = await self._service.get(current_caller().tenant_id, evaluation_id("name", request.name))
        return pb.GetEvaluationResponse(evaluation=converters.evaluation_to_proto(evaluation))

    async def ListEvaluations(self, request: pb.ListEvaluationsRequest, context: Any) -> pb.ListEvaluationsResponse:
        """Lists evaluations, newest first."""
        page, token = await self._service.list_page(current_caller().tenant_id, request.page_size, request.page_token)
        evaluations = [converters.evaluation_to_proto(one) for one in page]
        return pb.ListEvaluationsResponse(evaluations=evaluations, next_page_token=token)

    async def WatchEvaluation(
        self, request: pb.WatchEvaluationRequest, context: Any
    ) -> AsyncIterator[pb.WatchEvaluationResponse]:
        """Streams results in order, and the evaluation whenever it has changed."""
        events = self._service.watch(
            current_caller().tenant_id,
            evaluation_id("name", request.name),
            request.from_offset,
            progress_only=request.progress_only,
        )
        async with aclosing(cast(Any, events)):
            async for event in events:
                if isinstance(event, ItemResult):
                    yield pb.WatchEvaluationResponse(result=converters.result_to_proto(event))
                else:
                    yield pb.WatchEvaluationResponse(evaluation=converters.evaluation_to_proto(event))

    async def CancelEvaluation(self, request: pb.CancelEvaluationRequest, context: Any) -> pb.CancelEvaluationResponse:
        """Stops an evaluation."""
        found, key = evaluation_id("name", request.name), await request_key(request)
        evaluation = await self._service.cancel(current_caller().tenant_id, found, key)
        return pb.CancelEvaluationResponse(evaluation=converters.evaluation_to_proto(evaluation))

    async def GetEvaluationReport(
        self, request: pb.GetEvaluationReportRequest, context: Any
    ) -> pb.GetEvaluationReportResponse:
        """Makes a report."""
        evaluation, report = await self._service.report(
            current_caller().tenant_id, evaluation_id("name", request.name), request.baseline
        )
        return pb.GetEvaluationReportResponse(report=report_converters.report_to_proto(evaluation, report))

    async def DeleteEvaluation(self, request: pb.DeleteEvaluationRequest, context: Any) -> pb.DeleteEvaluationResponse:
        """Deletes an evaluation."""
        found, key = evaluation_id("name", request.name), await request_key(request)
        await self._service.delete(current_caller().tenant_id, found, key)
        return pb.DeleteEvaluationResponse()


def _manifest(manifest: evaluation_pb2.EvaluationManifest) -> ManifestInput:
    source = manifest.WhichOneof("source")
    if source is None:
        raise InvalidInputError("manifest", "is missing", allowed="data or parts")
    if manifest.format not in _FORMATS:
        allowed = ", ".join(evaluation_pb2.EvaluationManifest.Format.keys())
        raise InvalidInputError("manifest.format", f"is {manifest.format}", allowed=allowed)
    data = manifest.data if source == "data" else None
    return ManifestInput(data, tuple(manifest.parts.content_hashes), _FORMATS[manifest.format])
