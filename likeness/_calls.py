"""Every call of sessions, pictures and the catalogue: path, request, how to read the answer.

A call may be repeated if it only reads, or if it carries a request id, which makes the server answer a repetition with
the stored answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import Message

from likeness import _catalog_convert, _image_convert, _session_convert
from likeness import _types as t
from likeness._call import Call, Result, build, new_id, service_call
from likeness._images import to_bytes, to_message
from likeness._options import GenerationOptions, LoopOptions, SessionOptions, checked
from likeness.gateway.v1 import catalog_service_pb2 as catalog
from likeness.gateway.v1 import image_service_pb2 as image
from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as session
from likeness.types.v1 import understanding_pb2


def session_name(value: t.Session | str) -> str:
    """Resource name of a session, given as object, as name or as bare id."""
    name = value.name if isinstance(value, t.Session) else value
    return name if name.startswith("sessions/") or not name else f"sessions/{name}"


def _session_call(
    method: str, request: Message, response: type[Message], convert: Callable[[Any], Result]
) -> Call[Result]:
    return service_call("SessionService", method, request, response, convert)


def create_session(target: t.ImageSource, options: SessionOptions) -> Call[t.Session]:
    settings = checked(options, SessionOptions)
    request = build(
        session.CreateSessionRequest,
        target=to_message(target),
        display_name=settings.pop("display_name", ""),
        settings=build(session_pb2.SessionSettings, prefix="settings.", **settings),
        request_id=new_id(),
    )
    return _session_call(
        "CreateSession", request, session.CreateSessionResponse, lambda answer: _session_convert.session(answer.session)
    )


def get_session(name: t.Session | str) -> Call[t.SessionDetails]:
    request = build(session.GetSessionRequest, name=session_name(name))
    return _session_call("GetSession", request, session.GetSessionResponse, _session_convert.session_details)


def list_sessions(page_size: int, page_token: str) -> Call[tuple[tuple[t.Session, ...], str]]:
    request = build(session.ListSessionsRequest, page_size=page_size, page_token=page_token)
    return _session_call("ListSessions", request, session.ListSessionsResponse, _session_convert.session_page)


def delete_session(name: t.Session | str) -> Call[None]:
    request = build(session.DeleteSessionRequest, name=session_name(name), request_id=new_id())
    return _session_call("DeleteSession", request, session.DeleteSessionResponse, lambda _: None)


def start_loop(name: t.Session | str, options: LoopOptions) -> Call[t.Session]:
    request = build(
        session.StartLoopRequest,
        name=session_name(name),
        settings=build(session_pb2.LoopSettings, prefix="settings.", **checked(options, LoopOptions)),
        request_id=new_id(),
    )
    return _session_call(
        "StartLoop", request, session.StartLoopResponse, lambda answer: _session_convert.session(answer.session)
    )


def pause_loop(name: t.Session | str, at_once: bool) -> Call[t.Session]:
    request = build(session.PauseLoopRequest, name=session_name(name), at_once=at_once, request_id=new_id())
    return _session_call(
        "PauseLoop", request, session.PauseLoopResponse, lambda answer: _session_convert.session(answer.session)
    )


def resume_loop(name: t.Session | str) -> Call[t.Session]:
    request = build(session.ResumeLoopRequest, name=session_name(name), request_id=new_id())
    return _session_call(
        "ResumeLoop", request, session.ResumeLoopResponse, lambda answer: _session_convert.session(answer.session)
    )


def cancel_loop(name: t.Session | str) -> Call[t.Session]:
    request = build(session.CancelLoopRequest, name=session_name(name), request_id=new_id())
    return _session_call(
        "CancelLoop", request, session.CancelLoopResponse, lambda answer: _session_convert.session(answer.session)
    )


def submit_feedback(
    name: t.Session | str, text: str, aspect: t.Aspect | None, candidate_id: str
) -> Call[t.RevisedPrompt]:
    request = build(
        session.SubmitFeedbackRequest,
        name=session_name(name),
        text=text,
        aspect=None if aspect is None else understanding_pb2.Aspect.Value(f"ASPECT_{aspect.name}"),
        candidate_id=candidate_id,
        request_id=new_id(),
    )
    return _session_call("SubmitFeedback", request, session.SubmitFeedbackResponse, _session_convert.revised_prompt)


def rank_images(name: t.Session | str, candidate_ids: Sequence[str]) -> Call[t.Ranking]:
    request = build(
        session.RankImagesRequest, name=session_name(name), candidate_ids=candidate_ids, request_id=new_id()
    )
    return _session_call(
        "RankImages", request, session.RankImagesResponse, lambda answer: _session_convert.ranking(answer.ranking)
    )


def submit_prompt(name: t.Session | str, prompt: str, image_count: int | None) -> Call[session_pb2.SessionEvent]:
    request = build(
        session.SubmitPromptRequest,
        name=session_name(name),
        prompt=prompt,
        image_count=image_count,
        request_id=new_id(),
    )
    return _session_call("SubmitPrompt", request, session.SubmitPromptResponse, lambda answer: answer.event)


def watch(name: t.Session | str, after_cursor: str, until_idle: bool) -> Call[session_pb2.SessionEvent]:
    request = build(
        session.WatchSessionRequest, name=session_name(name), after_cursor=after_cursor, until_idle=until_idle
    )
    return _session_call("WatchSession", request, session.WatchSessionResponse, lambda answer: answer.event)


def upload_image(source: t.ImageSource) -> Call[t.ImageInfo]:
    if isinstance(source, t.ImageInfo):
        raise TypeError("an ImageInfo is the address of a picture that is stored already")
    return Call(
        "/likeness.gateway.v1.ImageService/UploadImage",
        image.UploadImageRequest(data=to_bytes(source)),
        image.UploadImageResponse,
        lambda answer: _image_convert.image_info(answer.info),
    )


def get_image(picture: t.ImageInfo | str) -> Call[bytes]:
    content_hash = picture.content_hash if isinstance(picture, t.ImageInfo) else picture
    return Call(
        "/likeness.gateway.v1.ImageService/GetImage",
        build(image.GetImageRequest, content_hash=content_hash),
        image.GetImageResponse,
        lambda answer: bytes(answer.data),
    )


def score(
    target: t.ImageSource | None, candidates: Sequence[t.ImageSource], text: str, metrics: Sequence[str]
) -> Call[tuple[t.ImageScores, ...]]:
    request = build(
        image.ScoreImagesRequest,
        target=None if target is None else to_message(target),
        text=text,
        candidates=[to_message(item) for item in candidates],
        metrics=metrics,
    )
    return Call(
        "/likeness.gateway.v1.ImageService/ScoreImages", request, image.ScoreImagesResponse, _image_convert.image_scores
    )


def generate_images(prompt: str, options: GenerationOptions) -> Call[t.GenerationEvent | None]:
    given = checked(options, GenerationOptions)
    given["preview_interval_steps"] = given.pop("preview_every", 0)
    for name in ("initial_image", "mask"):
        if given.get(name) is not None:
            given[name] = to_message(given[name])
    if "priority" in given:
        given["priority"] = f"PRIORITY_{given['priority'].upper()}"
    request = build(image.GenerateImagesRequest, prompt=prompt, request_id=new_id(), **given)
    return service_call(
        "ImageService", "GenerateImages", request, image.GenerateImagesResponse, _image_convert.generation_event
    )


def _catalog_call(
    method: str, request: Message, response: type[Message], convert: Callable[[Any], Result]
) -> Call[Result]:
    return service_call("CatalogService", method, request, response, convert)


def models() -> Call[t.ModelList]:
    return _catalog_call(
        "ListModels", catalog.ListModelsRequest(), catalog.ListModelsResponse, _catalog_convert.model_list
    )


def metrics() -> Call[tuple[t.Metric, ...]]:
    return _catalog_call(
        "ListMetrics", catalog.ListMetricsRequest(), catalog.ListMetricsResponse, _catalog_convert.metrics
    )


def absent_metrics() -> Call[tuple[t.AbsentMetric, ...]]:
    return _catalog_call(
        "ListMetrics", catalog.ListMetricsRequest(), catalog.ListMetricsResponse, _catalog_convert.absent_metrics
    )


def strategies() -> Call[tuple[t.Strategy, ...]]:
    return _catalog_call(
        "ListStrategies", catalog.ListStrategiesRequest(), catalog.ListStrategiesResponse, _catalog_convert.strategies
    )


def status() -> Call[t.Status]:
    return _catalog_call("GetStatus", catalog.GetStatusRequest(), catalog.GetStatusResponse, _catalog_convert.status)
