"""Profiles learn from rankings of sessions and of pictures, guarded, and all at once or not at all."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
from sqlalchemy import text

from likeness.gateway.v1 import session_service_pb2
from likeness.types.v1 import head_pb2, image_pb2
from services.common.errors import Reason, UnavailableError
from services.common.heads import Backbone
from services.common.images import content_hash
from services.gateway.decoding import image_info
from services.gateway.profiles.service import FIT_ATTEMPTS
from tests.gateway.conftest import Gateway
from tests.gateway.doubles import draw
from tests.gateway.failures import reason_of
from tests.gateway.profiles.asking import (
    PICTURES,
    activate,
    create,
    delete,
    fit,
    get,
    rank,
    ranked,
    ranked_session,
    refused,
)

pytestmark = pytest.mark.integration


async def test_fit_on_pictures_becomes_the_active_version(gateway: Gateway) -> None:
    before = await create(gateway)
    profile = await fit(gateway, rankings=[ranked(0), ranked(1)])
    assert (profile.version_count, profile.ranking_count, profile.active.number) == (2, 2, 2)
    assert profile.active.revision != before.active.revision
    assert profile.active.recipe == head_pb2.HEAD_RECIPE_CONVEX
    report = profile.active.report
    assert (report.decision, report.ranking_count, report.target_count) == (head_pb2.FIT_DECISION_FITTED, 2, 2)
    assert report.fitted_icc2k == 1.0 and report.learned.agreement.band == "excellent"
    assert not report.learned.agreement.HasField("low") and report.lpips.agreement.low == 0.25
    assert report.spearman_gain.difference == 0.5
    assert await get(gateway) == profile
    # It minds what the person minds: red.
    head = await gateway.server.profiles._heads.active_head("default", "ann", field="metric")
    assert head.array.argmax() == 0 and head.revision == profile.active.revision


async def test_one_target_leaves_nothing_to_hold_out(gateway: Gateway) -> None:
    await create(gateway)
    report = (await fit(gateway, rankings=[ranked(), ranked()])).active.report
    assert report.decision == head_pb2.FIT_DECISION_FITTED_UNCHECKED and report.target_count == 1
    assert not report.HasField("learned") and not report.HasField("fitted_icc2k")


async def test_fall_back_is_stored_with_its_explanation(gateway: Gateway) -> None:
    before = await create(gateway)
    gateway.parts.scorer.refuses = True
    profile = await fit(gateway, rankings=[ranked()])
    assert profile.active.number == 2 and profile.active.revision == before.active.revision
    assert profile.active.recipe == head_pb2.HEAD_RECIPE_PUBLISHED
    assert profile.active.report.decision == head_pb2.FIT_DECISION_PARENT
    assert profile.active.report.explanation == "kept the parent: it agrees better"
    assert profile.ranking_count == 1, "what the person said is kept for the next fit"


async def test_every_fit_learns_from_all_rankings(gateway: Gateway) -> None:
    await create(gateway)
    await fit(gateway, rankings=[ranked(0, places=[3, 3, 1])])
    profile = await fit(gateway, rankings=[ranked(1), ranked(2)])
    assert profile.ranking_count == 3
    parent, sets, _ = gateway.parts.scorer.fits[-1]
    assert [one.places for one in sets] == [(3, 3, 1), (1, 2, 3), (1, 2, 3)]
    assert len({one.target for one in sets}) == 3 and {len(one.differences) for one in sets} == {3}
    assert parent == await gateway.parts.scorer.get_head("lpips-squeeze"), "not the version before"
    values = np.frombuffer(sets[0].differences[2].data, "<f2") / 256
    assert values[0] == pytest.approx(100 / 255, abs=0.05), "red is 100 off"


async def test_fit_again_without_new_rankings(gateway: Gateway) -> None:
    await create(gateway)
    first = await fit(gateway, rankings=[ranked()])
    second = await fit(gateway)
    assert second.active.number == 3 and second.active.revision == first.active.revision
    assert second.ranking_count == 1


async def test_newest_ranking_of_a_session(gateway: Gateway) -> None:
    session = await ranked_session(gateway, ["r1c1", "r2c1"], ["r3c1", "r1c1", "r2c1"])
    await create(gateway)
    profile = await fit(gateway, session_ids=[session], rankings=[ranked(1)])
    assert profile.ranking_count == 2
    sets = gateway.parts.scorer.fits[-1][1]
    assert [one.places for one in sets] == [(1, 2, 3), (1, 2, 3)]
    first = np.frombuffer(sets[0].differences[0].data, "<f2") / 256
    assert first[0] == pytest.approx(100 / 255, abs=0.05), "r3c1 came first"


async def test_ranking_of_a_session_is_replaced_by_its_next(gateway: Gateway) -> None:
    session = await ranked_session(gateway, ["r1c1", "r2c1"])
    await create(gateway)
    await fit(gateway, session_ids=[session], rankings=[ranked(1)])
    await rank(gateway, session, ["r3c1", "r2c1", "r1c1"])
    profile = await fit(gateway, session_ids=[session])
    assert profile.ranking_count == 2
    sets = gateway.parts.scorer.fits[-1][1]
    assert sorted(len(one.differences) for one in sets) == [3, 3]
    assert (await fit(gateway)).ranking_count == 2


async def test_pictures_outlive_their_session(gateway: Gateway) -> None:
    session = await ranked_session(gateway, ["r1c1", "r2c1"])
    await create(gateway)
    before = await fit(gateway, session_ids=[session])
    await gateway.stub.DeleteSession(session_service_pb2.DeleteSessionRequest(name=f"sessions/{session}"))
    assert await gateway.server.images.sweep() == 0
    assert (await fit(gateway)).active.revision == before.active.revision
    # The candidate that nobody ranked is gone, the ranked ones and the target are not.
    assert len(gateway.parts.objects.data) == 3


async def test_pictures_by_hash(gateway: Gateway) -> None:
    data = [draw(prompt, 0) for prompt in ("rgb 200 60 90", *PICTURES)]
    for one in data:
        await gateway.server.images.add("default", one, await image_info(one))
    target, *pictures = [image_pb2.Image(content_hash=content_hash(one)) for one in data]
    await create(gateway)
    by_hash = await fit(gateway, rankings=[ranked(target=target, pictures=pictures)])
    await create(gateway, "ben")
    by_bytes = await fit(gateway, "ben", rankings=[ranked()])
    assert by_hash.active.revision == by_bytes.active.revision


async def test_pictures_by_bytes_are_stored_for_good(gateway: Gateway) -> None:
    await create(gateway)
    await fit(gateway, rankings=[ranked()])
    assert set(gateway.parts.objects.data) == {content_hash(draw(prompt, 0)) for prompt in ("rgb 200 60 90", *PICTURES)}
    await delete(gateway)
    assert await gateway.server.images.sweep() == 0


async def test_learning_leans_towards_siblings(gateway: Gateway) -> None:
    await create(gateway, "crowd")
    await fit(gateway, "crowd", rankings=[ranked(9)])
    heads = {}
    for name in ("ann", "ben", "eve", "new"):
        await create(gateway, name, parent="crowd")
    for name in ("ann", "ben", "eve"):
        gateway.parts.scorer.refuses = name == "eve"
        places = [1, 2, 3] if name == "ann" else [3, 2, 1]
        heads[name] = (await fit(gateway, name, rankings=[ranked(places=places)])).active.revision
    gateway.parts.scorer.refuses = False
    await fit(gateway, "new", rankings=[ranked()])
    parent, _, tastes = gateway.parts.scorer.fits[-1]
    assert parent.revision == (await get(gateway, "crowd")).active.revision
    # Newest first; not the parent, not the one that fell back, not itself.
    assert [one.revision for one in tastes] == [heads["ben"], heads["ann"]]
    await activate(gateway, 1, "ben")
    await fit(gateway, "new")
    assert [one.revision for one in gateway.parts.scorer.fits[-1][2]] == [heads["ann"]]


async def test_fits_at_once_lose_nothing(gateway: Gateway) -> None:
    await create(gateway)
    fitted = await asyncio.gather(*(fit(gateway, rankings=[ranked(seed)]) for seed in range(3)))
    assert sorted(one.active.number for one in fitted) == [2, 3, 4]
    now = await get(gateway)
    assert (now.version_count, now.ranking_count, now.active.report.ranking_count) == (4, 3, 3)


async def test_fit_that_is_overtaken_again_and_again(gateway: Gateway) -> None:
    await create(gateway)
    await fit(gateway, rankings=[ranked()])
    scorer = gateway.parts.scorer
    scorer.gate.clear()
    scorer.held.clear()
    late = asyncio.create_task(refused(fit(gateway, rankings=[ranked(1)])))
    for _ in range(FIT_ATTEMPTS):
        await scorer.held.wait()
        scorer.held.clear()
        await execute(gateway, "UPDATE profiles SET version_count = version_count + 1")
        # Lets the one that waits pass, and holds the next.
        scorer.gate.set()
        scorer.gate.clear()
    error = await late
    assert reason_of(error)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "PROFILE_CHANGED")
    assert (await get(gateway)).ranking_count == 1


async def test_profile_made_anew_meanwhile_gets_nothing_of_the_old(gateway: Gateway) -> None:
    await create(gateway)
    scorer = gateway.parts.scorer
    scorer.gate.clear()
    late = asyncio.create_task(fit(gateway, rankings=[ranked()]))
    await scorer.held.wait()
    await delete(gateway)
    await create(gateway, display_name="new")
    scorer.gate.set()
    fitted = await late
    assert fitted.display_name == "new" and len(scorer.fits) == 2


async def test_new_backbone_is_learned_on_from_its_own_weights(gateway: Gateway) -> None:
    await create(gateway)
    await fit(gateway, rankings=[ranked()])
    redeploy(gateway)
    assert (await fit(gateway)).active.report.ranking_count == 1
    assert gateway.parts.scorer.fits[-1][0].backbone.revision == "b2"


async def test_parent_of_an_old_backbone(gateway: Gateway) -> None:
    await create(gateway, "crowd")
    await create(gateway, parent="crowd")
    redeploy(gateway)
    error = await refused(fit(gateway, rankings=[ranked()]))
    assert reason_of(error)[:2] == (grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE")
    await fit(gateway, "crowd", rankings=[ranked()])
    assert (await fit(gateway, rankings=[ranked()])).active.number == 2


async def test_failed_fit_stores_nothing(gateway: Gateway) -> None:
    before = await create(gateway)
    gateway.parts.scorer.failures = [UnavailableError(Reason.BACKEND_UNAVAILABLE, "scorer: unavailable")]
    error = await refused(fit(gateway, rankings=[ranked()]))
    assert reason_of(error)[:2] == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
    gateway.parts.objects.failures = [UnavailableError(Reason.OBJECT_STORE_UNAVAILABLE, "full")]
    error = await refused(fit(gateway, rankings=[ranked()]))
    assert reason_of(error)[:2] == (grpc.StatusCode.UNAVAILABLE, "OBJECT_STORE_UNAVAILABLE")
    assert await get(gateway) == before and not gateway.parts.objects.data


async def test_picture_collected_while_it_was_learned_from(gateway: Gateway) -> None:
    session = await ranked_session(gateway, ["r1c1", "r2c1"])
    before = await create(gateway)
    scorer = gateway.parts.scorer
    scorer.gate.clear()
    late = asyncio.create_task(refused(fit(gateway, session_ids=[session])))
    await scorer.held.wait()
    await gateway.stub.DeleteSession(session_service_pb2.DeleteSessionRequest(name=f"sessions/{session}"))
    scorer.gate.set()
    assert reason_of(await late)[:2] == (grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND")
    assert await get(gateway) == before


def redeploy(gateway: Gateway) -> None:
    """Other weights under the scorer's LPIPS."""
    gateway.parts.scorer.backbone = Backbone("lpips-squeeze", "b2", (3,))


async def execute(gateway: Gateway, statement: str) -> None:
    """Runs a statement."""
    async with gateway.server.database.transaction() as connection:
        await connection.execute(text(statement))
