"""Difference vectors, heads and what a fit found: the gateway's values to the scorer's contract and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from likeness.scorer.v1 import scorer_service_pb2 as scorer_pb
from likeness.types.v1 import head_pb2, image_pb2
from services.common.errors import InternalError, InvalidInputError
from services.common.head_messages import RECIPES, head_to_proto
from services.common.heads import Backbone, Head, Recipe, head_of
from services.gateway import ports
from services.gateway.profiles import model
from services.gateway.rpc.profile_converters import DECISIONS

_RECIPES = {value: recipe for recipe, value in RECIPES.items()}
_DECISIONS = {value: decision for decision, value in DECISIONS.items()}


def compare_request(
    metric: str, target: bytes, candidates: Sequence[bytes], request_id: str
) -> scorer_pb.CompareRequest:
    """Pairs to compare."""
    return scorer_pb.CompareRequest(
        request_id=request_id[:64],
        metric=metric,
        target=image_pb2.Image(data=target),
        candidates=[image_pb2.Image(data=data) for data in candidates],
    )


def fit_request(
    parent: Head, rankings: Sequence[ports.RankedDifferences], tastes: Sequence[Head], request_id: str
) -> scorer_pb.FitHeadRequest:
    """What to learn from."""
    return scorer_pb.FitHeadRequest(
        request_id=request_id[:64],
        parent=head_to_proto(parent),
        rankings=[
            scorer_pb.RankedDifferences(
                target=ranking.target,
                differences=[_difference_to_proto(vector) for vector in ranking.differences],
                places=ranking.places,
            )
            for ranking in rankings
        ],
        tastes=[head_to_proto(taste) for taste in tastes],
    )


def difference(message: head_pb2.DifferenceVector) -> ports.DifferenceVector:
    """A difference vector.

    Raises:
        InternalError: its bytes are not the float16 values that it announces.
    """
    if len(message.data) != 2 * message.dimensions:
        raise InternalError("the scorer sent a difference vector of another length than it says")
    return ports.DifferenceVector(
        message.metric, message.backbone_revision, message.preprocessing, message.dimensions, message.data
    )


def head(message: head_pb2.Head) -> Head:
    """A head.

    Raises:
        InternalError: its weights are none, or are not those that its revision names.
    """
    backbone = Backbone(message.metric, message.backbone_revision, tuple(message.layer_channels))
    recipe = _RECIPES.get(message.recipe, Recipe.PUBLISHED)
    try:
        weights = np.frombuffer(message.weights, dtype="<f4")
        found = head_of(backbone, weights, recipe=recipe, parent=message.parent_revision)
    except (InvalidInputError, ValueError) as error:
        raise InternalError(f"the scorer sent a head of {backbone.metric} that cannot be used") from error
    if message.revision and message.revision != found.revision:
        raise InternalError(f"the scorer sent a head of {backbone.metric} that is not of the revision it says")
    return found


def fit_outcome(response: scorer_pb.FitHeadResponse) -> ports.FitOutcome:
    """What was learned."""
    return ports.FitOutcome(head(response.head), _report(response.report))


def _difference_to_proto(vector: ports.DifferenceVector) -> head_pb2.DifferenceVector:
    return head_pb2.DifferenceVector(
        metric=vector.metric,
        backbone_revision=vector.backbone_revision,
        preprocessing=vector.preprocessing,
        dimensions=vector.dimensions,
        data=vector.data,
    )


def _report(message: head_pb2.AlignmentReport) -> model.FitReport:
    decision = _DECISIONS.get(message.decision)
    if decision is None:
        # Which weights are used depends on it: a guess would be shown to people as a finding.
        raise InternalError(f"the scorer decided on a fit in a way that is not known here: {message.decision}")
    return model.FitReport(
        decision=decision,
        explanation=message.explanation,
        ranking_count=message.ranking_count,
        target_count=message.target_count,
        held_out=_held_out(message) if message.HasField("learned") else None,
    )


def _held_out(message: head_pb2.AlignmentReport) -> model.HeldOutReport:
    # An ICC has no lower bound; one that is infinitely low is not sent.
    return model.HeldOutReport(
        fitted_icc2k=message.fitted_icc2k if message.HasField("fitted_icc2k") else -math.inf,
        parent_icc2k=message.parent_icc2k if message.HasField("parent_icc2k") else -math.inf,
        lpips_icc2k=message.lpips_icc2k if message.HasField("lpips_icc2k") else -math.inf,
        lpips=_alignment(message.lpips),
        learned=_alignment(message.learned),
        spearman_gain=_gain(message.spearman_gain),
        agreement_gain=_gain(message.agreement_gain),
        consistency_gain=_gain(message.consistency_gain),
    )


def _alignment(message: head_pb2.Alignment) -> model.Alignment:
    return model.Alignment(
        _coefficient(message.spearman), _coefficient(message.agreement), _coefficient(message.consistency)
    )


def _coefficient(message: head_pb2.Coefficient) -> model.Coefficient:
    low = message.low if message.HasField("low") else None
    high = message.high if message.HasField("high") else None
    return model.Coefficient(message.value, low, high, message.p, message.band)


def _gain(message: head_pb2.AlignmentGain) -> model.AlignmentGain:
    return model.AlignmentGain(message.difference, message.low, message.high, message.p)
