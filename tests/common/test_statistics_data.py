"""The statistics on real human judgments: ImagenHub's three raters, ImageReward's rankings. Skips without ../shared."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from services.common.statistics import (
    IccForm,
    KooLiBand,
    chi_square_uniform,
    counted_icc,
    icc,
    paired_bootstrap,
    spearman,
)

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def data_folder() -> Path:
    folder = Path(__file__).resolve().parents[3] / "shared/data"
    if not folder.is_dir():
        pytest.skip("../shared/data with real judgments is absent")
    return folder


@pytest.fixture(scope="module")
def ratings(data_folder: Path) -> Array:
    """ImagenHub's ratings [raters, samples, models, (consistency, quality)]."""
    return np.stack([_read(data_folder / f"imagenhub_ratings/Text-To-Image_rater{rater}.tsv") for rater in (1, 2, 3)])


@pytest.mark.parametrize(("aspect", "single", "mean"), [(0, 0.617, 0.829), (1, 0.453, 0.713)])
def test_three_people_agree_on_pictures(ratings: Array, aspect: int, single: float, mean: float) -> None:
    # Values of pingouin 0.7.0 on the same files.
    table = _by_picture(ratings, aspect)
    one, three = icc(table, IccForm.AGREEMENT_SINGLE), icc(table, IccForm.AGREEMENT_MEAN)
    assert (round(one.value, 3), round(three.value, 3)) == (single, mean)
    assert (one.targets, one.raters, one.dropped_targets) == (197 * 7, 3, 0)
    assert one.p < 1e-10
    assert one.low < one.value < one.high
    assert three.koo_li is (KooLiBand.GOOD if aspect == 0 else KooLiBand.MODERATE)


def test_people_agree_more_on_consistency_than_on_quality(ratings: Array) -> None:
    quality, consistency = (
        [_by_picture(ratings[:, sample : sample + 1], aspect) for sample in range(ratings.shape[1])]
        for aspect in (1, 0)
    )
    found = paired_bootstrap(quality, consistency, partial(counted_icc, form=IccForm.AGREEMENT_SINGLE), resamples=100)
    assert found.groups == 197
    assert 0 < found.low < found.difference == pytest.approx(0.617 - 0.453, abs=0.002)
    assert found.p == pytest.approx(2 / 101)


def test_raters_order_the_models_alike(ratings: Array) -> None:
    means = ratings[..., 0].mean(axis=1)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        ours, theirs = spearman(means[one], means[other]), stats.spearmanr(means[one], means[other])
        assert (ours.rho, ours.p) == (pytest.approx(theirs.statistic), pytest.approx(theirs.pvalue))
        assert ours.rho > 0.5


def test_rankings_with_ties_of_image_reward(data_folder: Path) -> None:
    prompts = json.loads((data_folder / "imagereward/test.json").read_text())
    places = [place for prompt in prompts for place in prompt["ranking"]]
    positions = [position for prompt in prompts for position in range(len(prompt["ranking"]))]
    assert (len(prompts), len(places)) == (466, 2720)
    ours, theirs = spearman(positions, places), stats.spearmanr(positions, places)
    assert (ours.rho, ours.p) == (pytest.approx(theirs.statistic), pytest.approx(theirs.pvalue))


def test_the_first_of_four_pictures_is_best_too_often_in_image_reward(data_folder: Path) -> None:
    prompts = json.loads((data_folder / "imagereward/test.json").read_text())
    rankings = [prompt["ranking"] for prompt in prompts if len(prompt["ranking"]) == 4]
    best = Counter(ranking.index(min(ranking)) for ranking in rankings if ranking.count(min(ranking)) == 1)
    found = chi_square_uniform([best[position] for position in range(4)])
    theirs = stats.chisquare([best[position] for position in range(4)])
    assert (found.chi2, found.p) == (pytest.approx(theirs.statistic), pytest.approx(theirs.pvalue))
    assert (found.observed, round(found.chi2, 3), found.df) == ((68, 34, 33, 31), 22.675, 3)


def _by_picture(ratings: Array, aspect: int) -> Array:
    """[pictures, raters] of one aspect."""
    return ratings[..., aspect].reshape(len(ratings), -1).T


def _read(path: Path) -> Array:
    rows = [line.split("\t")[1:] for line in path.read_text().splitlines()[1:]]
    return np.array([[json.loads(cell) for cell in row] for row in rows], dtype=np.float64)
