"""Heads and reports of fits as the scorer sends them; what cannot be true is a defect, not the caller's mistake."""

from __future__ import annotations

import math
import struct

import pytest

from likeness.scorer.v1 import scorer_service_pb2 as scorer_pb
from likeness.types.v1 import head_pb2
from services.common.errors import InternalError
from services.common.head_messages import head_to_proto
from services.common.heads import head_of
from services.gateway.backends import head_converters
from services.gateway.profiles.model import (
    Alignment,
    AlignmentGain,
    Coefficient,
    FitDecision,
    FitReport,
    HeldOutReport,
)
from tests.gateway_io.seam_scorer import BACKBONE

HEAD = head_of(BACKBONE, [1, 2, 3])


def coefficient(value: float) -> head_pb2.Coefficient:
    return head_pb2.Coefficient(value=value, low=value - 0.25, high=value + 0.25, p=0.5, band="fair")


def alignment(value: float) -> head_pb2.Alignment:
    rho = head_pb2.Coefficient(value=value, p=0.125)
    return head_pb2.Alignment(spearman=rho, agreement=coefficient(value), consistency=coefficient(value + 1))


def gain(difference: float) -> head_pb2.AlignmentGain:
    return head_pb2.AlignmentGain(difference=difference, low=-1, high=2, p=0.0625)


def response(**changes: object) -> scorer_pb.FitHeadResponse:
    fields: dict[str, object] = {
        "decision": head_pb2.FIT_DECISION_FITTED,
        "explanation": "learned",
        "ranking_count": 7,
        "target_count": 3,
        "fitted_icc2k": 0.75,
        "parent_icc2k": 0.5,
        "lpips_icc2k": 0.25,
        "lpips": alignment(0.25),
        "learned": alignment(0.75),
        "spearman_gain": gain(0.5),
        "agreement_gain": gain(0.125),
        "consistency_gain": gain(0.375),
        **changes,
    }
    return scorer_pb.FitHeadResponse(head=head_to_proto(HEAD), report=head_pb2.AlignmentReport(**fields))  # type: ignore[arg-type]


def aligned(value: float) -> Alignment:
    return Alignment(
        Coefficient(value, None, None, 0.125, ""),
        Coefficient(value, value - 0.25, value + 0.25, 0.5, "fair"),
        Coefficient(value + 1, value + 0.75, value + 1.25, 0.5, "fair"),
    )


def test_every_value_of_a_report_arrives() -> None:
    outcome = head_converters.fit_outcome(response())
    assert outcome.head == HEAD
    assert outcome.report == FitReport(
        FitDecision.FITTED,
        "learned",
        7,
        3,
        HeldOutReport(
            fitted_icc2k=0.75,
            parent_icc2k=0.5,
            lpips_icc2k=0.25,
            lpips=aligned(0.25),
            learned=aligned(0.75),
            spearman_gain=AlignmentGain(0.5, -1, 2, 0.0625),
            agreement_gain=AlignmentGain(0.125, -1, 2, 0.0625),
            consistency_gain=AlignmentGain(0.375, -1, 2, 0.0625),
        ),
    )


def test_an_icc_without_lower_bound_is_not_taken_for_zero() -> None:
    held_out = head_converters.fit_outcome(response(parent_icc2k=None)).report.held_out
    assert held_out is not None
    assert (held_out.fitted_icc2k, held_out.parent_icc2k) == (0.75, -math.inf)


def test_with_nothing_held_out_there_is_no_comparison() -> None:
    fields = ("lpips", "learned", "spearman_gain", "agreement_gain", "consistency_gain", "fitted_icc2k")
    decision = head_pb2.FIT_DECISION_FITTED_UNCHECKED
    report = head_converters.fit_outcome(response(decision=decision, **dict.fromkeys(fields))).report
    assert (report.decision, report.held_out) == (FitDecision.FITTED_UNCHECKED, None)


@pytest.mark.parametrize("decision", FitDecision)
def test_every_decision_is_known(decision: FitDecision) -> None:
    number = head_pb2.FitDecision.Value("FIT_DECISION_" + decision.name)
    assert head_converters.fit_outcome(response(decision=number)).report.decision is decision


@pytest.mark.parametrize("number", [head_pb2.FIT_DECISION_UNSPECIFIED, 99])
def test_another_decision_is_a_defect(number: int) -> None:
    with pytest.raises(InternalError, match="not known here"):
        head_converters.fit_outcome(response(decision=number))


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": b""},
        {"weights": b"123"},
        {"weights": struct.pack("<2f", 1, 2)},
        {"weights": struct.pack("<3f", 1, 2, -1)},
        {"weights": struct.pack("<3f", 1, 2, math.nan)},
        {"revision": "0" * 16},
        {"backbone_revision": "b2"},
    ],
)
def test_a_broken_head_is_a_defect(changes: dict[str, object]) -> None:
    message = head_to_proto(HEAD)
    assert head_converters.head(message) == HEAD
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(InternalError, match="a head of channels"):
        head_converters.head(message)


def test_a_difference_vector_has_the_length_that_it_says() -> None:
    message = head_pb2.DifferenceVector(metric="channels", dimensions=3, data=b"\0" * 6)
    assert head_converters.difference(message).dimensions == 3
    message.data = b"\0" * 5
    with pytest.raises(InternalError):
        head_converters.difference(message)
