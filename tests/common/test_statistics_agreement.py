"""Intraclass correlation against published tables, pingouin and the definition; bands at their limits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from services.common.errors import InvalidInputError
from services.common.statistics import (
    CicchettiBand,
    IccForm,
    KooLiBand,
    cicchetti_band,
    icc,
    icc_value,
    koo_li_band,
)

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
"""Table 2 of Shrout & Fleiss 1979: six targets, four judges."""
PINGOUIN_NAMES = {
    IccForm.AGREEMENT_SINGLE: "ICC(A,1)",
    IccForm.AGREEMENT_MEAN: "ICC(A,k)",
    IccForm.CONSISTENCY_SINGLE: "ICC(C,1)",
    IccForm.CONSISTENCY_MEAN: "ICC(C,k)",
}
FORMS = list(IccForm)

Table = NDArray[np.float64]


@pytest.fixture
def pingouin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The reference package, with intervals that are not rounded."""
    package = pytest.importorskip("pingouin")
    monkeypatch.setitem(package.options, "round.column.CI95", None)
    return package


def _two_raters_correlated(rho: float, n: int) -> Table:
    """Two raters of equal mean and variance whose correlation is exactly rho."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, n))
    x = (x - x.mean()) / x.std()
    y = y - y.mean() - x * (x @ y) / n
    return np.stack([x, rho * x + math.sqrt(1 - rho * rho) * y / y.std()], axis=1)


@pytest.mark.parametrize(("form", "value"), list(zip(FORMS, (0.29, 0.62, 0.71, 0.91), strict=True)))
def test_table_4_of_shrout_and_fleiss(form: IccForm, value: float) -> None:
    assert round(icc(SHROUT_FLEISS, form).value, 2) == value


@pytest.mark.parametrize(
    ("value", "low", "high", "df"),
    [(0.686, 0.625, 0.737, 489), (0.620, 0.547, 0.681, 499), (0.527, 0.437, 0.603, 499), (0.250, 0.104, 0.372, 489)],
)
def test_intervals_of_the_regeneration_study(value: float, low: float, high: float, df: int) -> None:
    # ICC(3,k), its interval and test depend on nothing but F; Spearman and Brown give the correlation.
    result = icc(_two_raters_correlated(value / (2 - value), df + 1), IccForm.CONSISTENCY_MEAN)
    assert (result.df1, result.value) == (df, pytest.approx(value))
    assert (result.low, result.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))
    assert result.p < 0.001


@pytest.mark.parametrize("case", ["table", "offset raters", "ranks", "missing"])
def test_pingouin_agrees(case: str, pingouin: ModuleType) -> None:
    rng = np.random.default_rng(7)
    missing = SHROUT_FLEISS.copy()
    missing[2, 1] = np.nan
    table = {
        "table": SHROUT_FLEISS,
        "offset raters": rng.standard_normal((30, 3)) + rng.standard_normal((30, 1)) * 2 + np.array([0, 3, -1]),
        "ranks": np.concatenate([np.stack([np.arange(10), rng.permutation(10)], axis=1) for _ in range(6)]) * 1.0,
        "missing": missing,
    }[case]
    targets, raters = np.indices(table.shape)
    columns = {"target": targets.ravel(), "rater": raters.ravel(), "rating": table.ravel()}
    long = pytest.importorskip("pandas").DataFrame(columns)
    with warnings.catch_warnings():
        # pingouin calls pandas by arguments of older versions.
        warnings.simplefilter("ignore")
        found = pingouin.intraclass_corr(long, "target", "rater", "rating", nan_policy="omit").set_index("Type")
    for form in FORMS:
        row, ours = found.loc[PINGOUIN_NAMES[form]], icc(table, form)
        assert (ours.df1, ours.df2) == (row["df1"], row["df2"])
        theirs = [row["ICC"], row["F"], row["pval"], *row["CI95"]]
        np.testing.assert_allclose([ours.value, ours.f, ours.p, ours.low, ours.high], theirs, rtol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_a_target_with_a_missing_rating_is_dropped_and_counted(form: IccForm) -> None:
    table = SHROUT_FLEISS.copy()
    table[2, 1] = np.nan
    result = icc(table, form)
    assert (result.targets, result.dropped_targets) == (5, 1)
    assert result.value == icc(np.delete(table, 2, axis=0), form).value


@pytest.mark.parametrize("form", FORMS)
def test_perfect_agreement(form: IccForm) -> None:
    result = icc(np.tile(np.arange(5.0)[:, None], 3), form)
    assert (result.value, result.low, result.high, result.f, result.p) == (1.0, 1.0, 1.0, math.inf, 0.0)


def test_an_offset_between_raters_costs_agreement_and_not_consistency() -> None:
    table = np.arange(5.0)[:, None] + np.array([0.0, 2.0])
    assert icc(table, IccForm.CONSISTENCY_SINGLE).value == 1.0
    result = icc(table, IccForm.AGREEMENT_SINGLE)
    assert result.value == pytest.approx(2.5 / (2.5 + 2.0))
    assert 0 <= result.low < result.value < result.high < 1


def test_raters_who_contradict_each_other_have_no_agreement() -> None:
    table = np.stack([np.arange(6.0), np.arange(6.0)[::-1]], axis=1)
    assert icc_value(table, IccForm.CONSISTENCY_SINGLE) == -1.0
    for form in (IccForm.AGREEMENT_MEAN, IccForm.CONSISTENCY_MEAN):
        result = icc(table, form)
        assert (result.value, result.low) == (-math.inf, -math.inf)
        assert (result.koo_li, result.cicchetti) == (KooLiBand.POOR, CicchettiBand.POOR)


def test_the_bands_of_a_result() -> None:
    result = icc(_two_raters_correlated(0.525, 50), IccForm.AGREEMENT_MEAN)
    assert result.value == pytest.approx(0.69, abs=0.01)
    assert (result.koo_li, result.cicchetti) == (KooLiBand.MODERATE, CicchettiBand.GOOD)


@pytest.mark.parametrize(
    ("ratings", "words"),
    [
        (np.zeros((4, 1)), "1 rater"),
        (np.zeros((1, 2)), "1 targets"),
        (np.array([[1, np.nan], [np.nan, 2], [3, 4]]), "complete for 1 targets"),
        (np.full((4, 2), 3.0), "do not differ"),
        (np.tile([1.0, 2.0], (4, 1)), "do not differ"),
        (np.array([[1, np.inf], [2, 3]]), "infinite"),
        (np.arange(4.0), "1 dimensions"),
    ],
)
def test_ratings_without_a_coefficient_are_refused(ratings: Table, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words) as caught:
        icc(ratings, IccForm.AGREEMENT_MEAN)
    assert caught.value.field == "ratings"


def test_koo_and_li() -> None:
    limits = (-np.inf, -1.0, 0.4999, 0.5, 0.7499, 0.75, 0.9, 0.9001, 1.0)
    names = [koo_li_band(value).value for value in limits]
    assert names == ["poor"] * 3 + ["moderate"] * 2 + ["good"] * 2 + ["excellent"] * 2


def test_cicchetti() -> None:
    limits = (-np.inf, -1.0, 0.3999, 0.4, 0.5999, 0.6, 0.7499, 0.75, 1.0)
    names = [cicchetti_band(value).value for value in limits]
    assert names == ["poor"] * 3 + ["fair"] * 2 + ["good"] * 2 + ["excellent"] * 2


@pytest.mark.parametrize("band", [koo_li_band, cicchetti_band])
def test_no_number_has_no_band(band: Callable[[float], str]) -> None:
    with pytest.raises(InvalidInputError):
        band(math.nan)


tables = arrays.arrays(
    np.float64,
    st.tuples(st.integers(2, 12), st.integers(2, 4)),
    elements=st.integers(-20, 20).map(float),
).filter(lambda table: not (table == table[0]).all())


@settings(deadline=None, max_examples=40, derandomize=True)
@given(tables, st.integers(-9, 9), st.sampled_from([0.5, 2.0, 8.0]))
def test_laws_of_every_table(table: Table, offset: int, factor: float) -> None:
    raters = table.shape[1]
    for form in FORMS:
        result = icc(table, form)
        assert result.value <= 1
        assert 0 <= result.p <= 1
        assert result.low <= result.high or result.value < 0
        assert icc(table * factor + offset, form).value == pytest.approx(result.value, rel=1e-9, abs=1e-9)
        assert icc(table[::-1, ::-1], form).value == pytest.approx(result.value, rel=1e-9, abs=1e-9)
    shifted = table + 3.0 * np.arange(raters)
    if not (shifted == shifted[0]).all():
        single = icc_value(table, IccForm.CONSISTENCY_SINGLE)
        assert icc_value(shifted, IccForm.CONSISTENCY_SINGLE) == pytest.approx(single, rel=1e-9, abs=1e-9)
        assert single >= -1 / (raters - 1) - 1e-12
