"""A personal metric from its first ranking to scores that follow it, on the real backbone where its weights are."""

from __future__ import annotations

import uuid

import grpc
import pytest
from PIL import Image, ImageFilter

from likeness.gateway.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    image_service_pb2,
    image_service_pb2_grpc,
    profile_service_pb2,
    profile_service_pb2_grpc,
    session_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
)
from likeness.types.v1 import head_pb2, image_pb2, score_pb2
from tests.e2e.pictures import encode, picture

METRIC = "lpips-squeeze"
SECONDS = 120


@pytest.fixture
def profiles(channel: grpc.Channel) -> profile_service_pb2_grpc.ProfileServiceStub:
    """Client of the profile service; tests are skipped without the backbone's weights."""
    catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
    listed = catalog.ListMetrics(catalog_service_pb2.ListMetricsRequest(), timeout=SECONDS)
    if METRIC not in {metric.id for metric in listed.metrics}:
        pytest.skip(next(one.reason for one in listed.absent if one.id == METRIC))
    return profile_service_pb2_grpc.ProfileServiceStub(channel)


def test_a_profile_learns_scores_and_is_rolled_back(
    profiles: profile_service_pb2_grpc.ProfileServiceStub, channel: grpc.Channel
) -> None:
    create = profile_service_pb2.CreateProfileRequest(request_id=str(uuid.uuid4()), profile_id=new_name())
    first = profiles.CreateProfile(create, timeout=SECONDS).profile
    assert first.base_metric == METRIC
    before = scores(channel, METRIC, f"clpips:{first.id}")
    assert [one.raw for one in before[f"clpips:{first.id}"]] == pytest.approx(
        [one.raw for one in before[METRIC]], rel=2e-3
    ), "not fitted, it is LPIPS"

    session_id = ranked_session(channel, f"clpips:{first.id}")
    fit = profile_service_pb2.FitProfileRequest(
        request_id=str(uuid.uuid4()),
        profile_id=first.id,
        session_ids=[session_id],
        rankings=[ranking(picture(64 + 16 * size, 64)) for size in range(4)],
    )
    fitted = profiles.FitProfile(fit, timeout=SECONDS).profile
    assert (fitted.active.number, fitted.ranking_count) == (2, 5)
    assert fitted.active.report.target_count == 5 and fitted.active.report.explanation
    assert fitted.active.report.decision != head_pb2.FIT_DECISION_UNSPECIFIED
    assert profiles.FitProfile(fit, timeout=SECONDS).profile == fitted, "the same request has one effect"
    after = scores(channel, f"clpips:{first.id}")[f"clpips:{first.id}"]
    assert {one.revision for one in after} == {fitted.active.revision}

    back = profile_service_pb2.ActivateProfileVersionRequest(
        request_id=str(uuid.uuid4()), profile_id=first.id, version=1
    )
    assert profiles.ActivateProfileVersion(back, timeout=SECONDS).profile.active == first.active
    again = scores(channel, f"clpips:{first.id}")
    assert again[f"clpips:{first.id}"] == before[f"clpips:{first.id}"]

    delete = profile_service_pb2.DeleteProfileRequest(request_id=str(uuid.uuid4()), profile_id=first.id)
    profiles.DeleteProfile(delete, timeout=SECONDS)
    with pytest.raises(grpc.RpcError) as caught:
        profiles.GetProfile(profile_service_pb2.GetProfileRequest(profile_id=first.id), timeout=SECONDS)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def new_name() -> str:
    """Id of a profile that nobody has."""
    return f"p{uuid.uuid4().hex}"


def changed(target: Image.Image) -> list[bytes]:
    """A picture with less and less of the target in it."""
    return [
        encode(target.filter(ImageFilter.GaussianBlur(1))),
        encode(target.filter(ImageFilter.GaussianBlur(6))),
        encode(target.rotate(180).convert("L").convert("RGB")),
    ]


def ranking(target: Image.Image) -> profile_service_pb2.RankedPictures:
    """An order of changed pictures."""
    pictures = [image_pb2.Image(data=data) for data in changed(target)]
    return profile_service_pb2.RankedPictures(target=image_pb2.Image(data=encode(target)), pictures=pictures)


def ranked_session(channel: grpc.Channel, metric: str) -> str:
    """Id of a session whose two pictures were scored by the metric, and ranked."""
    sessions = session_service_pb2_grpc.SessionServiceStub(channel)
    settings = session_pb2.SessionSettings(metrics=[metric])
    target = image_pb2.Image(data=encode(picture(48, 48)))
    request = session_service_pb2.CreateSessionRequest(target=target, settings=settings)
    name = sessions.CreateSession(request, timeout=SECONDS).session.name
    prompt = session_service_pb2.SubmitPromptRequest(name=name, prompt="a large red car", image_count=2)
    assert list(sessions.SubmitPrompt(prompt, timeout=SECONDS))
    found = sessions.GetSession(session_service_pb2.GetSessionRequest(name=name), timeout=SECONDS)
    candidates = found.rounds[0].candidates
    assert all([score.metric for score in one.scores] == [metric] for one in candidates)
    order = [one.id for one in candidates]
    sessions.RankImages(session_service_pb2.RankImagesRequest(name=name, candidate_ids=order), timeout=SECONDS)
    return name.removeprefix("sessions/")


def scores(channel: grpc.Channel, *metrics: str) -> dict[str, list[score_pb2.Score]]:
    """Scores of changed pictures by metric."""
    target = picture()
    request = image_service_pb2.ScoreImagesRequest(
        target=image_pb2.Image(data=encode(target)),
        candidates=[image_pb2.Image(data=data) for data in changed(target)],
        metrics=metrics,
    )
    answer = image_service_pb2_grpc.ImageServiceStub(channel).ScoreImages(request, timeout=SECONDS)
    return {metric: [one.scores[index] for one in answer.candidates] for index, metric in enumerate(metrics)}
