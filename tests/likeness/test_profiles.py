"""Personal metrics through the clients: every call, what is sent, what comes back, errors, repetitions."""

from __future__ import annotations

import io
from pathlib import Path

import grpc
import pytest
from PIL import Image

from likeness import (
    AlignmentGain,
    AlreadyExists,
    AsyncClient,
    Client,
    Coefficient,
    FailedPrecondition,
    FitDecision,
    HeadRecipe,
    InvalidArgument,
    LikenessError,
    NotFound,
    RankedPictures,
    to_dict,
)
from tests.likeness.gateway.faults import Fault
from tests.likeness.gateway.profiles import INVALID
from tests.likeness.gateway.server import TestGateway

LOST_ANSWER = Fault(grpc.StatusCode.UNAVAILABLE, after_effect=True)


def rankings(target: bytes, count: int) -> list[RankedPictures]:
    return [(target, [target, target])] * count


def test_a_new_profile_scores_as_its_parent(client: Client) -> None:
    crowd = client.create_profile("crowd", base_metric="lpips-squeeze")
    anna = client.create_profile("anna", parent=crowd, display_name="Anna")
    assert (anna.id, anna.metric, anna.display_name, anna.parent) == ("anna", "clpips:anna", "Anna", "crowd")
    assert (anna.base_metric, anna.version_count, anna.ranking_count) == ("lpips-squeeze", 1, 0)
    assert (anna.active.number, anna.active.recipe, anna.active.report) == (1, HeadRecipe.PUBLISHED, None)
    assert anna.create_time.tzinfo is not None and anna.update_time == anna.active.create_time


def test_a_fit_adds_rankings_and_reports(client: Client, target: bytes) -> None:
    client.create_profile("anna")
    unchecked = client.fit_profile("anna", rankings=rankings(target, 1)).active.report
    assert unchecked is not None and unchecked.fitted_icc2k is unchecked.lpips is unchecked.agreement_gain is None
    assert (unchecked.decision, unchecked.target_count) == (FitDecision.FITTED_UNCHECKED, 1)
    anna = client.fit_profile("anna", rankings=rankings(target, 1))
    assert (anna.ranking_count, anna.version_count, anna.active.number) == (2, 3, 3)
    assert (anna.active.recipe, anna.active.revision) == (HeadRecipe.CONVEX, "rev3")
    report = anna.active.report
    assert report is not None and report.lpips is not None and report.learned is not None
    assert (report.decision, report.ranking_count) == (FitDecision.FITTED, 2)
    assert "0.680" in report.explanation
    assert (report.fitted_icc2k, report.parent_icc2k, report.lpips_icc2k) == (0.68, 0.61, 0.6)
    assert report.lpips.spearman == Coefficient(0.432, None, None, 0.002)
    assert report.learned.agreement == Coefficient(0.68, 0.66, 0.71, 0.0001, "moderate")
    assert report.learned.consistency.band == "good"
    assert report.spearman_gain == AlignmentGain(0.092, 0.061, 0.12, 0.012)
    assert report.agreement_gain == AlignmentGain(0.084, 0.071, 0.1, 0.0001)
    assert report.consistency_gain == AlignmentGain(0.083, -0.07, 0.099, 0.04)
    assert to_dict(anna)["active"]["report"]["decision"] == "fitted"


def test_what_is_undefined_is_none(client: Client, gateway: TestGateway, target: bytes) -> None:
    client.create_profile("anna")
    client.fit_profile("anna", rankings=rankings(target, 2))
    stored = gateway.world.profiles["anna"].profile.active.report
    for field in ("fitted_icc2k", "lpips", "learned", "spearman_gain", "agreement_gain", "consistency_gain"):
        stored.ClearField(field)
    report = client.profile("anna").active.report
    assert report is not None and (report.fitted_icc2k, report.parent_icc2k, report.lpips_icc2k) == (None, 0.61, 0.6)
    assert report.lpips is report.learned is report.spearman_gain is None


def test_rankings_go_as_sessions_and_as_pictures(
    client: Client, gateway: TestGateway, target: bytes, target_file: Path
) -> None:
    session = client.create_session(target)
    info = client.upload_image(target)
    client.create_profile("anna")
    picture = Image.open(io.BytesIO(target))
    client.fit_profile(
        "anna",
        sessions=[session, client.create_session(target).id, session.name],
        rankings=[(target_file, [str(target_file), target]), (info, (picture, info), [2, 1.5])],
    )
    record = gateway.world.profiles["anna"]
    assert record.sessions == {"s1", "s2"}
    first, second = record.rankings
    assert first.target.data == first.pictures[0].data == first.pictures[1].data == target
    assert list(first.places) == [] and list(second.places) == [2, 1.5]
    assert second.target.content_hash == second.pictures[1].content_hash == info.content_hash
    assert Image.open(io.BytesIO(second.pictures[0].data)).tobytes() == picture.tobytes()


@pytest.mark.parametrize(
    "wrong", ["target.png", ("target.png", "best.png"), ("target.png",), ["target.png", ["best.png"]]]
)
def test_a_ranking_of_another_shape_is_a_type_error(client: Client, wrong: object) -> None:
    with pytest.raises(TypeError, match="a ranking is a tuple"):
        client.fit_profile("anna", rankings=[wrong])  # type: ignore[list-item]


def test_a_missing_picture_is_an_os_error(client: Client) -> None:
    with pytest.raises(FileNotFoundError):
        client.fit_profile("anna", rankings=[("nowhere.png", ["a.png", "b.png"])])


def test_versions_are_listed_and_activated(client: Client, target: bytes) -> None:
    client.create_profile("anna")
    for _ in range(4):
        client.fit_profile("anna", rankings=rankings(target, 1))
    versions = list(client.profile_versions("anna", page_size=2))
    assert [version.number for version in versions] == [5, 4, 3, 2, 1]
    assert versions[0].report is not None and versions[-1].report is None
    assert client.activate_profile_version("anna", versions[-1]).active == versions[-1]
    assert client.profile("anna").active.number == 1
    assert client.activate_profile_version("anna", 4).active.number == 4


def test_profiles_are_listed_over_pages_and_deleted(client: Client) -> None:
    for name in ("eve", "bob", "anna", "carl", "dora"):
        client.create_profile(name)
    assert [profile.id for profile in client.profiles(page_size=2)] == ["anna", "bob", "carl", "dora", "eve"]
    client.delete_profile(client.profile("carl"))
    client.delete_profile("carl")
    assert [profile.id for profile in client.profiles()] == ["anna", "bob", "dora", "eve"]


def test_a_profile_scores_wherever_a_metric_is_named(client: Client, target: bytes) -> None:
    anna = client.create_profile("anna")
    score = client.score(target, [target], metrics=[anna.metric])[0].scores[0]
    assert (score.metric, score.revision, score.higher_is_better) == ("clpips:anna", anna.active.revision, False)


def test_errors_have_their_reasons(client: Client, target: bytes) -> None:
    client.create_profile("anna")
    client.create_profile("bob", parent="anna")
    for kind, reason, call in (
        (AlreadyExists, "PROFILE_EXISTS", lambda: client.create_profile("anna")),
        (NotFound, "PROFILE_NOT_FOUND", lambda: client.create_profile("eve", parent="nobody")),
        (NotFound, "METRIC_NOT_FOUND", lambda: client.create_profile("eve", base_metric="ssim")),
        (NotFound, "PROFILE_NOT_FOUND", lambda: client.profile("nobody")),
        (NotFound, "PROFILE_NOT_FOUND", lambda: list(client.profile_versions("nobody"))),
        (NotFound, "PROFILE_VERSION_NOT_FOUND", lambda: client.activate_profile_version("anna", 7)),
        (NotFound, "PROFILE_NOT_FOUND", lambda: client.score(target, [target], metrics=["clpips:nobody"])),
        (NotFound, "SESSION_NOT_FOUND", lambda: client.fit_profile("anna", sessions=["nobody"])),
        (FailedPrecondition, "NO_RANKINGS", lambda: client.fit_profile("anna")),
        (FailedPrecondition, "PROFILE_IN_USE", lambda: client.delete_profile("anna")),
    ):
        with pytest.raises(LikenessError) as caught:
            call()
        assert (type(caught.value), caught.value.reason) == (kind, reason)
    with pytest.raises(InvalidArgument) as blamed:
        client.fit_profile("anna", rankings=[(target, [target, target]), (target, [target])])
    assert blamed.value.field == "rankings[1].pictures"


def test_numbers_that_no_message_can_hold_are_blamed_before_the_call(client: Client) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.activate_profile_version("anna", 2**40)
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", "version")


def test_writes_are_repeated_under_the_same_request_id(client: Client, gateway: TestGateway, target: bytes) -> None:
    methods = ("CreateProfile", "FitProfile", "ActivateProfileVersion", "DeleteProfile")
    for method in methods:
        gateway.faults.add(method, LOST_ANSWER)
    client.create_profile("anna")
    assert client.fit_profile("anna", rankings=rankings(target, 2)).version_count == 2
    assert len(gateway.world.profiles["anna"].rankings) == 2
    assert client.activate_profile_version("anna", 1).active.number == 1
    client.delete_profile("anna")
    assert [gateway.faults.calls[method] for method in methods] == [2] * 4
    assert len(gateway.world.answers) == 4


def test_a_fit_that_others_overtook_is_not_repeated(client: Client, gateway: TestGateway) -> None:
    client.create_profile("anna")
    gateway.faults.add("FitProfile", Fault(grpc.StatusCode.FAILED_PRECONDITION, "PROFILE_CHANGED"))
    with pytest.raises(FailedPrecondition):
        client.fit_profile("anna")
    assert gateway.faults.calls["FitProfile"] == 1


def test_what_a_newer_server_says_is_unknown(client: Client, gateway: TestGateway, target: bytes) -> None:
    client.create_profile("anna")
    client.fit_profile("anna", rankings=rankings(target, 2))
    active = gateway.world.profiles["anna"].profile.active
    active.recipe = active.report.decision = 99
    found = client.profile("anna").active
    assert found.recipe is HeadRecipe.UNKNOWN
    assert found.report is not None and found.report.decision is FitDecision.UNKNOWN


async def test_the_async_client_does_the_same(async_client: AsyncClient, gateway: TestGateway, target: bytes) -> None:
    session = await async_client.create_session(target)
    anna = await async_client.create_profile("anna", display_name="Anna")
    await async_client.create_profile("bob", parent=anna)
    gateway.faults.add("FitProfile", LOST_ANSWER)
    anna = await async_client.fit_profile(anna, sessions=[session], rankings=rankings(target, 1))
    assert anna.active.report is not None and anna.active.report.decision is FitDecision.FITTED
    assert (await async_client.profile("anna")) == anna
    assert [item.id async for item in async_client.profiles(page_size=1)] == ["anna", "bob"]
    assert [item.number async for item in async_client.profile_versions(anna, page_size=1)] == [2, 1]
    assert (await async_client.activate_profile_version(anna, 1)).active.number == 1
    with pytest.raises(FailedPrecondition, match="parent"):
        await async_client.delete_profile(anna)
    await async_client.delete_profile("bob")
    await async_client.delete_profile("anna")
    with pytest.raises(NotFound):
        await async_client.profile("anna")
    gateway.faults.add("CreateProfile", Fault(INVALID, "INVALID_FIELD", field="profile_id"))
    with pytest.raises(InvalidArgument) as caught:
        await async_client.create_profile("No Name")
    assert caught.value.field == "profile_id"
