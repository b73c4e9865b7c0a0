"""A FitHead request, start to end: check heads and rankings against the backbone, learn, report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from services.common import telemetry
from services.common.errors import InvalidInputError
from services.common.heads import Backbone, Head, head_of
from services.scorer import differences
from services.scorer.clpips.alignment import AlignmentReport, report, scores_by
from services.scorer.clpips.fitting import FitOutcome, fit_profile
from services.scorer.clpips.rankings import RankedSet, targets_of
from services.scorer.domain import FitQuery, RankedDifferences, SentHead
from services.scorer.metrics.lpips_distance import Lpips
from services.scorer.scoring import Check

log = telemetry.get_logger(__name__)


@dataclass(frozen=True)
class Learned:
    """What a fit found."""

    outcome: FitOutcome
    rankings: int
    targets: int
    alignment: AlignmentReport | None
    """LPIPS and the learned head on held-out rankings; None with one target, or where they cannot be compared."""


def learn(metric: Lpips, query: FitQuery, check: Check) -> Learned:
    """Learns a head from rankings; equal queries give equal heads.

    Raises:
        InvalidInputError: a head or a ranking is of another backbone, broken, or says nothing.
        CancelledError: `check` said so.
    """
    parent = _head(query.parent, metric.head.backbone)
    tastes = [_head(taste, metric.head.backbone) for taste in query.tastes]
    sets = []
    for ranking in query.rankings:
        check()
        sets.append(_ranked(metric, ranking))
    check()
    with _blamed_on("rankings"):
        outcome = fit_profile(parent, sets, lpips=metric.head, tastes=tastes)
    check()
    return Learned(outcome, len(sets), len(targets_of(sets)), _alignment(metric.head, sets, outcome))


def _alignment(lpips: Head, sets: Sequence[RankedSet], outcome: FitOutcome) -> AlignmentReport | None:
    if outcome.held_out is None:
        return None
    try:
        return report(sets, scores_by(lpips, sets), outcome.held_out.scores)
    except InvalidInputError as error:  # few pictures can leave a coefficient undefined; the fit is sound without it
        log.info("alignment_undefined", problem=error.message)
        return None


def _ranked(metric: Lpips, ranking: RankedDifferences) -> RankedSet:
    if not ranking.target:
        raise InvalidInputError(f"{ranking.field}.target", "is empty", allowed="a name")
    vectors = differences.decode(metric, ranking.differences, f"{ranking.field}.differences")
    with _blamed_on(f"{ranking.field}.places"):
        return RankedSet(ranking.target, vectors, ranking.places)


def _head(sent: SentHead, backbone: Backbone) -> Head:
    """A head of the request, if it belongs to this backbone."""
    wanted = {
        "metric": (sent.metric, backbone.metric),
        "backbone_revision": (sent.backbone_revision, backbone.revision),
        "layer_channels": (sent.layer_channels, backbone.layers),
    }
    for name, (found, allowed) in wanted.items():
        if found != allowed:
            raise InvalidInputError(f"{sent.field}.{name}", f"is {found!r:.120}", allowed=str(allowed))
    field = f"{sent.field}.weights"
    if len(sent.weights) != 4 * backbone.channels:
        problem = f"{len(sent.weights)} bytes do not hold {backbone.channels} float32 values"
        raise InvalidInputError(field, problem, allowed=f"{4 * backbone.channels} bytes")
    with _blamed_on(field):
        weights = np.frombuffer(sent.weights, dtype="<f4")
        head = head_of(backbone, weights, recipe=sent.recipe, parent=sent.parent_revision)
    if sent.revision not in ("", head.revision):
        raise InvalidInputError(f"{sent.field}.revision", f"is {sent.revision!r:.120}", allowed=head.revision)
    return head


@contextmanager
def _blamed_on(field: str) -> Iterator[None]:
    """Errors of parts that know nothing of the request, blamed on the request field that carried their input."""
    try:
        yield
    except InvalidInputError as error:
        allowed = error.metadata.get("allowed", "")
        problem = error.message.removeprefix(f"{error.field}: ").removesuffix(f"; allowed: {allowed}")
        raise InvalidInputError(field, problem, allowed=allowed) from error
