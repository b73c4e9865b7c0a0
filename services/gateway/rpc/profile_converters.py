"""gateway.v1 profiles <-> the gateway's values."""

from __future__ import annotations

from likeness.gateway.v1 import profile_service_pb2 as pb
from likeness.types.v1 import head_pb2
from services.common.head_messages import RECIPES
from services.gateway.profiles import model
from services.gateway.rpc import type_converters as types
from services.gateway.rpc.converters import time_to_proto

DECISIONS = {
    model.FitDecision.FITTED: head_pb2.FIT_DECISION_FITTED,
    model.FitDecision.FITTED_UNCHECKED: head_pb2.FIT_DECISION_FITTED_UNCHECKED,
    model.FitDecision.PARENT: head_pb2.FIT_DECISION_PARENT,
    model.FitDecision.LPIPS: head_pb2.FIT_DECISION_LPIPS,
}


def ranking_from_proto(ranking: pb.RankedPictures) -> model.RankingInput:
    """A ranking as asked for."""
    return model.RankingInput(
        target=types.picture_from_proto(ranking.target) if ranking.HasField("target") else None,
        pictures=tuple(types.picture_from_proto(picture) for picture in ranking.pictures),
        places=tuple(ranking.places),
    )


def profile_to_proto(profile: model.Profile) -> pb.Profile:
    """A profile with its active version."""
    return pb.Profile(
        id=profile.id,
        display_name=profile.display_name,
        base_metric=profile.base_metric,
        parent=profile.parent,
        active=version_to_proto(profile.active),
        version_count=profile.version_count,
        ranking_count=profile.ranking_count,
        create_time=time_to_proto(profile.create_time),
        update_time=time_to_proto(profile.update_time),
    )


def version_to_proto(version: model.ProfileVersion) -> pb.ProfileVersion:
    """A version with its report."""
    return pb.ProfileVersion(
        number=version.number,
        revision=version.revision,
        recipe=RECIPES[version.recipe],
        report=_report(version.report) if version.report else None,
        create_time=time_to_proto(version.create_time),
    )


def _report(report: model.FitReport) -> head_pb2.AlignmentReport:
    message = head_pb2.AlignmentReport(
        decision=DECISIONS[report.decision],
        explanation=report.explanation,
        ranking_count=report.ranking_count,
        target_count=report.target_count,
    )
    if (held_out := report.held_out) is not None:
        message.MergeFrom(
            head_pb2.AlignmentReport(
                fitted_icc2k=held_out.fitted_icc2k,
                parent_icc2k=held_out.parent_icc2k,
                lpips_icc2k=held_out.lpips_icc2k,
                lpips=_alignment(held_out.lpips),
                learned=_alignment(held_out.learned),
                spearman_gain=_gain(held_out.spearman_gain),
                agreement_gain=_gain(held_out.agreement_gain),
                consistency_gain=_gain(held_out.consistency_gain),
            )
        )
    return message


def _alignment(value: model.Alignment) -> head_pb2.Alignment:
    return head_pb2.Alignment(
        spearman=_coefficient(value.spearman),
        agreement=_coefficient(value.agreement),
        consistency=_coefficient(value.consistency),
    )


def _coefficient(value: model.Coefficient) -> head_pb2.Coefficient:
    return head_pb2.Coefficient(value=value.value, low=value.low, high=value.high, p=value.p, band=value.band)


def _gain(value: model.AlignmentGain) -> head_pb2.AlignmentGain:
    return head_pb2.AlignmentGain(difference=value.difference, low=value.low, high=value.high, p=value.p)
