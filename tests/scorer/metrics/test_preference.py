from __future__ import annotations

import math

import pytest

from services.scorer.metrics.preference import linear_head, win_probability


def test_the_chance_is_the_logistic_of_the_lead_without_overflow() -> None:
    for lead in (-30.0, -1.0, 0.0, 0.5, 30.0):
        assert win_probability(lead) == pytest.approx(1 / (1 + math.exp(-lead)), rel=1e-12)
    assert win_probability(1e6) == 1.0
    assert win_probability(-1e6) == 0.0
    assert math.isnan(win_probability(math.nan))


def test_the_chance_rises_with_the_lead_and_two_sides_sum_to_one() -> None:
    chances = [win_probability(lead / 10) for lead in range(-300, 301)]
    assert chances == sorted(set(chances))
    assert all(a + b == pytest.approx(1.0) for a, b in zip(chances, reversed(chances), strict=True))


def test_the_head_has_the_layer_numbers_of_the_published_files() -> None:
    shapes = {name: tuple(value.shape) for name, value in linear_head(768).state_dict().items()}
    widths = {0: (1024, 768), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}
    assert shapes == {f"{i}.weight": shape for i, shape in widths.items()} | {
        f"{i}.bias": shape[:1] for i, shape in widths.items()
    }
