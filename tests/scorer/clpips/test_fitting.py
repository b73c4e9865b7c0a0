"""The guard: what is used is never worse on held-out rankings than what it came from, and says why."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.common.heads import Backbone, Head, head_of
from services.scorer.clpips.alignment import agreement_of, report, scores_by
from services.scorer.clpips.convex import fit_convex
from services.scorer.clpips.fitting import Decision, fit_profile, held_out_scores
from services.scorer.clpips.rankings import RankedSet

MakeSets = Callable[..., list[RankedSet]]
Array = NDArray[np.float64]


def _agreement(head: Head, sets: list[RankedSet]) -> float:
    return agreement_of(sets, scores_by(head, sets))


def _shuffled(sets: list[RankedSet], seed: int) -> list[RankedSet]:
    rng = np.random.default_rng(seed)
    return [RankedSet(s.target, s.differences, tuple(rng.permutation(s.places).tolist())) for s in sets]


def test_a_consistent_person_gets_a_head(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    sets = make_sets(taste, 5, noise=0.1)
    outcome = fit_profile(lpips, sets, lpips=lpips)
    assert outcome.decision is Decision.FITTED
    assert outcome.head == fit_convex(lpips, sets)
    assert outcome.held_out is not None
    assert outcome.held_out.fitted > outcome.held_out.lpips == outcome.held_out.parent
    assert outcome.head.metrics["held_out_icc2k"] == outcome.held_out.fitted
    assert outcome.head.metrics["pairs"] == 5 * 45
    assert "on 5 held-out targets" in outcome.explanation
    assert f"{outcome.held_out.fitted:.3f} when learned" in outcome.explanation
    assert agreement_of(sets, outcome.held_out.scores) == outcome.held_out.fitted


def test_what_is_used_is_never_the_worse_one_held_out(
    lpips: Head, taste: Array, make_sets: MakeSets, backbone: Backbone
) -> None:
    parent = head_of(backbone, lpips.array[::-1])
    seen = set()
    for seed in range(12):
        sets = _shuffled(make_sets(taste, 3, seed=seed), seed)
        outcome = fit_profile(parent, sets, lpips=lpips)
        assert outcome.held_out is not None
        by_decision = {
            Decision.FITTED: outcome.held_out.fitted,
            Decision.PARENT: outcome.held_out.parent,
            Decision.LPIPS: outcome.held_out.lpips,
        }
        assert by_decision[outcome.decision] == max(by_decision.values())
        expected = {Decision.FITTED: fit_convex(parent, sets), Decision.PARENT: parent, Decision.LPIPS: lpips}
        assert outcome.head == expected[outcome.decision]
        seen.add(outcome.decision)
    # Rankings by chance: no head wins always.
    assert seen == {Decision.FITTED, Decision.PARENT, Decision.LPIPS}


def test_who_sees_as_the_parent_keeps_it(lpips: Head, make_sets: MakeSets, taste: Array, backbone: Backbone) -> None:
    crowd = head_of(backbone, taste)
    outcome = fit_profile(crowd, make_sets(taste, 4), lpips=lpips)
    assert outcome.held_out is not None
    assert outcome.held_out.fitted < outcome.held_out.parent == 1.0
    assert (outcome.decision, outcome.head) == (Decision.PARENT, crowd)
    assert outcome.explanation.startswith("kept the parent: on 4 held-out targets")


def test_a_misleading_crowd_is_left_for_lpips(lpips: Head, make_sets: MakeSets, backbone: Backbone) -> None:
    crowd = head_of(backbone, np.where(lpips.array > 0, 0, 1 / lpips.array.max()))
    outcome = fit_profile(crowd, make_sets(lpips.array.astype(float), 2), lpips=lpips)
    assert outcome.decision is Decision.LPIPS
    assert outcome.head == lpips
    assert outcome.explanation.startswith("went back to LPIPS: on 2 held-out targets")


def test_one_target_is_learned_carefully_and_said_so(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    one = make_sets(taste, 1)
    outcome = fit_profile(lpips, [*one, *one], lpips=lpips)
    assert (outcome.decision, outcome.held_out) == (Decision.FITTED_UNCHECKED, None)
    assert "one target" in outcome.explanation
    # The same rankings as of two targets are believed more.
    renamed = [*one, RankedSet("another", one[0].differences, one[0].places)]
    parent = lpips.array / lpips.array.sum()
    moved = [
        np.abs(fit_convex(lpips, sets).array / lpips.array.sum() - parent).sum() for sets in ([*one, *one], renamed)
    ]
    assert moved[0] < moved[1]


def test_held_out_scores_know_nothing_of_their_target(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    sets = make_sets(taste, 4)
    before = held_out_scores(lpips, sets)
    changed = [*sets[:2], *_shuffled([sets[2]], 0), sets[3]]
    after = held_out_scores(lpips, changed)
    assert before[2].tolist() == after[2].tolist()
    assert before[0].tolist() != after[0].tolist()
    assert report(sets, scores_by(lpips, sets), before, resamples=10).agreement_gain.groups == 4


def test_pictures_all_alike_of_one_target_do_not_keep_the_other_from_being_learned(
    lpips: Head, taste: Array, make_sets: MakeSets
) -> None:
    (ranked,) = make_sets(taste, 1)
    alike = RankedSet("alike", np.repeat(ranked.differences[:1], 4, axis=0), (1.0, 2.0, 3.0, 4.0))
    outcome = fit_profile(lpips, [ranked, alike], lpips=lpips)
    assert outcome.held_out is not None
    first, second = outcome.held_out.scores
    assert first.tolist() == scores_by(lpips, [ranked])[0].tolist(), "nothing to learn from: the parent's"
    assert second.tolist() == scores_by(fit_convex(lpips, [ranked]), [alike])[0].tolist()


def test_five_rankings_beat_lpips_by_the_papers_gain_for_nine_of_ten(
    lpips: Head, make_sets: MakeSets, backbone: Backbone, magnitudes: Array
) -> None:
    """The aim, on drawn vectors: people who put one layer first, with noise of their own."""
    gains = []
    for person in range(20):
        rng = np.random.default_rng(person)
        first = np.repeat(np.eye(3)[person % 3] * 3 + 0.2, backbone.layers)
        weights = first * rng.random(backbone.channels) / magnitudes
        held_out = make_sets(weights, 30, seed=1000 + person, noise=0.2)
        outcome = fit_profile(lpips, make_sets(weights, 5, seed=person, noise=0.2), lpips=lpips)
        gains.append(_agreement(outcome.head, held_out) - _agreement(lpips, held_out))
    assert min(gains) >= 0
    assert sum(gain >= 0.084 for gain in gains) >= 18
