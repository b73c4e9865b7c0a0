"""Profiles come, are listed, go back and forth between versions, and go."""

from __future__ import annotations

import grpc
import pytest

from likeness.gateway.v1 import profile_service_pb2 as pb
from likeness.types.v1 import head_pb2
from tests.gateway.conftest import Gateway
from tests.gateway.failures import details_of, reason_of
from tests.gateway.profiles.asking import activate, create, delete, fit, get, ranked, refused

pytestmark = pytest.mark.integration

NOT_FOUND = grpc.StatusCode.NOT_FOUND
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def test_new_profile_is_a_copy_of_lpips(gateway: Gateway) -> None:
    profile = await create(gateway, display_name="Ann B.")
    assert (profile.id, profile.display_name, profile.base_metric, profile.parent) == (
        "ann",
        "Ann B.",
        "lpips-squeeze",
        "",
    )
    assert (profile.version_count, profile.ranking_count, profile.active.number) == (1, 0, 1)
    assert profile.active.revision == (await gateway.parts.scorer.get_head("lpips-squeeze")).revision
    assert profile.active.recipe == head_pb2.HEAD_RECIPE_PUBLISHED and not profile.active.HasField("report")
    assert profile.HasField("create_time") and profile.create_time == profile.update_time
    assert await get(gateway) == profile


async def test_child_is_a_copy_of_what_its_parent_scores_by(gateway: Gateway) -> None:
    await create(gateway, "crowd")
    crowd = await fit(gateway, "crowd", rankings=[ranked()])
    child = await create(gateway, "ann", parent="crowd", base_metric="lpips-squeeze")
    assert child.parent == "crowd" and child.base_metric == "lpips-squeeze"
    assert child.active.revision == crowd.active.revision
    assert (child.active.number, child.active.recipe) == (1, head_pb2.HEAD_RECIPE_CONVEX)
    assert not child.active.HasField("report")


async def test_id_that_is_taken(gateway: Gateway) -> None:
    first = await create(gateway)
    error = await refused(create(gateway, display_name="another"))
    assert reason_of(error)[:2] == (grpc.StatusCode.ALREADY_EXISTS, "PROFILE_EXISTS")
    assert await get(gateway) == first


@pytest.mark.parametrize("profile_id", ["", "Ann", "1a", "_a", "a b", "a" * 64, "a.b", "a\x00", "\u00e4nn"])
async def test_bad_ids(gateway: Gateway, profile_id: str) -> None:
    for call in (
        create(gateway, profile_id),
        get(gateway, profile_id),
        fit(gateway, profile_id, rankings=[ranked()]),
        activate(gateway, 1, profile_id),
        delete(gateway, profile_id),
        gateway.profiles.ListProfileVersions(pb.ListProfileVersionsRequest(profile_id=profile_id)),
    ):
        error = await refused(call)
        assert reason_of(error) == (INVALID, "INVALID_FIELD", "profile_id")
        assert "a letter first" in details_of(error)["ErrorInfo"].metadata["allowed"]


async def test_unknown_profiles(gateway: Gateway) -> None:
    for call in (
        get(gateway),
        fit(gateway, rankings=[ranked()]),
        activate(gateway, 1),
        create(gateway, "child", parent="ann"),
        gateway.profiles.ListProfileVersions(pb.ListProfileVersionsRequest(profile_id="ann")),
    ):
        error = await refused(call)
        assert reason_of(error)[:2] == (NOT_FOUND, "PROFILE_NOT_FOUND")
        assert details_of(error)["ResourceInfo"].resource_name == "ann"


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"display_name": "x" * 201}, INVALID, "INVALID_FIELD"),
        ({"parent": "No!"}, INVALID, "INVALID_FIELD"),
        ({"base_metric": "pixels"}, NOT_FOUND, "METRIC_NOT_FOUND"),
        ({"base_metric": "lpips-vgg"}, NOT_FOUND, "METRIC_NOT_FOUND"),
        ({"parent": "crowd", "base_metric": "lpips-vgg"}, INVALID, "INVALID_FIELD"),
    ],
    ids=str,
)
async def test_bad_profiles(gateway: Gateway, fields: dict[str, str], code: grpc.StatusCode, reason: str) -> None:
    await create(gateway, "crowd")
    assert reason_of(await refused(create(gateway, **fields)))[:2] == (code, reason)
    assert reason_of(await refused(get(gateway)))[1] == "PROFILE_NOT_FOUND"


async def test_no_lpips_says_why(gateway: Gateway) -> None:
    gateway.parts.scorer.has_lpips = False
    for base_metric in ("", "lpips-squeeze"):
        error = await refused(create(gateway, base_metric=base_metric))
        assert reason_of(error)[:2] == (NOT_FOUND, "METRIC_NOT_FOUND")
        assert "its weights are not here" in (error.details() or "")


async def test_pages_of_profiles(gateway: Gateway) -> None:
    assert not (await gateway.profiles.ListProfiles(pb.ListProfilesRequest())).profiles
    for profile_id in ("c", "a", "e", "b", "d"):
        await create(gateway, profile_id)
    seen, sizes, token = [], [], ""
    while not sizes or token:
        page = await gateway.profiles.ListProfiles(pb.ListProfilesRequest(page_size=2, page_token=token))
        seen += [one.id for one in page.profiles]
        sizes.append(len(page.profiles))
        token = page.next_page_token
    assert (seen, sizes) == (["a", "b", "c", "d", "e"], [2, 2, 1])
    whole = await gateway.profiles.ListProfiles(pb.ListProfilesRequest(page_size=5))
    assert len(whole.profiles) == 5 and whole.next_page_token == ""


async def test_pages_of_versions(gateway: Gateway) -> None:
    await create(gateway)
    fitted = [await fit(gateway, rankings=[ranked(seed)]) for seed in range(3)]
    first = await gateway.profiles.ListProfileVersions(pb.ListProfileVersionsRequest(profile_id="ann", page_size=3))
    assert [one.number for one in first.versions] == [4, 3, 2]
    assert list(first.versions) == [one.active for one in reversed(fitted)]
    request = pb.ListProfileVersionsRequest(profile_id="ann", page_token=first.next_page_token)
    rest = await gateway.profiles.ListProfileVersions(request)
    assert [one.number for one in rest.versions] == [1] and rest.next_page_token == ""


async def test_page_sizes_below_0_are_refused_and_large_ones_cut(gateway: Gateway) -> None:
    await create(gateway)
    assert len((await gateway.profiles.ListProfiles(pb.ListProfilesRequest(page_size=1_000_000))).profiles) == 1
    for call in (
        gateway.profiles.ListProfiles(pb.ListProfilesRequest(page_size=-1)),
        gateway.profiles.ListProfileVersions(pb.ListProfileVersionsRequest(profile_id="ann", page_size=-1)),
    ):
        assert reason_of(await refused(call)) == (INVALID, "INVALID_FIELD", "page_size")


async def test_token_of_another_list(gateway: Gateway) -> None:
    for profile_id in ("ann", "ben"):
        await create(gateway, profile_id)
        await fit(gateway, profile_id, rankings=[ranked()])
    profiles = await gateway.profiles.ListProfiles(pb.ListProfilesRequest(page_size=1))
    versions = await gateway.profiles.ListProfileVersions(pb.ListProfileVersionsRequest(profile_id="ann", page_size=1))
    for call in (
        gateway.profiles.ListProfiles(pb.ListProfilesRequest(page_token="x")),
        gateway.profiles.ListProfiles(pb.ListProfilesRequest(page_token=versions.next_page_token)),
        gateway.profiles.ListProfileVersions(
            pb.ListProfileVersionsRequest(profile_id="ann", page_token=profiles.next_page_token)
        ),
        gateway.profiles.ListProfileVersions(
            pb.ListProfileVersionsRequest(profile_id="ben", page_token=versions.next_page_token)
        ),
    ):
        assert reason_of(await refused(call)) == (INVALID, "INVALID_FIELD", "page_token")


async def test_roll_back_and_forward(gateway: Gateway) -> None:
    first = await create(gateway)
    fitted = await fit(gateway, rankings=[ranked()])
    back = await activate(gateway, 1)
    assert back.active == first.active
    assert (back.version_count, back.ranking_count) == (2, 1)
    assert back.update_time.ToDatetime() > fitted.update_time.ToDatetime()
    again = await activate(gateway, 1)
    assert again == back, "nothing changed"
    assert (await activate(gateway, 2)).active == fitted.active
    # A fit after a roll back goes on with the numbers.
    await activate(gateway, 1)
    assert (await fit(gateway, rankings=[ranked(1)])).active.number == 3


@pytest.mark.parametrize("version", [-1, 0, 2])
async def test_unknown_versions(gateway: Gateway, version: int) -> None:
    before = await create(gateway)
    error = await refused(activate(gateway, version))
    assert reason_of(error)[:2] == (NOT_FOUND, "PROFILE_VERSION_NOT_FOUND")
    assert "1 to 1" in (error.details() or "")
    assert await get(gateway) == before


async def test_delete(gateway: Gateway) -> None:
    await create(gateway)
    await fit(gateway, rankings=[ranked()])
    await delete(gateway)
    assert reason_of(await refused(get(gateway)))[1] == "PROFILE_NOT_FOUND"
    await delete(gateway)
    again = await create(gateway)
    assert (again.version_count, again.ranking_count) == (1, 0)


async def test_parent_in_use(gateway: Gateway) -> None:
    await create(gateway, "crowd")
    await create(gateway, "ann", parent="crowd")
    error = await refused(delete(gateway, "crowd"))
    assert reason_of(error)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "PROFILE_IN_USE")
    await delete(gateway, "ann")
    await delete(gateway, "crowd")
    assert not (await gateway.profiles.ListProfiles(pb.ListProfilesRequest())).profiles
