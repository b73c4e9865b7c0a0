"""Compare, GetHead and FitHead through a real gRPC server: answers and every documented refusal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
from prometheus_client import REGISTRY

from likeness.scorer.v1 import scorer_service_pb2 as pb
from likeness.scorer.v1 import scorer_service_pb2_grpc as pb_grpc
from likeness.types.v1 import head_pb2, image_pb2
from services.common.heads import Recipe, distances, head_of
from services.scorer.domain import RankedDifferences
from services.scorer.metrics.lpips_distance import Lpips
from services.scorer.metrics.pixels import Psnr
from services.scorer.pictures import PAIR_PREPROCESSING, Picture
from services.scorer.registry import Registry
from tests.scorer.rpc import CODES, png, refusal, serving

MakePicture = Callable[..., Picture]
MakeRankings = Callable[..., tuple[RankedDifferences, ...]]


@pytest.fixture
async def stub(lpips_metric: Lpips) -> AsyncIterator[pb_grpc.ScorerServiceAsyncStub]:
    async with serving(Registry([lpips_metric, Psnr()])) as stub:
        yield stub


@pytest.fixture
def compare_(make_picture: MakePicture) -> pb.CompareRequest:
    """A request of two candidates and the target itself."""
    target, *candidates = (png(make_picture(seed)) for seed in (0, 1, 3))
    return pb.CompareRequest(request_id="q1", metric="lpips-squeeze", target=target, candidates=[*candidates, target])


@pytest.fixture
async def parent(stub: pb_grpc.ScorerServiceAsyncStub) -> head_pb2.Head:
    return (await stub.GetHead(pb.GetHeadRequest(metric="lpips-squeeze"))).head


@pytest.fixture
def fit_(parent: head_pb2.Head, make_rankings: MakeRankings) -> pb.FitHeadRequest:
    """A request of three targets."""
    return pb.FitHeadRequest(request_id="q2", parent=parent, rankings=_messages(make_rankings(3)))


def _messages(rankings: tuple[RankedDifferences, ...]) -> list[pb.RankedDifferences]:
    return [
        pb.RankedDifferences(
            target=ranking.target,
            places=ranking.places,
            differences=[
                head_pb2.DifferenceVector(
                    metric=one.metric,
                    backbone_revision=one.backbone_revision,
                    preprocessing=one.preprocessing,
                    dimensions=one.dimensions,
                    data=one.data,
                )
                for one in ranking.differences
            ],
        )
        for ranking in rankings
    ]


class TestCompare:
    async def test_vectors_come_in_order_with_all_that_defines_them(
        self, stub: pb_grpc.ScorerServiceAsyncStub, compare_: pb.CompareRequest, lpips_metric: Lpips
    ) -> None:
        answer = await stub.Compare(compare_)
        assert len(answer.differences) == 3
        for vector in answer.differences:
            assert (vector.metric, vector.preprocessing) == ("lpips-squeeze", PAIR_PREPROCESSING)
            assert vector.backbone_revision == lpips_metric.head.backbone.revision != lpips_metric.spec.revision
            assert (vector.dimensions, len(vector.data)) == (2240, 4480)
        request = pb.ScoreRequest(
            target=pb.ScoreSubject(image=compare_.target),
            candidates=[pb.ScoreSubject(image=image) for image in compare_.candidates],
            metrics=["lpips-squeeze"],
        )
        raws = [candidate.scores[0].raw for candidate in (await stub.Score(request)).candidates]
        rows = np.stack([np.frombuffer(vector.data, "<f2") for vector in answer.differences])
        found = distances(lpips_metric.head, rows) / 256
        # Batches of other sizes round differently by 1e-5 at most; float16 by 2^-11 of the distance.
        assert found.tolist() == pytest.approx(raws, rel=2**-11, abs=1e-5)
        assert found[2] == pytest.approx(0, abs=1e-5)
        assert found[0] != pytest.approx(found[1], rel=1e-2)

    @pytest.mark.parametrize(
        ("spoil", "field", "reason"),
        [
            (lambda r: r.ClearField("target"), "target", "INVALID_FIELD"),
            (lambda r: setattr(r.target, "data", b"GIF89a"), "target", "IMAGE_UNREADABLE"),
            (lambda r: setattr(r.target, "content_hash", "ab"), "target.content_hash", "INVALID_FIELD"),
            (lambda r: r.ClearField("candidates"), "candidates", "INVALID_FIELD"),
            (lambda r: r.candidates.extend([image_pb2.Image(data=b"x")] * 254), "candidates", "INVALID_FIELD"),
            (lambda r: r.candidates[1].ClearField("data"), "candidates[1]", "INVALID_FIELD"),
            (lambda r: setattr(r.candidates[1], "data", b"x"), "candidates[1]", "IMAGE_UNREADABLE"),
        ],
    )
    async def test_a_picture_that_is_not_taken_is_named(
        self,
        spoil: Callable[[pb.CompareRequest], object],
        field: str,
        reason: str,
        stub: pb_grpc.ScorerServiceAsyncStub,
        compare_: pb.CompareRequest,
    ) -> None:
        spoil(compare_)
        code, detail = await refusal(stub.Compare(compare_))
        assert (code, detail["field"], detail["reason"]) == (CODES.INVALID_ARGUMENT, field, reason)


@pytest.mark.parametrize("metric", ["psnr", "lpips-vgg", ""])
async def test_a_metric_without_vectors_names_those_with(
    metric: str, stub: pb_grpc.ScorerServiceAsyncStub, compare_: pb.CompareRequest, fit_: pb.FitHeadRequest
) -> None:
    compare_.metric = fit_.parent.metric = metric
    for call, field in (
        (stub.Compare(compare_), "metric"),
        (stub.GetHead(pb.GetHeadRequest(metric=metric)), "metric"),
        (stub.FitHead(fit_), "parent.metric"),
    ):
        code, detail = await refusal(call)
        assert (code, detail["field"], detail["reason"]) == (CODES.NOT_FOUND, field, "METRIC_NOT_FOUND")
        assert detail["message"].endswith("known: lpips-squeeze")


async def test_the_published_head_is_sent_whole(parent: head_pb2.Head, lpips_metric: Lpips) -> None:
    assert (parent.metric, parent.backbone_revision) == ("lpips-squeeze", lpips_metric.head.backbone.revision)
    assert list(parent.layer_channels) == [64, 128, 256, 384, 384, 512, 512]
    assert np.frombuffer(parent.weights, "<f4").tolist() == lpips_metric.heads.tolist()
    assert (parent.recipe, parent.parent_revision) == (head_pb2.HEAD_RECIPE_PUBLISHED, "")
    assert parent.revision == lpips_metric.head.revision


class TestFitHead:
    async def test_a_fit_is_answered_with_its_report_and_the_same_again(
        self, stub: pb_grpc.ScorerServiceAsyncStub, fit_: pb.FitHeadRequest, lpips_metric: Lpips
    ) -> None:
        answer = await stub.FitHead(fit_)
        head, report = answer.head, answer.report
        assert (head.recipe, head.parent_revision) == (head_pb2.HEAD_RECIPE_CONVEX, fit_.parent.revision)
        weights = np.frombuffer(head.weights, "<f4")
        expected = head_of(lpips_metric.head.backbone, weights, recipe=Recipe.CONVEX)
        assert head.revision == expected.revision != fit_.parent.revision
        assert report.decision == head_pb2.FIT_DECISION_FITTED
        assert (report.ranking_count, report.target_count) == (3, 3)
        assert "on 3 held-out targets" in report.explanation
        assert report.fitted_icc2k > report.lpips_icc2k == report.parent_icc2k
        assert report.learned.agreement.value == report.fitted_icc2k
        assert report.lpips.agreement.value == report.lpips_icc2k
        for alignment in (report.lpips, report.learned):
            assert not alignment.spearman.HasField("low")
            assert -1 <= alignment.spearman.value <= 1
            for icc in (alignment.agreement, alignment.consistency):
                assert icc.low < icc.value < icc.high
                assert 0 < icc.p < 1
                assert icc.band in ("poor", "moderate", "good", "excellent")
        for name in ("agreement", "consistency", "spearman"):
            gain = getattr(report, f"{name}_gain")
            difference = getattr(report.learned, name).value - getattr(report.lpips, name).value
            assert gain.difference == pytest.approx(difference)
            assert gain.low <= gain.difference <= gain.high
            assert 0 < gain.p <= 1
        assert await stub.FitHead(fit_) == answer

    async def test_one_target_is_learned_without_a_check(
        self, stub: pb_grpc.ScorerServiceAsyncStub, fit_: pb.FitHeadRequest
    ) -> None:
        del fit_.rankings[1:]
        report = (await stub.FitHead(fit_)).report
        assert report.decision == head_pb2.FIT_DECISION_FITTED_UNCHECKED
        assert (report.ranking_count, report.target_count) == (1, 1)
        names = {field.name for field, _ in report.ListFields()}
        assert names == {"decision", "explanation", "ranking_count", "target_count"}

    async def test_a_person_who_sees_as_the_parent_gets_it_back(
        self, stub: pb_grpc.ScorerServiceAsyncStub, fit_: pb.FitHeadRequest, lpips_metric: Lpips
    ) -> None:
        weights = np.repeat([0.1, 0.1, 3.0, 0.1, 0.1, 0.1, 0.1], lpips_metric.head.backbone.layers)
        crowd = head_of(lpips_metric.head.backbone, weights)
        fit_.parent.weights = crowd.weights
        fit_.parent.recipe = head_pb2.HEAD_RECIPE_MARGIN
        fit_.parent.parent_revision = "above"
        fit_.parent.revision = ""
        answer = await stub.FitHead(fit_)
        assert answer.report.decision == head_pb2.FIT_DECISION_PARENT
        assert answer.report.fitted_icc2k < answer.report.parent_icc2k == 1.0
        fit_.parent.revision = crowd.revision
        assert answer.head == fit_.parent

    @pytest.mark.parametrize(
        ("spoil", "field"),
        [
            (lambda r: r.ClearField("rankings"), "rankings"),
            (lambda r: r.rankings.extend([r.rankings[0]] * 254), "rankings"),
            (lambda r: setattr(r.rankings[2], "target", ""), "rankings[2].target"),
            (lambda r: r.rankings[2].ClearField("differences"), "rankings[2].differences"),
            (
                lambda r: r.rankings[1].differences.extend([r.rankings[1].differences[0]] * 59),
                "rankings[1].differences",
            ),
            (lambda r: setattr(r.rankings[2].differences[1], "data", b"x"), "rankings[2].differences[1].data"),
            (
                lambda r: setattr(r.rankings[2].differences[1], "backbone_revision", "old"),
                "rankings[2].differences[1].backbone_revision",
            ),
            (lambda r: r.rankings[1].places.append(1), "rankings[1].places"),
            (lambda r: r.rankings[1].places.__setitem__(0, float("nan")), "rankings[1].places"),
            (lambda r: r.rankings[1].places.__setitem__(slice(None), [1.0] * 6), "rankings[1].places"),
            (lambda r: setattr(r.parent, "backbone_revision", "old"), "parent.backbone_revision"),
            (lambda r: r.parent.layer_channels.append(1), "parent.layer_channels"),
            (lambda r: setattr(r.parent, "weights", r.parent.weights[:-1]), "parent.weights"),
            (lambda r: setattr(r.parent, "weights", bytes(len(r.parent.weights))), "parent.weights"),
            (lambda r: setattr(r.parent, "weights", np.full(2240, -1, "<f4").tobytes()), "parent.weights"),
            (lambda r: setattr(r.parent, "revision", "other"), "parent.revision"),
            (lambda r: setattr(r.parent, "recipe", 9), "parent.recipe"),
            (lambda r: r.tastes.extend([r.parent] * 33), "tastes"),
            (lambda r: r.tastes.extend([r.parent, head_pb2.Head(metric="lpips-vgg")]), "tastes[1].metric"),
        ],
    )
    async def test_what_is_wrong_is_named_by_field(
        self,
        spoil: Callable[[pb.FitHeadRequest], object],
        field: str,
        stub: pb_grpc.ScorerServiceAsyncStub,
        fit_: pb.FitHeadRequest,
    ) -> None:
        spoil(fit_)
        code, detail = await refusal(stub.FitHead(fit_))
        assert (code, detail["field"], detail["reason"]) == (CODES.INVALID_ARGUMENT, field, "INVALID_FIELD")
        assert "; allowed: " in detail["message"]

    async def test_pictures_all_alike_are_nothing_to_learn_from(
        self, stub: pb_grpc.ScorerServiceAsyncStub, fit_: pb.FitHeadRequest
    ) -> None:
        for ranking in fit_.rankings:
            for vector in ranking.differences:
                vector.data = ranking.differences[0].data
        code, detail = await refusal(stub.FitHead(fit_))
        assert (code, detail["field"]) == (CODES.INVALID_ARGUMENT, "rankings")
        assert (
            detail["message"] == "rankings: hold pictures that are all alike to the parent; allowed: different pictures"
        )


async def test_calls_are_counted_by_method_and_code(
    stub: pb_grpc.ScorerServiceAsyncStub, compare_: pb.CompareRequest
) -> None:
    def count(method: str, code: str) -> float:
        labels = {"method": method, "code": code}
        return REGISTRY.get_sample_value("likeness_scorer_rpc_seconds_count", labels) or 0.0

    cases = [("Compare", "OK"), ("GetHead", "NOT_FOUND"), ("FitHead", "NOT_FOUND")]
    before = [count(*case) for case in cases]
    await stub.Compare(compare_)
    await refusal(stub.GetHead(pb.GetHeadRequest()))
    await refusal(stub.FitHead(pb.FitHeadRequest()))
    assert [count(*case) for case in cases] == [one + 1 for one in before]
