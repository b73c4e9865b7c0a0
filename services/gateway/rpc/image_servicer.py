"""ImageService over gRPC: pictures by content hash, and outside any session scores of pictures and new pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from likeness.gateway.v1 import image_service_pb2 as pb
from likeness.types.v1 import image_pb2, score_pb2
from services.common.errors import InvalidInputError, LikenessError, NotFoundError, Reason
from services.common.profile import Profile
from services.gateway.access.caller import current_caller
from services.gateway.decoding import image_info
from services.gateway.domain import ImageInfo
from services.gateway.generation import ImageGeneration
from services.gateway.personal import all_personal
from services.gateway.ports import CandidateScores, MetricInfo, ObjectStore
from services.gateway.profiles.model import METRIC_PREFIX
from services.gateway.rpc import type_converters as types
from services.gateway.rpc.generation_servicer import GenerationServicer
from services.gateway.rpc.interceptors import request_id_of
from services.gateway.scorable import ScorableImage, Scoring
from services.gateway.sessions import validation
from services.gateway.store.images import ImageRepository

MAX_CANDIDATES = 256
MAX_METRICS = 32
MAX_TEXT_CHARACTERS = 2000
MAX_DECODES = 2
"""Pictures of one call that are decoded at the same time: bounds memory, and leaves workers to other calls."""


class ImageServicer(GenerationServicer):
    """The public image API."""

    def __init__(
        self,
        objects: ObjectStore,
        images: ImageRepository,
        scoring: Scoring,
        profile: Profile,
        generation: ImageGeneration,
    ) -> None:
        super().__init__(generation)
        self._objects = objects
        self._images = images
        self._scoring = scoring
        self._defaults = profile.defaults

    async def UploadImage(self, request: pb.UploadImageRequest, context: Any) -> pb.UploadImageResponse:
        """Stores a picture."""
        info = await image_info(request.data, field="data")
        await self._images.add(current_caller().tenant_id, request.data, info)
        return pb.UploadImageResponse(info=types.image_info_to_proto(info))

    async def GetImage(self, request: pb.GetImageRequest, context: Any) -> pb.GetImageResponse:
        """Returns a stored picture."""
        validation.content_hash("content_hash", request.content_hash)
        info = await self._images.find(current_caller().tenant_id, request.content_hash)
        data = await self._objects.get(request.content_hash)
        return pb.GetImageResponse(data=data, info=types.image_info_to_proto(info))

    async def ScoreImages(self, request: pb.ScoreImagesRequest, context: Any) -> pb.ScoreImagesResponse:
        """Scores candidates; a bad one fails alone."""
        # The scorer need not be there when only personal metrics are asked for.
        known = {} if all_personal(request.metrics) else (await self._scoring.metrics()).offered
        metrics = self._metrics(request, known)
        _check_inputs(request, metrics, known)
        named = await self._named(request)
        target = await named.read(request.target, "target") if request.HasField("target") else None
        found = await asyncio.gather(
            *(_or_error(named.read(image, f"candidates[{index}]")) for index, image in enumerate(request.candidates))
        )
        good = [picture for picture in found if isinstance(picture, ScorableImage)]
        answers = await self._scoring.score(
            target=target,
            text=request.text,
            candidates=good,
            metrics=metrics,
            request_id=request_id_of(context),
            tenant_id=current_caller().tenant_id,
        )
        scores = iter(answers)
        return pb.ScoreImagesResponse(
            candidates=[
                _scores_to_proto(next(scores)) if isinstance(one, ScorableImage) else _error_to_proto(one)
                for one in found
            ]
        )

    def _metrics(self, request: pb.ScoreImagesRequest, known: dict[str, MetricInfo]) -> list[str]:
        """Metrics asked for, or the profile's defaults as far as this deployment and this request allow them."""
        if request.metrics:
            return list(request.metrics)
        target, text = request.HasField("target"), bool(request.text.strip())
        given = {"image-image": target, "image": target, "text-image": text}
        chosen = [name for name in self._defaults.metrics if name in known and given[known[name].input]]
        # A text without a target: the defaults compare pictures, so every metric that reads text is meant.
        return chosen or [name for name, metric in known.items() if given[metric.input]]

    async def _named(self, request: pb.ScoreImagesRequest) -> _Pictures:
        """What is known of the stored pictures that a request names, in one query."""
        named = {image.content_hash for image in (request.target, *request.candidates) if image.content_hash}
        found = await self._images.find_all(current_caller().tenant_id, named) if named else {}
        return _Pictures(found, self._objects)


class _Pictures:
    """Reads the pictures of one request."""

    def __init__(self, stored: Mapping[str, ImageInfo], objects: ObjectStore) -> None:
        self._stored = stored
        self._objects = objects
        self._decodes = asyncio.Semaphore(MAX_DECODES)

    async def read(self, image: image_pb2.Image, field: str) -> ScorableImage:
        match image.WhichOneof("content"):
            case "data":
                data = image.data
                async with self._decodes:
                    info = await image_info(data, field=f"{field}.data")
                return ScorableImage.given(data, info.pixel_hash)
            case "content_hash":
                at = f"{field}.content_hash"
                validation.content_hash(at, image.content_hash)
                if image.content_hash not in self._stored:
                    raise NotFoundError(Reason.IMAGE_NOT_FOUND, "image", image.content_hash, field=at)
                return ScorableImage.stored(self._stored[image.content_hash], self._objects, field=at)
            case _:
                raise InvalidInputError(field, "is empty", allowed="data or content_hash")


async def _or_error(reading: Awaitable[ScorableImage]) -> ScorableImage | LikenessError:
    try:
        return await reading
    except (InvalidInputError, NotFoundError) as error:
        return error


def _check_inputs(request: pb.ScoreImagesRequest, metrics: list[str], known: dict[str, MetricInfo]) -> None:
    if not 1 <= len(request.candidates) <= MAX_CANDIDATES:
        problem, allowed = f"has {len(request.candidates)} pictures", f"1 to {MAX_CANDIDATES}"
        raise InvalidInputError("candidates", problem, allowed=allowed)
    if len(metrics) > MAX_METRICS:
        raise InvalidInputError("metrics", f"has {len(metrics)} metrics", allowed=f"1 to {MAX_METRICS}")
    if len(request.text) > MAX_TEXT_CHARACTERS:
        problem, allowed = f"has {len(request.text):,} characters", f"at most {MAX_TEXT_CHARACTERS:,}"
        raise InvalidInputError("text", problem, allowed=allowed)
    inputs = {known[name].input: name for name in metrics if name in known}
    if personal := [name for name in metrics if name.startswith(METRIC_PREFIX)]:
        inputs["image-image"] = personal[0]
    if not metrics or ("image-image" in inputs and not request.HasField("target")):
        problem = f"metric {inputs['image-image']} needs it" if inputs else "there is nothing to compare with"
        raise InvalidInputError("target", problem, allowed="a picture, or a text for metrics that read text")
    if "text-image" in inputs and not request.text.strip():
        raise InvalidInputError("text", f"metric {inputs['text-image']} needs it", allowed="a text that is not blank")


def _scores_to_proto(scores: CandidateScores) -> pb.ImageScores:
    return pb.ImageScores(
        scores=[types.score_to_proto(score) for score in scores.scores], text_truncated=scores.text_truncated
    )


def _error_to_proto(error: LikenessError) -> pb.ImageScores:
    item = score_pb2.ItemError(reason=error.reason.value, message=error.message, field=error.field)
    return pb.ImageScores(error=item)
