"""The ledger of stored offsets against a plain set."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.evaluations.ledger import Ledger

OFFSETS = st.integers(0, 30)


@settings(max_examples=100)
@given(st.integers(0, 10), st.sets(OFFSETS), st.lists(st.sets(OFFSETS), max_size=6))
def test_as_a_set(committed: int, ahead: set[int], added: list[set[int]]) -> None:
    stored = set(range(committed)) | ahead
    ledger = Ledger(committed, {one for one in ahead if one >= committed})
    for offsets in added:
        foreseen = ledger.committed_with(offsets)
        ledger.add(offsets)
        stored |= offsets
        assert ledger.committed == foreseen == next(n for n in range(40) if n not in stored)
        assert all((n in ledger) == (n in stored) for n in range(40))
