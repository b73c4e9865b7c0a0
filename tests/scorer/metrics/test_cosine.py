"""The comparison of vectors, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.scorer.metrics.base import Vector
from services.scorer.metrics.cosine import cosine

vectors = arrays(np.float32, 8, elements=st.floats(-100, 100, width=32)).filter(lambda vector: np.abs(vector).max() > 1)


@given(vectors, vectors)
def test_it_is_symmetric_in_range_and_best_for_one_direction(a: Vector, b: Vector) -> None:
    value = cosine(a, b)
    assert value == cosine(b, a)
    assert -1 <= value.raw <= 1
    assert value.normalized == pytest.approx((1 + value.raw) / 2)
    assert cosine(a, 3 * a).raw == pytest.approx(1.0, abs=1e-6)
    assert cosine(a, -a).normalized == pytest.approx(0.0, abs=1e-6)


def test_it_is_no_number_for_a_vector_of_zeros() -> None:
    assert np.isnan(cosine(np.zeros(3, np.float32), np.ones(3, np.float32)).raw)
