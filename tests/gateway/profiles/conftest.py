"""A gateway whose scorer has LPIPS."""

from __future__ import annotations

import pytest

from tests.gateway.conftest import Parts


@pytest.fixture
def parts() -> Parts:
    """The doubles, with an LPIPS metric."""
    parts = Parts()
    parts.scorer.has_lpips = True
    return parts
