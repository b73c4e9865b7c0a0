"""Every field of the contracts by which a caller could name something that is another tenant's, and how it is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from likeness.gateway.v1 import (
    evaluation_pb2,
    image_service_pb2,
    profile_service_pb2,
    race_service_pb2,
    session_pb2,
    session_service_pb2,
)
from likeness.gateway.v1 import evaluation_service_pb2 as eval_pb
from likeness.types.v1 import image_pb2
from tests.gateway.conftest import TARGET
from tests.gateway.evaluations.manifesting import jsonl, pair
from tests.gateway.evaluations.streaming import item
from tests.gateway.races.racing import entrant, target

IMAGE = image_pb2.Image(data=TARGET)
WORDS = {
    *("display_name", "prompt", "prompts", "negative_prompt", "first_prompt", "text"),
    *("item_id", "group", "system", "baseline"),
    *("strategy", "model", "generator_model", "scheduler", "adapter", "base_metric"),
}
"""Fields that name nothing, or what the deployment has for everybody."""
ELSEWHERE = {"page_token", "request_id"}
"""Fields that every method has alike; they have tests of their own."""
MADE = {("CreateProfile", "profile_id")}
"""Fields that name what the call makes."""
NAMELESS = {"ListModels", "ListMetrics", "ListStrategies", "GetStatus", "UploadImage", "UploadManifestPart"}
"""Methods that can name nothing."""


@dataclass(frozen=True)
class Party:
    """A tenant's key, and one thing of each kind that is its own."""

    key: tuple[tuple[str, str], ...]
    things: dict[str, str]

    def __getitem__(self, kind: str) -> str:
        return self.things[kind]


@dataclass(frozen=True)
class Way:
    """A way to name a thing.

    Attributes:
        method: Name of the method; no two services have the same.
        field: Path of the field in its request.
        kind: Kind of the thing.
        request: The request, or requests of a stream, of a party that names this thing.
    """

    method: str
    field: str
    kind: str
    request: Callable[[Party, str], Any]


def _named(kind: str, module: Any, *methods: str, **fields: Any) -> Iterator[Way]:
    """Methods that take a name and what else is given."""
    field = "profile_id" if kind == "profile" else "name"
    for method in methods:
        make = getattr(module, f"{method}Request")
        yield Way(method, field, kind, lambda _, value, make=make: make(**{field: value}, **fields))


def _by_hash(value: str) -> image_pb2.Image:
    return image_pb2.Image(content_hash=value)


def _session(**fields: Any) -> session_service_pb2.CreateSessionRequest:
    return session_service_pb2.CreateSessionRequest(**{"target": IMAGE} | fields)


def _fit(party: Party, **fields: Any) -> profile_service_pb2.FitProfileRequest:
    return profile_service_pb2.FitProfileRequest(profile_id=party["profile"], **fields)


def _ranked(first: image_pb2.Image, second: image_pb2.Image) -> profile_service_pb2.RankedPictures:
    return profile_service_pb2.RankedPictures(target=first, pictures=[second, IMAGE])


def _stream(*items: evaluation_pb2.EvaluationItem, **config: Any) -> list[eval_pb.StreamEvaluationsRequest]:
    requests = [eval_pb.StreamEvaluationsRequest(config=eval_pb.StreamEvaluationsConfig(**config))]
    if items:
        requests.append(eval_pb.StreamEvaluationsRequest(items=eval_pb.EvaluationItems(items=items)))
    return requests


def _metrics(*names: str) -> evaluation_pb2.EvaluationSettings:
    return evaluation_pb2.EvaluationSettings(metrics=names)


def _job(manifest: evaluation_pb2.EvaluationManifest, *metrics: str) -> eval_pb.CreateEvaluationRequest:
    return eval_pb.CreateEvaluationRequest(settings=_metrics(*metrics or ("pixels",)), manifest=manifest)


def _parts(value: str) -> evaluation_pb2.EvaluationManifest:
    return evaluation_pb2.EvaluationManifest(parts=evaluation_pb2.EvaluationManifestParts(content_hashes=[value]))


def _race(**fields: Any) -> race_service_pb2.CreateRaceRequest:
    given = {"targets": [target(0)], "entrants": [entrant("a"), entrant("b")], "metrics": ["pixels"]}
    return race_service_pb2.CreateRaceRequest(**given | fields)


_DATA = evaluation_pb2.EvaluationManifest(data=jsonl([pair(0)]))
_sessions, _images = session_service_pb2, image_service_pb2

WAYS = (
    Way("CreateSession", "target.content_hash", "image", lambda _, value: _session(target=_by_hash(value))),
    Way(
        *("CreateSession", "settings.metrics", "metric"),
        lambda _, value: _session(settings=session_pb2.SessionSettings(metrics=[value])),
    ),
    Way(
        *("CreateSession", "settings.selection_metrics", "metric"),
        lambda _, value: _session(settings=session_pb2.SessionSettings(metrics=[value], selection_metrics=[value])),
    ),
    *_named("session", _sessions, "GetSession", "PauseLoop", "ResumeLoop", "CancelLoop"),
    *_named("session", _sessions, "WatchSession", until_idle=True),
    *_named("session", _sessions, "SubmitFeedback", text="redder"),
    *_named("session", _sessions, "RankImages", candidate_ids=["r1c1", "r1c2"]),
    *_named("session", _sessions, "SubmitPrompt", prompt="rgb 1 2 3"),
    *_named("session", _sessions, "StartLoop"),
    Way(
        *("SubmitFeedback", "candidate_id", "candidate"),
        lambda party, value: _sessions.SubmitFeedbackRequest(name=party["session"], text="redder", candidate_id=value),
    ),
    Way(
        *("RankImages", "candidate_ids", "candidate"),
        lambda party, value: _sessions.RankImagesRequest(name=party["session"], candidate_ids=["r1c1", value]),
    ),
    Way(
        *("WatchSession", "after_cursor", "cursor"),
        lambda party, value: _sessions.WatchSessionRequest(name=party["session"], after_cursor=value, until_idle=True),
    ),
    *_named("profile", profile_service_pb2, "GetProfile", "ListProfileVersions"),
    *_named("profile", profile_service_pb2, "ActivateProfileVersion", version=1),
    Way(
        *("CreateProfile", "parent", "profile"),
        lambda _, value: profile_service_pb2.CreateProfileRequest(profile_id="child", parent=value),
    ),
    *_named("profile", profile_service_pb2, "FitProfile", rankings=[_ranked(IMAGE, IMAGE)]),
    Way("FitProfile", "session_ids", "session id", lambda party, value: _fit(party, session_ids=[value])),
    Way(
        *("FitProfile", "rankings.target.content_hash", "image"),
        lambda party, value: _fit(party, rankings=[_ranked(_by_hash(value), IMAGE)]),
    ),
    Way(
        *("FitProfile", "rankings.pictures.content_hash", "image"),
        lambda party, value: _fit(party, rankings=[_ranked(IMAGE, _by_hash(value))]),
    ),
    Way("GetImage", "content_hash", "image", lambda _, value: _images.GetImageRequest(content_hash=value)),
    # The same bytes lie in the object store, but a part of a manifest is no picture.
    Way("GetImage", "content_hash", "part", lambda _, value: _images.GetImageRequest(content_hash=value)),
    Way(
        *("ScoreImages", "target.content_hash", "image"),
        lambda _, value: _images.ScoreImagesRequest(target=_by_hash(value), candidates=[IMAGE], metrics=["pixels"]),
    ),
    Way(
        *("ScoreImages", "candidates.content_hash", "image"),
        lambda _, value: _images.ScoreImagesRequest(target=IMAGE, candidates=[_by_hash(value)], metrics=["pixels"]),
    ),
    Way(
        *("ScoreImages", "metrics", "metric"),
        lambda _, value: _images.ScoreImagesRequest(target=IMAGE, candidates=[IMAGE], metrics=[value]),
    ),
    Way(
        *("GenerateImages", "initial_image.content_hash", "image"),
        lambda _, value: _images.GenerateImagesRequest(prompt="rgb 1 2 3", initial_image=_by_hash(value), strength=0.5),
    ),
    Way(
        *("GenerateImages", "mask.content_hash", "image"),
        lambda _, value: _images.GenerateImagesRequest(prompt="rgb 1 2 3", initial_image=IMAGE, mask=_by_hash(value)),
    ),
    *_named("evaluation", eval_pb, "GetEvaluation", "WatchEvaluation", "GetEvaluationReport"),
    # First, as its request id counts where an evaluation is made.
    Way("StreamEvaluations", "config.settings.metrics", "metric", lambda _, value: _stream(settings=_metrics(value))),
    Way("StreamEvaluations", "config.evaluation", "evaluation", lambda _, value: _stream(evaluation=value)),
    Way(
        *("StreamEvaluations", "items.items.image.content_hash", "image"),
        lambda _, value: _stream(item(0, image=_by_hash(value)), settings=_metrics("pixels")),
    ),
    Way(
        *("StreamEvaluations", "items.items.target.content_hash", "image"),
        lambda _, value: _stream(item(0, target=_by_hash(value)), settings=_metrics("pixels")),
    ),
    Way("CreateEvaluation", "settings.metrics", "metric", lambda _, value: _job(_DATA, value)),
    Way("CreateEvaluation", "manifest.parts.content_hashes", "part", lambda _, value: _job(_parts(value))),
    # Nor is a picture a part of a manifest.
    Way("CreateEvaluation", "manifest.parts.content_hashes", "image", lambda _, value: _job(_parts(value))),
    *_named("race", race_service_pb2, "GetRace", "WatchRace", "CancelRace"),
    Way(
        *("CreateRace", "targets.image.content_hash", "image"),
        lambda _, value: _race(targets=[target(0, image=_by_hash(value))]),
    ),
    Way("CreateRace", "metrics", "metric", lambda _, value: _race(metrics=[value])),
    Way(
        *("CreateRace", "entrants.selection_metrics", "metric"),
        lambda _, value: _race(entrants=[entrant("a"), entrant("b", selection_metrics=[value])]),
    ),
    # What ends things comes last, for those who try it on their own.
    *_named("evaluation", eval_pb, "CancelEvaluation", "DeleteEvaluation"),
    *_named("race", race_service_pb2, "DeleteRace"),
    *_named("session", _sessions, "DeleteSession"),
    *_named("profile", profile_service_pb2, "DeleteProfile"),
)


def text_fields(method: MethodDescriptor) -> set[str]:
    """Paths of all texts in a method's requests."""
    return set(_texts(method.input_type, ""))


def _texts(kind: Descriptor | None, path: str) -> Iterator[str]:
    assert kind is not None
    if kind.file.package.startswith("google."):
        return
    for one in kind.fields:
        if one.type == FieldDescriptor.TYPE_MESSAGE:
            yield from _texts(one.message_type, f"{path}{one.name}.")
        elif one.type == FieldDescriptor.TYPE_STRING:
            yield path + one.name
