"""Requests about profiles, and the rankings of one who minds red more than anything."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest

from likeness.gateway.v1 import profile_service_pb2 as pb
from likeness.gateway.v1 import session_service_pb2
from likeness.types.v1 import image_pb2
from tests.gateway.conftest import Gateway
from tests.gateway.doubles import draw

PICTURES = ("rgb 190 200 90", "rgb 150 120 90", "rgb 100 60 90")
"""Prompts of pictures for "rgb 200 60 90", by how far they are in red; green says the opposite."""


def new_id() -> str:
    """A request id."""
    return str(uuid.uuid4())


def image(prompt: str, seed: int = 0) -> image_pb2.Image:
    """A picture by its bytes."""
    return image_pb2.Image(data=draw(prompt, seed))


def ranked(seed: int = 0, **fields: Any) -> pb.RankedPictures:
    """A ranking of PICTURES; another seed is another target with other pictures."""
    pictures = [image(prompt, seed) for prompt in PICTURES]
    return pb.RankedPictures(**{"target": image("rgb 200 60 90", seed), "pictures": pictures, **fields})


async def create(gateway: Gateway, profile_id: str = "ann", **fields: Any) -> pb.Profile:
    """Creates a profile."""
    request = pb.CreateProfileRequest(**{"request_id": new_id(), "profile_id": profile_id, **fields})
    return (await gateway.profiles.CreateProfile(request)).profile


async def fit(gateway: Gateway, profile_id: str = "ann", **fields: Any) -> pb.Profile:
    """Fits a profile."""
    request = pb.FitProfileRequest(**{"request_id": new_id(), "profile_id": profile_id, **fields})
    return (await gateway.profiles.FitProfile(request)).profile


async def activate(gateway: Gateway, version: int, profile_id: str = "ann") -> pb.Profile:
    """Activates a version."""
    request = pb.ActivateProfileVersionRequest(request_id=new_id(), profile_id=profile_id, version=version)
    return (await gateway.profiles.ActivateProfileVersion(request)).profile


async def delete(gateway: Gateway, profile_id: str = "ann") -> None:
    """Deletes a profile."""
    await gateway.profiles.DeleteProfile(pb.DeleteProfileRequest(request_id=new_id(), profile_id=profile_id))


async def get(gateway: Gateway, profile_id: str = "ann") -> pb.Profile:
    """A profile."""
    return (await gateway.profiles.GetProfile(pb.GetProfileRequest(profile_id=profile_id))).profile


async def ranked_session(gateway: Gateway, *orders: list[str]) -> str:
    """Id of a new session with three candidates, ranked by these orders."""
    name = await gateway.create()
    for prompt in PICTURES:
        request = session_service_pb2.SubmitPromptRequest(name=name, prompt=prompt)
        assert [one async for one in gateway.stub.SubmitPrompt(request)]
    for order in orders:
        await rank(gateway, name.removeprefix("sessions/"), order)
    return name.removeprefix("sessions/")


async def rank(gateway: Gateway, session_id: str, order: list[str]) -> None:
    """Ranks candidates of a session."""
    request = session_service_pb2.RankImagesRequest(name=f"sessions/{session_id}", candidate_ids=order)
    await gateway.stub.RankImages(request)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    """The error of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value
