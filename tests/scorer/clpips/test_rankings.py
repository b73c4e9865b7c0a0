"""Rankings: pairs with ties, splits that no target crosses, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.common.errors import InvalidInputError
from services.common.heads import Backbone
from services.scorer.clpips.rankings import (
    RankedSet,
    check_sets,
    folds_by_target,
    pairs_of,
    split_by_target,
    targets_of,
)


def _set(places: tuple[float, ...], target: str = "t") -> RankedSet:
    return RankedSet(target, np.ones((len(places), 3), np.float32), places)


def _sets(*targets: str) -> list[RankedSet]:
    return [_set((1, 2), target) for target in targets]


class TestPairs:
    """Every two pictures on different places, better one first."""

    def test_pairs_of_two_sets(self) -> None:
        pairs = pairs_of([_set((2, 1, 3)), _set((1, 1, 9, 4))])
        found = set(zip(pairs.better.tolist(), pairs.worse.tolist(), strict=True))
        assert found == {(1, 0), (0, 2), (1, 2), (3, 5), (3, 6), (4, 5), (4, 6), (6, 5)}

    def test_ten_pictures_without_ties_make_45_pairs_that_count_as_9(self) -> None:
        pairs = pairs_of([_set(tuple(range(10)))])
        assert len(pairs.better) == 45
        assert pairs.shares.sum() == pytest.approx(9)

    def test_only_the_order_of_places_counts(self) -> None:
        one, other = pairs_of([_set((1, 2, 2, 3))]), pairs_of([_set((-5, 0.5, 0.5, 100))])
        assert (one.better.tolist(), one.worse.tolist()) == (other.better.tolist(), other.worse.tolist())
        assert _set((-5, 0.5, 0.5, 100)).ranks.tolist() == [1, 2.5, 2.5, 4]

    def test_rankings_of_image_reward(self, shared_folder: Path) -> None:
        path = shared_folder / "data/imagereward/test.json"
        rankings = [prompt["ranking"] for prompt in json.loads(path.read_text())]
        sets = [_set(tuple(ranking)) for ranking in rankings if len(set(ranking)) > 1]
        pairs = pairs_of(sets)
        expected = sum(sum(a < b for a in ranking for b in ranking) for ranking in (ranked.places for ranked in sets))
        assert len(pairs.better) == expected
        # Less than all pairs: people left ties.
        assert expected < sum(len(r.places) * (len(r.places) - 1) // 2 for r in sets)
        places = np.concatenate([ranked.places for ranked in sets])
        assert (places[pairs.better] < places[pairs.worse]).all()


class TestSplits:
    """No target on both sides."""

    def test_seventy_thirty_by_target(self) -> None:
        sets = _sets(*[f"t{index % 20}" for index in range(100)])
        learn, judge = split_by_target(sets, seed=3)
        assert (len(set(targets_of(learn))), len(set(targets_of(judge)))) == (14, 6)
        assert not set(targets_of(learn)) & set(targets_of(judge))
        assert (len(learn), len(judge)) == (70, 30)

    def test_the_seed_decides_and_the_order_of_the_sets_does_not(self) -> None:
        sets = _sets(*[f"t{index}" for index in range(12)])
        first = {ranked.target for ranked in split_by_target(sets, seed=1)[0]}
        assert {ranked.target for ranked in split_by_target(sets[::-1], seed=1)[0]} == first
        assert any({ranked.target for ranked in split_by_target(sets, seed=seed)[0]} != first for seed in range(2, 6))

    def test_both_sides_have_a_target(self) -> None:
        for share in (0.01, 0.99):
            learn, judge = split_by_target(_sets("a", "b", "c"), share=share)
            assert learn
            assert judge

    def test_one_target_cannot_be_split(self) -> None:
        with pytest.raises(InvalidInputError, match="at least 2 targets"):
            split_by_target(_sets("a", "a"))

    def test_folds_hold_every_set_out_once(self) -> None:
        sets = _sets("a", "b", "a", "c", "d")
        folds = folds_by_target(sets, 10)
        assert [hold for _, hold in folds] == [[0, 2], [1], [3], [4]]
        for learn, hold in folds:
            assert sorted(learn + hold) == list(range(5))
            assert not {sets[i].target for i in learn} & {sets[i].target for i in hold}
        assert [hold for _, hold in folds_by_target(sets, 2)] == [[0, 2, 3], [1, 4]]


@pytest.mark.parametrize(
    ("differences", "places", "field"),
    [
        (np.ones((1, 3)), (1,), "differences"),
        (np.ones(3), (1, 2, 3), "differences"),
        (np.array([[1, np.nan], [1, 1]]), (1, 2), "differences"),
        (np.array([[1, np.inf], [1, 1]], np.float16), (1, 2), "differences"),
        (np.array([[1, -0.1], [1, 1]]), (1, 2), "differences"),
        (np.ones((2, 3)), (1, 2, 3), "places"),
        (np.ones((2, 3)), (2, 2), "places"),
        (np.ones((2, 3)), (1, np.nan), "places"),
    ],
)
def test_what_is_no_ranking_is_refused(differences: NDArray[np.float64], places: tuple[float, ...], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        RankedSet("t", differences, places)
    assert caught.value.field == field


def test_sets_of_another_backbone_are_refused() -> None:
    backbone = Backbone("lpips-tiny", "r1", (1, 2))
    check_sets([_set((1, 2))], backbone)
    with pytest.raises(InvalidInputError, match="at least 1 ranking"):
        check_sets([], backbone)
    with pytest.raises(InvalidInputError, match="4 channels of lpips-tiny"):
        check_sets([_set((1, 2))], Backbone("lpips-tiny", "r1", (1, 3)))
