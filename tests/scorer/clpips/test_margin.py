"""The paper's recipe against torch's own loss and optimizer, and what it learns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.common.errors import InvalidInputError
from services.common.heads import Head, Recipe
from services.scorer.clpips import margin
from services.scorer.clpips.alignment import agreement_of, scores_by
from services.scorer.clpips.margin import fit_margin, train
from services.scorer.clpips.rankings import RankedSet, pairs_of

MakeSets = Callable[..., list[RankedSet]]
Taste = NDArray[np.float64]


@pytest.fixture(autouse=True)
def _few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    # Weights of this backbone are around 100 to 10,000: larger steps, fewer of them.
    monkeypatch.setattr(margin, "MAX_EPOCHS", 8)
    monkeypatch.setattr(margin, "LEARNING_RATE", 20.0)
    monkeypatch.setattr(margin, "MARGINS", (0.5, 2.0))


def test_steps_are_those_of_torch(lpips: Head, taste: Taste, make_sets: MakeSets) -> None:
    sets = make_sets(taste, 12)
    weights = torch.nn.Parameter(torch.tensor(lpips.array))
    optimizer = torch.optim.Adam([weights], lr=margin.LEARNING_RATE)
    loss = torch.nn.MarginRankingLoss(margin=2.0)
    features = torch.tensor(np.concatenate([ranked.differences for ranked in sets]))
    pairs, rng = pairs_of(sets), np.random.default_rng(4)
    for ours in train(lpips.array, sets, 2.0, 3, 4):
        order = rng.permutation(len(pairs.better))
        for first in range(0, len(order), 256):
            batch = order[first : first + 256]
            worse, better = (features[side[batch]] @ weights for side in (pairs.worse, pairs.better))
            optimizer.zero_grad()
            loss(worse, better, torch.ones(len(batch))).backward()
            optimizer.step()
            with torch.no_grad():
                weights.clamp_(min=0)
        np.testing.assert_allclose(ours, weights.detach().numpy(), rtol=2e-4, atol=0.05)
        assert (ours >= 0).all()
    assert (ours == 0).any()


def test_it_learns_a_taste_that_holds_on_other_targets(lpips: Head, taste: Taste, make_sets: MakeSets) -> None:
    held_out = make_sets(taste, 20, seed=9)
    head = fit_margin(lpips, make_sets(taste, 40))
    assert head.metrics["epochs"] > 0
    assert head.metrics["margin"] in margin.MARGINS
    assert (head.recipe, head.parent) == (Recipe.MARGIN, lpips.revision)
    gain = agreement_of(held_out, scores_by(head, held_out)) - agreement_of(held_out, scores_by(lpips, held_out))
    assert gain > 0.084


def test_equal_seeds_give_equal_heads(lpips: Head, taste: Taste, make_sets: MakeSets) -> None:
    sets = make_sets(taste, 6)
    assert fit_margin(lpips, sets, seed=1) == fit_margin(lpips, sets, seed=1)
    assert fit_margin(lpips, sets, seed=1) != fit_margin(lpips, sets, seed=2)


def test_a_perfect_parent_is_kept(lpips: Head, make_sets: MakeSets) -> None:
    head = fit_margin(lpips, make_sets(lpips.array.astype(np.float64), 6))
    assert head.metrics["epochs"] == 0
    assert head.metrics["validation_icc2k"] == 1.0
    assert head.revision == lpips.revision


def test_one_target_is_too_few(lpips: Head, taste: Taste, make_sets: MakeSets) -> None:
    with pytest.raises(InvalidInputError, match="at least 2 targets"):
        fit_margin(lpips, make_sets(taste, 1))
