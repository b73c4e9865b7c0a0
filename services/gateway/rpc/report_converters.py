"""Reports of evaluations -> gateway.v1."""

from __future__ import annotations

from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.types.v1 import score_pb2
from services.gateway.evaluations.model import Evaluation
from services.gateway.evaluations.reports import Comparison, Mean, Report
from services.gateway.rpc.evaluation_converters import evaluation_to_proto


def report_to_proto(evaluation: Evaluation, report: Report) -> pb.EvaluationReport:
    """A report."""
    return pb.EvaluationReport(
        evaluation=evaluation_to_proto(evaluation),
        means=[_mean_to_proto(one) for one in report.means],
        comparisons=[_comparison_to_proto(one) for one in report.comparisons],
    )


def _mean_to_proto(mean: Mean) -> pb.EvaluationMean:
    found = mean.interval
    higher, lower = score_pb2.DIRECTION_HIGHER_IS_BETTER, score_pb2.DIRECTION_LOWER_IS_BETTER
    return pb.EvaluationMean(
        group=mean.group,
        system=mean.system,
        metric=mean.metric,
        count=found.n if found else 0,
        failed_count=mean.failed_count,
        mean=found.mean if found else None,
        lower=found.low if found else None,
        upper=found.high if found else None,
        direction=higher if mean.higher_is_better else lower,
    )


def _comparison_to_proto(comparison: Comparison) -> pb.EvaluationComparison:
    difference = comparison.difference
    return pb.EvaluationComparison(
        group=comparison.group,
        metric=comparison.metric,
        baseline=comparison.baseline,
        system=comparison.system,
        pair_count=difference.n,
        mean_difference=difference.mean,
        lower=difference.low,
        upper=difference.high,
        p_value=comparison.t_p,
        win_count=comparison.wins,
        tie_count=comparison.ties,
        loss_count=comparison.losses,
    )
