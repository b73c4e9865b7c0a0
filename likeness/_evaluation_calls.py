"""Every call of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from google.protobuf.message import Message

from likeness import _evaluation_convert as convert
from likeness import _types as t
from likeness._call import Call, Result, build, new_id, service_call
from likeness._options import EvaluationOptions, StreamEvaluationOptions, checked
from likeness.gateway.v1 import evaluation_pb2
from likeness.gateway.v1 import evaluation_service_pb2 as pb

PART_BYTES = 8 * 1024 * 1024
"""Of a manifest in one call: small enough to be sent again when a connection breaks."""

Manifest = str | Path | bytes
"""A file, or the bytes of one."""

_FORMATS = {
    None: evaluation_pb2.EvaluationManifest.FORMAT_UNSPECIFIED,
    t.ManifestFormat.JSONL: evaluation_pb2.EvaluationManifest.FORMAT_JSONL,
    t.ManifestFormat.PARQUET: evaluation_pb2.EvaluationManifest.FORMAT_PARQUET,
    t.ManifestFormat.WEBDATASET: evaluation_pb2.EvaluationManifest.FORMAT_WEBDATASET,
}


def evaluation_name(value: t.Evaluation | str) -> str:
    """Resource name of an evaluation, given as object, as name or as bare id."""
    name = value.name if isinstance(value, t.Evaluation) else value
    return name if name.startswith("evaluations/") or not name else f"evaluations/{name}"


def parts(manifest: Manifest) -> Iterator[bytes]:
    """The bytes of a manifest, a part at a time. OSError if the file cannot be read."""
    if isinstance(manifest, bytes):
        yield from (manifest[start : start + PART_BYTES] for start in range(0, len(manifest), PART_BYTES))
        return
    with Path(manifest).open("rb") as file:
        yield from _read(file)


def upload_part(data: bytes) -> Call[str]:
    request = build(pb.UploadManifestPartRequest, data=data)
    return _call("UploadManifestPart", request, pb.UploadManifestPartResponse, lambda answer: str(answer.content_hash))


def create_evaluation(
    content_hashes: Sequence[str], options: EvaluationOptions, *, request_id: str = ""
) -> Call[t.Evaluation]:
    given = checked(options, EvaluationOptions)
    display_name, format_ = given.pop("display_name", ""), given.pop("format", None)
    request = build(
        pb.CreateEvaluationRequest,
        request_id=request_id or new_id(),
        settings=_settings(given),
        manifest=evaluation_pb2.EvaluationManifest(
            parts=evaluation_pb2.EvaluationManifestParts(content_hashes=content_hashes),
            format=_FORMATS[format_],
        ),
        display_name=display_name,
    )
    return _evaluation_call("CreateEvaluation", request, pb.CreateEvaluationResponse)


def stream_evaluations(
    name: t.Evaluation | str, options: StreamEvaluationOptions
) -> Call[pb.StreamEvaluationsResponse]:
    """The call of a stream; its request is the first one."""
    given = checked(options, StreamEvaluationOptions)
    display_name = given.pop("display_name", "")
    request_id = new_id()
    config = build(
        pb.StreamEvaluationsConfig,
        prefix="config.",
        evaluation=evaluation_name(name),
        # One that is gone on with has its settings.
        settings=_settings(given) if given or not name else None,
        display_name=display_name,
        request_id="" if name else request_id,
    )
    return Call(
        "/likeness.gateway.v1.EvaluationService/StreamEvaluations",
        pb.StreamEvaluationsRequest(config=config),
        pb.StreamEvaluationsResponse,
        lambda answer: answer,
        request_id=request_id,
    )


def get_evaluation(name: t.Evaluation | str) -> Call[t.Evaluation]:
    request = build(pb.GetEvaluationRequest, name=evaluation_name(name))
    return _evaluation_call("GetEvaluation", request, pb.GetEvaluationResponse)


def list_evaluations(page_size: int, page_token: str) -> Call[tuple[tuple[t.Evaluation, ...], str]]:
    request = build(pb.ListEvaluationsRequest, page_size=page_size, page_token=page_token)
    return _call("ListEvaluations", request, pb.ListEvaluationsResponse, convert.evaluation_page)


def watch_evaluation(
    name: t.Evaluation | str, from_offset: int, *, progress_only: bool
) -> Call[t.Evaluation | t.EvaluationResult]:
    request = build(
        pb.WatchEvaluationRequest,
        name=evaluation_name(name),
        from_offset=from_offset,
        progress_only=progress_only,
    )
    return _call("WatchEvaluation", request, pb.WatchEvaluationResponse, convert.update)


def cancel_evaluation(name: t.Evaluation | str) -> Call[t.Evaluation]:
    request = build(pb.CancelEvaluationRequest, name=evaluation_name(name), request_id=new_id())
    return _evaluation_call("CancelEvaluation", request, pb.CancelEvaluationResponse)


def delete_evaluation(name: t.Evaluation | str) -> Call[None]:
    request = build(pb.DeleteEvaluationRequest, name=evaluation_name(name), request_id=new_id())
    return _call("DeleteEvaluation", request, pb.DeleteEvaluationResponse, lambda _: None)


def evaluation_report(name: t.Evaluation | str, baseline: str) -> Call[t.EvaluationReport]:
    request = build(pb.GetEvaluationReportRequest, name=evaluation_name(name), baseline=baseline)
    return _call("GetEvaluationReport", request, pb.GetEvaluationReportResponse, convert.report)


def _settings(given: dict[str, Any]) -> evaluation_pb2.EvaluationSettings:
    metrics, images = given.pop("metrics", ()), given.pop("images", None)
    generation = None
    if images is not None:
        generation = build(evaluation_pb2.EvaluationGeneration, prefix="settings.generation.", count=images, **given)
    elif given:
        raise TypeError(f"{next(iter(given))!r} says how pictures are made, and needs images")
    return build(evaluation_pb2.EvaluationSettings, prefix="settings.", metrics=metrics, generation=generation)


def _read(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(PART_BYTES):
        yield part


def _call(method: str, request: Message, response: type[Message], read: Callable[[Any], Result]) -> Call[Result]:
    return service_call("EvaluationService", method, request, response, read)


def _evaluation_call(method: str, request: Message, response: type[Message]) -> Call[t.Evaluation]:
    return _call(method, request, response, lambda answer: convert.evaluation(answer.evaluation))
