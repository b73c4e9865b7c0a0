"""Pairs in batches: one call for each target and text, what is known left out, and the one at fault by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from services.common.errors import InvalidInputError, LikenessError, NotFoundError, Reason, UnavailableError
from services.common.images import decode
from services.gateway.evaluations.pairs import Pair, PairScoring
from services.gateway.ports import CandidateScores
from services.gateway.scorable import ScorableImage
from tests.gateway.conftest import FAST_RETRY
from tests.gateway.doubles import draw, likeness
from tests.gateway.score_cache_double import Scores
from tests.gateway.scorer_double import PersonalScorer, Scorer

DATA = [draw(f"rgb {20 * n} 50 50", n) for n in range(8)]
PICTURES = [ScorableImage.given(data, decode(data).pixel_hash) for data in DATA]


class Recording(PersonalScorer):
    """The scorer double; `refused` pixel hashes make a call fail, `asked` has the metrics and sizes of calls."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__(scorer, None)  # type: ignore[arg-type]
        self.refused: set[str] = set()
        self.asked: list[tuple[tuple[str, ...], int]] = []

    async def score(self, *, candidates: Sequence[ScorableImage], **given: Any) -> list[CandidateScores]:
        self.asked.append((tuple(given["metrics"]), len(candidates)))
        if any(one.pixel_hash in self.refused for one in candidates):
            raise NotFoundError(Reason.IMAGE_NOT_FOUND, "image", "gone", field="content_hash")
        return await super().score(candidates=candidates, **given)


@pytest.fixture
def scoring() -> Recording:
    return Recording(Scorer())


@pytest.fixture
def cache() -> Scores:
    return Scores()


async def scored(
    scoring: Recording, cache: Scores, pairs: Sequence[Pair], metrics: Sequence[str]
) -> list[CandidateScores | LikenessError]:
    made = PairScoring(scoring, cache, retry=FAST_RETRY)
    return await made.score(pairs, metrics, tenant_id="default", request_id="r")


def raws(answers: Sequence[CandidateScores | LikenessError]) -> list[list[float]]:
    found = []
    for one in answers:
        assert isinstance(one, CandidateScores), one
        found.append([score.raw for score in one.scores])
    return found


async def test_pairs_of_one_target_share_a_call(scoring: Recording, cache: Scores) -> None:
    pairs = [Pair(PICTURES[a], f"text {b}", PICTURES[b]) for b in range(2, 8) for a in (0, 1)]
    found = raws(await scored(scoring, cache, pairs, ["pixels", "red"]))
    assert sorted(scoring.asked) == [(("pixels", "red"), 6)] * 2
    assert [one[0] for one in found] == [likeness(DATA[a], DATA[b]) for b in range(2, 8) for a in (0, 1)]


async def test_pairs_of_one_target_and_other_texts_do_not_if_the_text_is_read(
    scoring: Recording, cache: Scores
) -> None:
    pairs = [Pair(PICTURES[0], f"rgb {n} 0 0", PICTURES[n]) for n in (1, 2)]
    await scored(scoring, cache, pairs, ["pixels", "named"])
    assert scoring.asked == [(("pixels", "named"), 1)] * 2


async def test_only_what_is_not_known_is_asked_for(scoring: Recording, cache: Scores) -> None:
    pairs = [Pair(PICTURES[0], "", PICTURES[n]) for n in range(1, 5)]
    first = raws(await scored(scoring, cache, pairs[:2], ["red"]))
    both = raws(await scored(scoring, cache, pairs, ["pixels", "red"]))
    assert scoring.asked == [(("red",), 2), (("pixels", "red"), 4)]
    assert [one[1] for one in both[:2]] == [one[0] for one in first]
    again = await scored(scoring, cache, pairs, ["red", "pixels"])
    assert len(scoring.asked) == 2
    assert raws(again) == [[red, pixels] for pixels, red in both]
    # Whole values, not only numbers.
    (fresh,) = await scored(scoring, Scores(), pairs[:1], ["red", "pixels"])
    assert again[0] == fresh


async def test_another_revision_is_another_score(scoring: Recording, cache: Scores) -> None:
    await scored(scoring, cache, [Pair(PICTURES[0], "", PICTURES[1])], ["red"])
    ((key, value),) = cache.values.items()
    assert (key.name.split(":")[2:5], value.revision) == (["red", "s1", "rgb8"], "s1")


@pytest.mark.parametrize("bad", [{1}, {2, 4}, {1, 2, 3, 4}])
async def test_the_pair_at_fault_fails_alone(scoring: Recording, cache: Scores, bad: set[int]) -> None:
    scoring.refused = {PICTURES[n].pixel_hash for n in bad}
    pairs = [Pair(PICTURES[0], "", PICTURES[n]) for n in range(1, 5)]
    answers = await scored(scoring, cache, pairs, ["pixels"])
    assert [isinstance(one, NotFoundError) for one in answers] == [n in bad for n in range(1, 5)]
    assert len(cache.values) == 4 - len(bad)


async def test_a_scorer_that_stays_away_fails_all(scoring: Recording, cache: Scores) -> None:
    away = UnavailableError(Reason.BACKEND_UNAVAILABLE, "gone")
    scoring._scorer.failures = [away] * FAST_RETRY.attempts
    with pytest.raises(UnavailableError):
        await scored(scoring, cache, [Pair(PICTURES[0], "", PICTURES[1])], ["pixels"])
    assert scoring._scorer.failures == []


async def test_a_scorer_that_comes_back_is_asked_again(scoring: Recording, cache: Scores) -> None:
    scoring._scorer.failures = [UnavailableError(Reason.BACKEND_UNAVAILABLE, "gone")]
    assert len(raws(await scored(scoring, cache, [Pair(PICTURES[0], "", PICTURES[1])], ["pixels"]))) == 1


async def test_a_personal_metric_needs_a_target(scoring: Recording, cache: Scores) -> None:
    async def score(**_: Any) -> list[CandidateScores]:
        raise InvalidInputError("target", "metric clpips:me needs it")

    scoring.score = score  # type: ignore[method-assign, assignment]
    (answer,) = await scored(scoring, cache, [Pair(None, "", PICTURES[1])], ["clpips:me"])
    assert isinstance(answer, InvalidInputError)
