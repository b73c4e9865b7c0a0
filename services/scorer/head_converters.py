"""Protobuf messages of heads, rankings and fits to the scorer's values and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from likeness.scorer.v1 import scorer_service_pb2 as pb
from likeness.types.v1 import head_pb2
from services.common.errors import InvalidInputError
from services.common.head_messages import RECIPES, head_to_proto
from services.common.heads import Head, Recipe
from services.common.statistics import BootstrapDifference, Icc, Spearman
from services.scorer.clpips.alignment import Alignment
from services.scorer.clpips.fitting import Decision
from services.scorer.domain import DifferenceVector, FitQuery, RankedDifferences, SentHead
from services.scorer.learning import Learned

_SENT_RECIPES = {
    # Weights of which nothing is said are taken as they come, like published ones.
    head_pb2.HEAD_RECIPE_UNSPECIFIED: Recipe.PUBLISHED,
    **{number: recipe for recipe, number in RECIPES.items()},
}
_DECISIONS = {
    Decision.FITTED: head_pb2.FIT_DECISION_FITTED,
    Decision.FITTED_UNCHECKED: head_pb2.FIT_DECISION_FITTED_UNCHECKED,
    Decision.PARENT: head_pb2.FIT_DECISION_PARENT,
    Decision.LPIPS: head_pb2.FIT_DECISION_LPIPS,
}


def fit_query_from(request: pb.FitHeadRequest) -> FitQuery:
    """What a FitHead request gives to learn from; InvalidInputError names a recipe that there is not."""
    return FitQuery(
        parent=_sent_head(request.parent, "parent"),
        rankings=tuple(_ranking(message, f"rankings[{i}]") for i, message in enumerate(request.rankings)),
        tastes=tuple(_sent_head(message, f"tastes[{i}]") for i, message in enumerate(request.tastes)),
    )


def compare_response(differences: Sequence[DifferenceVector]) -> pb.CompareResponse:
    """Answer of Compare."""
    messages = (
        head_pb2.DifferenceVector(
            metric=vector.metric,
            backbone_revision=vector.backbone_revision,
            preprocessing=vector.preprocessing,
            dimensions=vector.dimensions,
            data=vector.data,
        )
        for vector in differences
    )
    return pb.CompareResponse(differences=messages)


def head_response(head: Head) -> pb.GetHeadResponse:
    """Answer of GetHead."""
    return pb.GetHeadResponse(head=head_to_proto(head))


def fit_response(learned: Learned) -> pb.FitHeadResponse:
    """Answer of FitHead."""
    outcome, alignment = learned.outcome, learned.alignment
    message = head_pb2.AlignmentReport(
        decision=_DECISIONS[outcome.decision],
        explanation=outcome.explanation,
        ranking_count=learned.rankings,
        target_count=learned.targets,
    )
    if outcome.held_out:
        message.MergeFrom(
            head_pb2.AlignmentReport(
                fitted_icc2k=_finite(outcome.held_out.fitted),
                parent_icc2k=_finite(outcome.held_out.parent),
                lpips_icc2k=_finite(outcome.held_out.lpips),
            )
        )
    if alignment:
        message.MergeFrom(
            head_pb2.AlignmentReport(
                lpips=_alignment(alignment.baseline),
                learned=_alignment(alignment.personal),
                spearman_gain=_gain(alignment.spearman_gain),
                agreement_gain=_gain(alignment.agreement_gain),
                consistency_gain=_gain(alignment.consistency_gain),
            )
        )
    return pb.FitHeadResponse(head=head_to_proto(outcome.head), report=message)


def _sent_head(message: head_pb2.Head, field: str) -> SentHead:
    recipe = _SENT_RECIPES.get(message.recipe)
    if recipe is None:
        allowed = ", ".join(head_pb2.HeadRecipe.Name(number) for number in RECIPES.values())
        raise InvalidInputError(f"{field}.recipe", f"is {message.recipe}", allowed=allowed)
    return SentHead(
        field=field,
        metric=message.metric,
        backbone_revision=message.backbone_revision,
        layer_channels=tuple(message.layer_channels),
        weights=message.weights,
        recipe=recipe,
        parent_revision=message.parent_revision,
        revision=message.revision,
    )


def _ranking(message: pb.RankedDifferences, field: str) -> RankedDifferences:
    vectors = (
        DifferenceVector(one.metric, one.backbone_revision, one.preprocessing, one.dimensions, one.data)
        for one in message.differences
    )
    return RankedDifferences(field, message.target, tuple(vectors), tuple(message.places))


def _alignment(alignment: Alignment) -> head_pb2.Alignment:
    return head_pb2.Alignment(
        spearman=_rho(alignment.spearman),
        agreement=_icc(alignment.agreement),
        consistency=_icc(alignment.consistency),
    )


def _rho(spearman: Spearman) -> head_pb2.Coefficient:
    return head_pb2.Coefficient(value=spearman.rho, p=spearman.p)


def _icc(icc: Icc) -> head_pb2.Coefficient:
    return head_pb2.Coefficient(
        value=icc.value, low=_finite(icc.low), high=_finite(icc.high), p=icc.p, band=icc.koo_li.value
    )


def _gain(gain: BootstrapDifference) -> head_pb2.AlignmentGain:
    return head_pb2.AlignmentGain(difference=gain.difference, low=gain.low, high=gain.high, p=gain.p)


def _finite(value: float) -> float | None:
    """An ICC and its interval have no lower bound: where raters contradict each other throughout, there is none."""
    return value if math.isfinite(value) else None
