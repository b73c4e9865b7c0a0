"""Scores through cache and scorer: what is embedded, what is sent, and in which order the answers come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
import pytest_asyncio

from services.cluster.redis_server import RedisServer
from services.common import images
from services.common.errors import InvalidInputError, NotFoundError, OverloadedError, Reason
from services.gateway import batches
from services.gateway.backends.clients import ScorerClient
from services.gateway.cache import VectorCache
from services.gateway.ports import CandidateScores
from services.gateway.scorable import ScorableImage
from services.gateway.scoring import CachedScoring
from tests.gateway_io.seam import Backends
from tests.gateway_io.seam_pictures import picture
from tests.gateway_io.seam_scorer import Profiles

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Drawn(ScorableImage):
    """A picture whose bytes can be looked at, and that remembers being read."""

    data: bytes
    reads: list[bytes]


def scorable(color: str, side: int = 16) -> Drawn:
    data, reads = picture(color, side), list[bytes]()

    async def read() -> bytes:
        reads.append(data)
        return data

    return Drawn(images.decode(data).pixel_hash, len(data), read, data, reads)


RED, BLUE, GREEN = scorable("red"), scorable("blue"), scorable("lime")


@pytest_asyncio.fixture
async def scoring(backends: Backends, redis: RedisServer) -> AsyncIterator[CachedScoring]:
    scorer, cache = ScorerClient(backends.address), VectorCache(redis.url, ttl_seconds=100)
    yield CachedScoring(scorer, cache, Profiles())
    await cache.close()
    await scorer.close()


async def score(
    scoring: CachedScoring,
    candidates: Sequence[ScorableImage],
    metrics: list[str],
    target: ScorableImage | None = RED,
    text: str = "",
) -> list[CandidateScores]:
    return await scoring.score(
        target=target, text=text, candidates=candidates, metrics=metrics, request_id="r", tenant_id="t"
    )


async def test_scores_keep_the_order_of_candidates_and_metrics(scoring: CachedScoring) -> None:
    answers = await score(scoring, [BLUE, RED, GREEN, RED], ["pixels", "mean"])
    assert [[one.metric for one in answer.scores] for answer in answers] == [["pixels", "mean"]] * 4
    assert [answer.scores[0].raw for answer in answers] == [0, 1, 0, 1]
    assert [answer.scores[1].raw for answer in answers] == [pytest.approx(1 / 3), 1, pytest.approx(1 / 3), 1]


async def test_known_pictures_are_not_embedded_again_and_bytes_stay_here(
    backends: Backends, scoring: CachedScoring
) -> None:
    await score(scoring, [BLUE, RED, BLUE], ["mean"])
    assert sorted(backends.scorer.embedded) == sorted([RED.data, BLUE.data]), "each picture once, the target too"
    await score(scoring, [BLUE, GREEN], ["mean"])
    assert backends.scorer.embedded[2:] == [GREEN.data]
    reads = len(BLUE.reads)
    await score(scoring, [BLUE, GREEN], ["mean"])
    assert len(BLUE.reads) == reads, "nothing needs its bytes"
    for request in backends.scorer.scored:
        assert not request.target.HasField("image")
        assert not any(candidate.HasField("image") for candidate in request.candidates)


async def test_pixel_metrics_get_bytes_and_no_embedding(backends: Backends, scoring: CachedScoring) -> None:
    await score(scoring, [BLUE], ["pixels"])
    assert backends.scorer.embedded == []
    assert backends.scorer.scored[0].candidates[0].image.data == BLUE.data


async def test_text_metrics_need_no_target(backends: Backends, scoring: CachedScoring) -> None:
    answers = await score(scoring, [BLUE, RED], ["mean-text"], target=None, text="red")
    assert [answer.scores[0].raw for answer in answers] == [pytest.approx(1 / 3), 1]
    assert RED.data in backends.scorer.embedded
    # A target that no metric looks at is not embedded.
    await score(scoring, [RED], ["mean-text"], target=GREEN, text="red")
    assert GREEN.data not in backends.scorer.embedded


async def test_an_unknown_metric_is_named_with_the_known_ones(backends: Backends, scoring: CachedScoring) -> None:
    with pytest.raises(NotFoundError, match="known: bright, channels, mean, mean-text, pixels") as caught:
        await score(scoring, [BLUE], ["mean", "nice"])
    assert (caught.value.reason, caught.value.field) == (Reason.METRIC_NOT_FOUND, "metrics[1]")
    assert "Score" not in backends.scorer.calls


async def test_an_absent_metric_is_refused_with_what_it_lacks(backends: Backends, scoring: CachedScoring) -> None:
    with pytest.raises(
        NotFoundError, match="'heavy' does not exist: its weights are not here; known: bright"
    ) as caught:
        await score(scoring, [BLUE], ["heavy"])
    assert (caught.value.reason, caught.value.field) == (Reason.METRIC_NOT_FOUND, "metrics[0]")
    assert "Score" not in backends.scorer.calls


async def test_the_catalog_is_read_once(backends: Backends, scoring: CachedScoring) -> None:
    for _ in range(3):
        await score(scoring, [BLUE], ["mean"])
        assert set((await scoring.metrics()).offered) == {"mean", "pixels", "mean-text", "bright", "channels"}
    assert backends.scorer.calls.count("ListMetrics") == 2, "metrics and models"


async def test_a_redeployed_scorer_of_another_revision_is_noticed(backends: Backends, scoring: CachedScoring) -> None:
    await score(scoring, [BLUE], ["mean"])
    backends.scorer.revision = "r2"
    # All embeddings come from the cache, are of no use to the new scorer, and it has no bytes to make its own from.
    answers = await score(scoring, [BLUE], ["mean"])
    assert answers[0].scores[0].revision == "r2"
    assert answers[0].scores[0].raw == pytest.approx(1 / 3)
    calls = len(backends.scorer.calls)
    await score(scoring, [BLUE], ["mean"])
    assert backends.scorer.calls[calls:] == ["Score"], "the new revision's embeddings are cached by now"


async def test_other_failures_are_passed_on(backends: Backends, scoring: CachedScoring) -> None:
    await scoring.metrics()
    backends.scorer.failures.add_error(OverloadedError(Reason.QUEUE_FULL, "full"))
    with pytest.raises(OverloadedError, match="full"):
        await score(scoring, [BLUE], ["pixels"])


async def test_many_candidates_go_in_several_calls(
    backends: Backends, scoring: CachedScoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_PICTURES", 2)
    answers = await score(scoring, [RED, BLUE, RED, GREEN, RED], ["mean", "pixels"])
    assert [answer.scores[1].raw for answer in answers] == [1, 0, 1, 0, 1]
    assert [len(request.candidates) for request in backends.scorer.scored] == [2, 2, 1]


async def test_large_pictures_go_in_several_calls_or_are_refused(
    backends: Backends, scoring: CachedScoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_CALL_BYTES", len(RED.data) * 2 + 10)
    await score(scoring, [BLUE, GREEN], ["pixels"])
    assert [len(request.candidates) for request in backends.scorer.scored] == [1, 1]
    monkeypatch.setattr(batches, "MAX_CALL_BYTES", len(RED.data) + 10)
    with pytest.raises(InvalidInputError) as caught:
        await score(scoring, [BLUE], ["pixels"])
    assert caught.value.field == "candidates[0]"


async def test_nothing_to_score_costs_nothing(backends: Backends, scoring: CachedScoring) -> None:
    assert await score(scoring, [], ["mean"]) == []
    assert backends.scorer.embedded == []
