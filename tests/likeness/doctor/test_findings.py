"""Findings as lines, by which the services' checks tell them."""

from __future__ import annotations

import pytest

from likeness.doctor import State
from likeness.doctor.findings import Finding, from_line


@pytest.mark.parametrize("state", State)
def test_a_finding_survives_its_line(state: State) -> None:
    finding = Finding("disk", state, "12 MiB are free: too little", "Make room.")
    assert "\n" not in finding.line()
    assert from_line(finding.line()) == finding


@pytest.mark.parametrize(
    "line",
    ["", "Warning: old driver", "[]", '{"check": "disk"}', Finding("a", State.OK, "b").line().replace("ok", "odd")],
)
def test_anything_else_is_no_finding(line: str) -> None:
    assert from_line(line) is None
