"""request_id: the same write again changes nothing and answers the same, another one under the same id is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from likeness.gateway.v1 import profile_service_pb2 as pb
from services.common.errors import Reason, UnavailableError
from tests.gateway.conftest import Gateway
from tests.gateway.failures import reason_of
from tests.gateway.profiles.asking import create, delete, fit, get, new_id, ranked, refused

pytestmark = pytest.mark.integration


async def test_writes_again_answer_the_same(gateway: Gateway) -> None:
    writes = [
        (gateway.profiles.CreateProfile, pb.CreateProfileRequest(request_id=new_id(), profile_id="ann")),
        (gateway.profiles.FitProfile, fit_request()),
        (gateway.profiles.FitProfile, fit_request()),
        (
            gateway.profiles.ActivateProfileVersion,
            pb.ActivateProfileVersionRequest(request_id=new_id(), profile_id="ann", version=1),
        ),
    ]
    answers = [await call(request) for call, request in writes]
    assert [await call(request) for call, request in writes] == answers
    assert (await get(gateway)) == answers[-1].profile
    assert len(gateway.parts.scorer.fits) == 2
    # The answers outlive the profile.
    await delete(gateway)
    assert [await call(request) for call, request in writes] == answers
    assert reason_of(await refused(get(gateway)))[1] == "PROFILE_NOT_FOUND"


async def test_ten_fits_at_once_under_one_id_are_one(gateway: Gateway) -> None:
    await create(gateway)
    request = fit_request()
    answers = await asyncio.gather(*(gateway.profiles.FitProfile(request) for _ in range(10)))
    assert all(one == answers[0] for one in answers)
    assert (await get(gateway)).version_count == 2 and (await get(gateway)).ranking_count == 1


async def test_delete_again_spares_a_profile_made_since(gateway: Gateway) -> None:
    await create(gateway)
    request = pb.DeleteProfileRequest(request_id=new_id(), profile_id="ann")
    await gateway.profiles.DeleteProfile(request)
    again = await create(gateway)
    await gateway.profiles.DeleteProfile(request)
    assert await get(gateway) == again


async def test_another_body_or_method_under_the_id_is_refused(gateway: Gateway) -> None:
    request_id = new_id()
    await create(gateway, request_id=request_id)
    for call in (
        create(gateway, request_id=request_id, display_name="another"),
        fit(gateway, request_id=request_id, rankings=[ranked()]),
        gateway.profiles.ActivateProfileVersion(
            pb.ActivateProfileVersionRequest(request_id=request_id, profile_id="ann", version=1)
        ),
        gateway.profiles.DeleteProfile(pb.DeleteProfileRequest(request_id=request_id, profile_id="ann")),
    ):
        assert reason_of(await refused(call))[:2] == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert (await get(gateway)).version_count == 1


async def test_call_that_failed_may_come_again_under_its_id(gateway: Gateway) -> None:
    await create(gateway)
    gateway.parts.scorer.failures = [UnavailableError(Reason.BACKEND_UNAVAILABLE, "scorer: unavailable")]
    request = fit_request()
    await refused(gateway.profiles.FitProfile(request))
    assert (await gateway.profiles.FitProfile(request)).profile.active.number == 2


@pytest.mark.parametrize("request_id", ["1"])
async def test_id_that_is_no_uuid(gateway: Gateway, request_id: str) -> None:
    fields: dict[str, Any] = {"request_id": request_id, "profile_id": "ann"}
    for call in (
        gateway.profiles.CreateProfile(pb.CreateProfileRequest(**fields)),
        gateway.profiles.FitProfile(pb.FitProfileRequest(**fields)),
        gateway.profiles.ActivateProfileVersion(pb.ActivateProfileVersionRequest(**fields)),
        gateway.profiles.DeleteProfile(pb.DeleteProfileRequest(**fields)),
    ):
        error = await refused(call)
        assert reason_of(error) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "request_id")


def fit_request() -> pb.FitProfileRequest:
    """A fit of its own id."""
    return pb.FitProfileRequest(request_id=new_id(), profile_id="ann", rankings=[ranked()])
