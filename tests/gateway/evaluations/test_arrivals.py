"""What an item is that comes, and what is told of it."""

from __future__ import annotations

import pytest

from services.common.errors import InvalidInputError, OutOfRangeError, Reason
from services.gateway.evaluations.answers import MAX_TOGETHER, Answer, Answers, Committed
from services.gateway.evaluations.arrivals import Arrival, Arrivals
from services.gateway.evaluations.ledger import Ledger
from services.gateway.evaluations.model import EvaluationItem, ItemResult
from services.gateway.evaluations.validation import MAX_OFFSET


def item(offset: int, body: bytes = b"a") -> EvaluationItem:
    return EvaluationItem(offset, "x", body, len(body))


def result(offset: int) -> ItemResult:
    return ItemResult(offset, "x", "", "", b"a")


def test_items_come_once_again_or_as_others() -> None:
    ledger = Ledger(2, [4])
    arrivals = Arrivals(ledger)
    assert not arrivals and arrivals.next_offset == 2
    assert arrivals.add(item(0)) is Arrival.STORED
    assert arrivals.add(item(2)) is Arrival.NEW
    assert arrivals.add(item(2)) is arrivals.add(item(2)) is Arrival.REPEATED
    assert arrivals.add(item(2, b"b")) is Arrival.REUSED
    assert arrivals.add(item(3)) is Arrival.NEW
    # What is stored ahead need not come, and may.
    assert arrivals.add(item(4)) is Arrival.STORED
    assert arrivals.add(item(5)) is Arrival.NEW and arrivals.next_offset == 6
    assert [arrivals.stored(offset) for offset in (2, 3, 5)] == [2, 0, 0] and not arrivals
    ledger.add([2, 3, 5])
    assert arrivals.add(item(2, b"b")) is Arrival.STORED


def test_a_gap_and_an_offset_that_is_none() -> None:
    arrivals = Arrivals(Ledger(1, [2]))
    arrivals.add(item(1))
    with pytest.raises(OutOfRangeError) as gap:
        arrivals.add(item(4))
    assert gap.value.reason is Reason.OFFSET_GAP and gap.value.metadata == {"expected_offset": "3"}
    for offset in (-1, MAX_OFFSET + 1):
        with pytest.raises(InvalidInputError):
            arrivals.add(item(offset))
    assert arrivals.next_offset == 3


def test_answers_go_together_up_to_a_commit() -> None:
    answers = Answers()
    for offset in range(MAX_TOGETHER + 2):
        answers.add(Answer(result(offset)))
    answers.add(Committed(5))
    answers.add(Answer(result(99), replayed=True))
    taken = []
    while answers:
        taken.append(answers.take())
    assert [len(one) if isinstance(one, list) else one for one in taken] == [MAX_TOGETHER, 2, Committed(5), 1]
    offsets = [one.result.offset for event in taken if isinstance(event, list) for one in event]
    assert offsets == [*range(MAX_TOGETHER + 2), 99]
