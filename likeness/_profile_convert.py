"""From the messages of personal metrics to the client's types."""

from __future__ import annotations

from likeness import _types as t
from likeness._reading import enum, optional, time
from likeness.gateway.v1 import profile_service_pb2
from likeness.types.v1 import head_pb2


def profile(item: profile_service_pb2.Profile) -> t.Profile:
    return t.Profile(
        id=item.id,
        display_name=item.display_name,
        base_metric=item.base_metric,
        parent=item.parent,
        active=_version(item.active),
        version_count=item.version_count,
        ranking_count=item.ranking_count,
        create_time=time(item.create_time),
        update_time=time(item.update_time),
    )


def profile_page(answer: profile_service_pb2.ListProfilesResponse) -> tuple[tuple[t.Profile, ...], str]:
    """Profiles of a page and the token of the next one."""
    return tuple(map(profile, answer.profiles)), answer.next_page_token


def version_page(
    answer: profile_service_pb2.ListProfileVersionsResponse,
) -> tuple[tuple[t.ProfileVersion, ...], str]:
    """Versions of a page and the token of the next one."""
    return tuple(map(_version, answer.versions)), answer.next_page_token


def _version(item: profile_service_pb2.ProfileVersion) -> t.ProfileVersion:
    return t.ProfileVersion(
        number=item.number,
        revision=item.revision,
        recipe=enum(t.HeadRecipe, head_pb2.HeadRecipe, "HEAD_RECIPE_", item.recipe) or t.HeadRecipe.UNKNOWN,
        create_time=time(item.create_time),
        report=_report(item.report) if item.HasField("report") else None,
    )


def _report(item: head_pb2.AlignmentReport) -> t.FitReport:
    return t.FitReport(
        decision=enum(t.FitDecision, head_pb2.FitDecision, "FIT_DECISION_", item.decision) or t.FitDecision.UNKNOWN,
        explanation=item.explanation,
        ranking_count=item.ranking_count,
        target_count=item.target_count,
        fitted_icc2k=optional(item, "fitted_icc2k"),
        parent_icc2k=optional(item, "parent_icc2k"),
        lpips_icc2k=optional(item, "lpips_icc2k"),
        lpips=_alignment(item.lpips) if item.HasField("lpips") else None,
        learned=_alignment(item.learned) if item.HasField("learned") else None,
        spearman_gain=_gain(item.spearman_gain) if item.HasField("spearman_gain") else None,
        agreement_gain=_gain(item.agreement_gain) if item.HasField("agreement_gain") else None,
        consistency_gain=_gain(item.consistency_gain) if item.HasField("consistency_gain") else None,
    )


def _alignment(item: head_pb2.Alignment) -> t.Alignment:
    return t.Alignment(_coefficient(item.spearman), _coefficient(item.agreement), _coefficient(item.consistency))


def _coefficient(item: head_pb2.Coefficient) -> t.Coefficient:
    return t.Coefficient(item.value, optional(item, "low"), optional(item, "high"), item.p, item.band)


def _gain(item: head_pb2.AlignmentGain) -> t.AlignmentGain:
    return t.AlignmentGain(item.difference, item.low, item.high, item.p)
