"""Personal metrics: what is compared, what is shared and kept, and when the scorer is not needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.cluster.redis_server import RedisServer
from services.common.errors import InvalidInputError, NotFoundError, Reason, UnavailableError
from services.common.heads import Backbone, Head, head_of
from services.gateway import batches
from services.gateway import scoring as module
from services.gateway.backends.clients import ScorerClient
from services.gateway.cache import VectorCache
from services.gateway.scoring import CachedScoring
from tests.gateway_io.seam import Backends
from tests.gateway_io.seam_pictures import difference
from tests.gateway_io.seam_scorer import BACKBONE, Profiles
from tests.gateway_io.test_scoring import BLUE, GREEN, RED, Drawn, scorable, score

pytestmark = pytest.mark.integration

HALF = scorable("#800000")
ANNA, BEN = head_of(BACKBONE, [0.5, 0.25, 0]), head_of(BACKBONE, [0, 0.125, 2])


@pytest.fixture
def profiles() -> Profiles:
    return Profiles({"anna": ANNA, "ben": BEN})


@pytest_asyncio.fixture
async def scoring(backends: Backends, redis: RedisServer, profiles: Profiles) -> AsyncIterator[CachedScoring]:
    scorer, cache = ScorerClient(backends.address), VectorCache(redis.url, ttl_seconds=100)
    yield CachedScoring(scorer, cache, profiles)
    await cache.close()
    await scorer.close()


def expected(head: Head, candidate: Drawn, target: Drawn = RED) -> float:
    return pytest.approx(float(difference(target.data, candidate.data) @ head.array), rel=2**-10)  # type: ignore[no-any-return]


async def test_a_score_is_the_heads_distance(scoring: CachedScoring) -> None:
    answers = await score(scoring, [BLUE, RED, HALF], ["clpips:anna"])
    scores = [answer.scores[0] for answer in answers]
    assert [one.raw for one in scores] == [expected(ANNA, one) for one in (BLUE, RED, HALF)]
    assert scores[0].raw == 0.5 and scores[1].raw == 0.0
    assert [one.normalized for one in scores] == [1 - one.raw for one in scores]
    first = scores[0]
    assert (first.metric, first.revision, first.higher_is_better) == ("clpips:anna", ANNA.revision, False)
    assert (first.minimum, first.maximum, first.error) == (0.0, None, None)


async def test_a_distance_beyond_one_is_no_likeness_at_all(scoring: CachedScoring) -> None:
    answers = await score(scoring, [BLUE], ["clpips:ben"])
    assert (answers[0].scores[0].raw, answers[0].scores[0].normalized) == (2.0, 0.0)


async def test_personal_and_other_metrics_come_in_the_order_asked_for(
    backends: Backends, scoring: CachedScoring
) -> None:
    metrics = ["clpips:ben", "mean", "clpips:anna", "pixels", "clpips:ben"]
    answers = await score(scoring, [GREEN, RED, GREEN], metrics)
    assert [[one.metric for one in answer.scores] for answer in answers] == [metrics] * 3
    for answer, candidate in zip(answers, (GREEN, RED, GREEN), strict=True):
        assert [answer.scores[0].raw, answer.scores[2].raw] == [expected(BEN, candidate), expected(ANNA, candidate)]
        assert answer.scores[4] == answer.scores[0]
    assert [answer.scores[3].raw for answer in answers] == [0, 1, 0]
    assert list(backends.scorer.scored[0].metrics) == ["mean", "pixels"], "the scorer knows no profiles"


async def test_profiles_of_one_backbone_share_the_vectors(backends: Backends, scoring: CachedScoring) -> None:
    await score(scoring, [BLUE, GREEN, BLUE], ["clpips:anna", "clpips:ben"])
    sent = [[one.data for one in request.candidates] for request in backends.scorer.compared]
    assert sent == [[BLUE.data, GREEN.data]], "each picture once, for both"


async def test_only_new_pairs_are_compared(backends: Backends, scoring: CachedScoring) -> None:
    await score(scoring, [BLUE], ["clpips:anna"])
    answers = await score(scoring, [GREEN, BLUE], ["clpips:anna"])
    assert [answer.scores[0].raw for answer in answers] == [expected(ANNA, GREEN), expected(ANNA, BLUE)]
    await score(scoring, [BLUE], ["clpips:anna"], target=GREEN)
    pairs = [(request.target.data, [one.data for one in request.candidates]) for request in backends.scorer.compared]
    assert pairs == [(RED.data, [BLUE.data]), (RED.data, [GREEN.data]), (GREEN.data, [BLUE.data])]
    assert (backends.scorer.compared[0].metric, backends.scorer.compared[0].request_id) == ("channels", "r")


async def test_what_is_cached_is_scored_without_the_scorer_by_every_later_head(
    backends: Backends, scoring: CachedScoring, profiles: Profiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    await score(scoring, [BLUE, GREEN], ["clpips:anna"])
    calls = list(backends.scorer.calls)
    await backends.stop()
    monkeypatch.setattr(module, "CATALOG_SECONDS", 0)
    profiles.heads["anna"] = head_of(BACKBONE, [0.25, 0.125, 1])
    answers = await score(scoring, [GREEN, BLUE], ["clpips:anna", "clpips:ben"])
    assert [answer.scores[0].raw for answer in answers] == [
        expected(profiles.heads["anna"], GREEN),
        expected(profiles.heads["anna"], BLUE),
    ]
    assert answers[0].scores[0].revision == profiles.heads["anna"].revision != ANNA.revision
    assert backends.scorer.calls == calls


async def test_concurrent_callers_share_one_comparison(backends: Backends, scoring: CachedScoring) -> None:
    backends.scorer.gate = asyncio.Event()
    first = asyncio.create_task(score(scoring, [BLUE], ["clpips:anna"]))
    while "Compare" not in backends.scorer.calls:
        await asyncio.sleep(0.01)
    second = asyncio.create_task(score(scoring, [BLUE], ["clpips:ben"]))
    await asyncio.sleep(0.05)
    backends.scorer.gate.set()
    assert (await first)[0].scores[0].raw == expected(ANNA, BLUE)
    assert (await second)[0].scores[0].raw == expected(BEN, BLUE)
    assert backends.scorer.calls.count("Compare") == 1


async def test_without_redis_everything_is_compared_again(
    backends: Backends, scoring: CachedScoring, redis: RedisServer
) -> None:
    await redis.stop()
    for _ in range(2):
        answers = await score(scoring, [BLUE], ["clpips:anna", "clpips:ben"])
        assert [one.raw for one in answers[0].scores] == [expected(ANNA, BLUE), expected(BEN, BLUE)]
    assert backends.scorer.calls.count("Compare") == 2


async def test_another_backbone_asks_for_a_new_fit(backends: Backends, scoring: CachedScoring) -> None:
    backends.scorer.backbone_revision = "b2"
    with pytest.raises(
        UnavailableError, match=r"clpips:anna was fitted on channels .* fit the profile again"
    ) as caught:
        await score(scoring, [BLUE], ["mean", "clpips:anna"])
    assert (caught.value.reason, caught.value.retry_after_seconds) == (Reason.MODEL_UNAVAILABLE, None)
    assert "Score" not in backends.scorer.calls


async def test_vectors_of_two_preprocessings_are_never_mixed(backends: Backends, scoring: CachedScoring) -> None:
    await score(scoring, [BLUE], ["clpips:anna"])
    backends.scorer.pair_preprocessing = "pair-2"
    # BLUE is cached as pair-1 and GREEN comes as pair-2: both are compared by the scorer of now.
    await score(scoring, [BLUE, GREEN], ["clpips:anna"])
    assert [one.data for one in backends.scorer.compared[-1].candidates] == [BLUE.data]
    calls = len(backends.scorer.calls)
    await score(scoring, [BLUE, GREEN], ["clpips:anna"])
    assert len(backends.scorer.calls) == calls, "both are cached as pair-2 by now"


async def test_an_unknown_profile_is_blamed_on_its_place(backends: Backends, scoring: CachedScoring) -> None:
    with pytest.raises(NotFoundError) as caught:
        await score(scoring, [BLUE], ["mean", "clpips:anna", "clpips:carl"])
    assert (caught.value.reason, caught.value.field) == (Reason.PROFILE_NOT_FOUND, "metrics[2]")
    assert backends.scorer.calls == []


async def test_a_profile_of_a_metric_that_is_absent_says_what_it_lacks(
    scoring: CachedScoring, profiles: Profiles
) -> None:
    profiles.heads["dora"] = head_of(Backbone("heavy", "b1", (3,)), [1, 1, 1])
    with pytest.raises(NotFoundError, match="'heavy' does not exist: its weights are not here") as caught:
        await score(scoring, [BLUE], ["mean", "clpips:dora"])
    assert (caught.value.reason, caught.value.field) == (Reason.METRIC_NOT_FOUND, "metrics[1]")


async def test_a_personal_metric_needs_a_target(scoring: CachedScoring) -> None:
    with pytest.raises(InvalidInputError, match="metric clpips:anna needs it") as caught:
        await score(scoring, [BLUE], ["clpips:anna"], target=None)
    assert caught.value.field == "target"


async def test_known_pictures_are_not_even_read(scoring: CachedScoring) -> None:
    near, far = scorable("#fe0000"), scorable("#0000fe")
    await score(scoring, [near, far], ["clpips:anna"], target=RED)
    reads = len(near.reads), len(far.reads), len(RED.reads)
    assert reads[:2] == (1, 1)
    await score(scoring, [far, near], ["clpips:ben", "clpips:anna"], target=RED)
    assert (len(near.reads), len(far.reads), len(RED.reads)) == reads


async def test_a_candidate_too_large_beside_its_target_is_named(
    scoring: CachedScoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = scorable("blue", side=64)
    await score(scoring, [BLUE], ["clpips:anna"])
    monkeypatch.setattr(batches, "MAX_CALL_BYTES", len(RED.data) + len(large.data) - 1)
    with pytest.raises(InvalidInputError) as caught:
        # The first is cached, so that the large one is the first that the scorer would be sent.
        await score(scoring, [BLUE, large], ["clpips:anna"])
    assert caught.value.field == "candidates[1]"


async def test_nothing_to_score_costs_nothing(backends: Backends, scoring: CachedScoring) -> None:
    assert await score(scoring, [], ["clpips:anna"]) == []
    assert "Compare" not in backends.scorer.calls
