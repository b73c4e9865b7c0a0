"""The scorer through a real gRPC server: answers and every documented refusal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from likeness.scorer.v1 import scorer_service_pb2 as pb
from likeness.scorer.v1 import scorer_service_pb2_grpc as pb_grpc
from likeness.types.v1 import image_pb2, score_pb2
from services.scorer.metrics import clip
from services.scorer.pictures import Picture
from services.scorer.registry import Registry
from tests.scorer.rpc import CODES, png, refusal, serving

MakePicture = Callable[..., Picture]


@pytest.fixture
async def stub(loaded: Registry) -> AsyncIterator[pb_grpc.ScorerServiceAsyncStub]:
    async with serving(loaded) as stub:
        yield stub


def _subject(picture: Picture) -> pb.ScoreSubject:
    return pb.ScoreSubject(image=png(picture))


@pytest.fixture
def request_(make_picture: MakePicture) -> pb.ScoreRequest:
    """A request that every metric can answer."""
    return pb.ScoreRequest(
        request_id="q1",
        target=_subject(make_picture(0)),
        text="a red car",
        candidates=[_subject(make_picture(seed)) for seed in (1, 2)],
        metrics=["clip-embedded", "clip-embedded-text", "ssim", "psnr", "phash", "colorhash"],
    )


async def test_metrics_are_listed_with_all_that_defines_them(stub: pb_grpc.ScorerServiceAsyncStub) -> None:
    answer = await stub.ListMetrics(pb.ListMetricsRequest())
    metrics = {metric.id: metric for metric in answer.metrics}
    assert list(metrics) == [
        "clip-embedded", "clip-embedded-text", "ssim", "ms-ssim", "psnr",
        "ahash", "phash", "dhash", "whash", "colorhash", "crophash",
    ]  # fmt: skip
    models = {model.id: model for model in answer.models}
    for metric in metrics.values():
        assert metric.revision and metric.description and metric.preprocessing and metric.license
        assert metric.input and metric.direction
        if metric.embedding_model:
            assert models[metric.embedding_model].revision == metric.revision
    text = metrics["clip-embedded-text"]
    assert (text.input, text.token_limit) == (score_pb2.METRIC_INPUT_TEXT_IMAGE, 16)
    assert not metrics["clip-embedded"].HasField("token_limit")
    assert (metrics["phash"].direction, metrics["phash"].maximum) == (score_pb2.DIRECTION_LOWER_IS_BETTER, 64)
    assert not metrics["crophash"].HasField("maximum")


async def test_a_metric_without_weights_is_listed_as_absent(stub: pb_grpc.ScorerServiceAsyncStub) -> None:
    answer = await stub.ListMetrics(pb.ListMetricsRequest())
    absent = {metric.id: metric.reason for metric in answer.absent}
    assert "LIKENESS_LPIPS_WEIGHTS_DIR" in absent["lpips-squeeze"]
    assert not absent.keys() & {metric.id for metric in answer.metrics}


async def test_scores_come_in_the_order_asked_with_their_scale(
    stub: pb_grpc.ScorerServiceAsyncStub, request_: pb.ScoreRequest
) -> None:
    answer = await stub.Score(request_)
    assert len(answer.candidates) == 2
    for candidate in answer.candidates:
        assert [score.metric for score in candidate.scores] == list(request_.metrics)
        assert not candidate.text_truncated
        for score in candidate.scores:
            assert not score.HasField("error")
            assert 0 <= score.normalized <= 1
            assert score.minimum <= score.raw <= score.maximum


async def test_a_candidate_equal_to_the_target_is_best(
    stub: pb_grpc.ScorerServiceAsyncStub, request_: pb.ScoreRequest
) -> None:
    request_.candidates[1].CopyFrom(request_.target)
    other, same = (await stub.Score(request_)).candidates
    for index, score in enumerate(same.scores):
        if score.metric != "clip-embedded-text":
            assert score.normalized == pytest.approx(1.0, abs=1e-6)
            assert score.normalized > other.scores[index].normalized


async def test_known_embeddings_replace_the_pictures(
    stub: pb_grpc.ScorerServiceAsyncStub,
    request_: pb.ScoreRequest,
    make_picture: MakePicture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del request_.metrics[:]
    request_.metrics.extend(["clip-embedded", "clip-embedded-text", "phash", "crophash"])
    expected = await stub.Score(request_)
    pictures = [make_picture(seed) for seed in (0, 1, 2)]
    subjects = [request_.target, *request_.candidates]
    for model in ("clip-embedded", "phash", "crophash"):
        embedded = await stub.Embed(
            pb.EmbedRequest(request_id="q", model=model, images=[png(picture) for picture in pictures])
        )
        for subject, embedding in zip(subjects, embedded.embeddings, strict=True):
            assert len(embedding.data) == 4 * embedding.dimensions
            subject.embeddings.append(embedding)
    for subject in subjects:
        subject.ClearField("image")

    def no_pass(*_: object) -> None:
        raise AssertionError("a picture was embedded again")

    monkeypatch.setattr(clip.ClipEmbedder, "embed", no_pass)
    again = await stub.Score(request_)
    for one, other in zip(expected.candidates, again.candidates, strict=True):
        assert [score.raw for score in one.scores] == pytest.approx([score.raw for score in other.scores], abs=1e-5)
        assert not any(score.HasField("error") for score in other.scores)


@pytest.mark.parametrize("stale", ["revision", "preprocessing"])
async def test_an_embedding_of_another_revision_is_not_used(
    stale: str, stub: pb_grpc.ScorerServiceAsyncStub, request_: pb.ScoreRequest
) -> None:
    del request_.metrics[1:]
    expected = (await stub.Score(request_)).candidates[0].scores[0]
    known = (await stub.Embed(pb.EmbedRequest(model="clip-embedded", images=[request_.target.image]))).embeddings[0]
    setattr(known, stale, "old")
    known.data = np.ones(known.dimensions, "<f4").tobytes()
    request_.target.embeddings.append(known)
    assert (await stub.Score(request_)).candidates[0].scores[0].raw == expected.raw
    request_.target.ClearField("image")
    code, detail = await refusal(stub.Score(request_))
    assert (code, detail["field"]) == (CODES.INVALID_ARGUMENT, "target.image")
    assert "clip-embedded" in detail["message"]


async def test_a_broken_known_embedding_is_refused(
    stub: pb_grpc.ScorerServiceAsyncStub, request_: pb.ScoreRequest
) -> None:
    known = (await stub.Embed(pb.EmbedRequest(model="clip-embedded", images=[request_.target.image]))).embeddings[0]
    request_.candidates[1].embeddings.append(known)
    request_.candidates[1].embeddings[0].data = known.data[:-1]
    assert (await refusal(stub.Score(request_)))[1]["field"] == "candidates[1].embeddings[0].data"
    request_.candidates[1].embeddings[0].data = known.data[:-4]
    request_.candidates[1].embeddings[0].dimensions -= 1
    assert (await refusal(stub.Score(request_)))[1]["field"] == "candidates[1].embeddings[0].dimensions"


async def test_an_embedding_without_direction_fails_alone(
    stub: pb_grpc.ScorerServiceAsyncStub, request_: pb.ScoreRequest
) -> None:
    known = (await stub.Embed(pb.EmbedRequest(model="clip-embedded", images=[request_.target.image]))).embeddings[0]
    known.data = bytes(len(known.data))
    request_.candidates[1].embeddings.append(known)
    whole, failed = (await stub.Score(request_)).candidates
    assert not any(score.HasField("error") for score in whole.scores)
    errors = {score.metric: score.error.reason for score in failed.scores if score.HasField("error")}
    assert errors == {"clip-embedded": "INTERNAL", "clip-embedded-text": "INTERNAL"}
    assert all(score.raw == score.normalized == 0 for score in failed.scores if score.HasField("error"))


async def test_a_text_over_the_token_limit_is_flagged(
    stub: pb_grpc.ScorerServiceAsyncStub, request_: pb.ScoreRequest
) -> None:
    request_.text = "red " * 40
    candidates = (await stub.Score(request_)).candidates
    assert all(candidate.text_truncated for candidate in candidates)
    cut = {score.metric for one in candidates for score in one.scores if score.text_truncated}
    assert cut == {"clip-embedded-text"}
    del request_.metrics[1]
    assert not any(candidate.text_truncated for candidate in (await stub.Score(request_)).candidates)


async def test_a_pair_metric_needs_no_text_and_a_text_metric_no_target(
    stub: pb_grpc.ScorerServiceAsyncStub, request_: pb.ScoreRequest
) -> None:
    request_.ClearField("target")
    del request_.metrics[:]
    request_.metrics.append("clip-embedded-text")
    assert len((await stub.Score(request_)).candidates) == 2
    code, detail = await refusal(stub.Score(pb.ScoreRequest(candidates=request_.candidates, metrics=["ssim"])))
    assert (code, detail["field"]) == (CODES.INVALID_ARGUMENT, "target")


Spoil = Callable[[pb.ScoreRequest], object]


@pytest.mark.parametrize(
    ("spoil", "field", "reason"),
    [
        (lambda r: r.ClearField("metrics"), "metrics", "INVALID_FIELD"),
        (lambda r: r.metrics.extend(["ssim"] * 27), "metrics", "INVALID_FIELD"),
        (lambda r: r.ClearField("candidates"), "candidates", "INVALID_FIELD"),
        (lambda r: r.candidates.extend([r.candidates[0]] * 255), "candidates", "INVALID_FIELD"),
        (lambda r: r.ClearField("target"), "target", "INVALID_FIELD"),
        (lambda r: r.target.ClearField("image"), "target.image", "INVALID_FIELD"),
        (lambda r: setattr(r, "text", " "), "text", "INVALID_FIELD"),
        (lambda r: setattr(r, "text", "x" * 10_000), "text", "INVALID_FIELD"),
        (lambda r: r.candidates[1].ClearField("image"), "candidates[1].image", "INVALID_FIELD"),
        (lambda r: setattr(r.target.image, "data", b""), "target.image", "IMAGE_UNREADABLE"),
        (lambda r: setattr(r.candidates[1].image, "data", b"GIF89a"), "candidates[1].image", "IMAGE_UNREADABLE"),
        (
            lambda r: setattr(r.candidates[0].image, "content_hash", "ab" * 32),
            "candidates[0].image.content_hash",
            "INVALID_FIELD",
        ),
    ],
)
async def test_what_is_wrong_is_named_by_field_and_reason(
    spoil: Spoil, field: str, reason: str, stub: pb_grpc.ScorerServiceAsyncStub, request_: pb.ScoreRequest
) -> None:
    spoil(request_)
    code, detail = await refusal(stub.Score(request_))
    assert (code, detail["field"], detail["reason"]) == (CODES.INVALID_ARGUMENT, field, reason)


async def test_an_unknown_metric_names_the_known_ones(
    stub: pb_grpc.ScorerServiceAsyncStub, request_: pb.ScoreRequest
) -> None:
    request_.metrics[2] = "clip"
    code, detail = await refusal(stub.Score(request_))
    assert (code, detail["field"], detail["reason"]) == (CODES.NOT_FOUND, "metrics[2]", "METRIC_NOT_FOUND")
    assert "known: ahash, clip-embedded, clip-embedded-text" in detail["message"]


async def test_lpips_without_weights_says_what_to_do(
    stub: pb_grpc.ScorerServiceAsyncStub, request_: pb.ScoreRequest
) -> None:
    request_.metrics[0] = "lpips-squeeze"
    code, detail = await refusal(stub.Score(request_))
    assert (code, detail["reason"]) == (CODES.NOT_FOUND, "METRIC_NOT_FOUND")
    assert "squeezenet1_1_features.safetensors" in detail["message"]
    assert "LIKENESS_LPIPS_WEIGHTS_DIR" in detail["message"]


@pytest.mark.parametrize(
    ("images", "field", "reason"),
    [
        ([], "images", "INVALID_FIELD"),
        ([image_pb2.Image(data=b"x")] * 257, "images", "INVALID_FIELD"),
        ([image_pb2.Image(data=b"x")], "images[0]", "IMAGE_UNREADABLE"),
        ([image_pb2.Image()], "images[0]", "INVALID_FIELD"),
        ([image_pb2.Image(content_hash="ab")], "images[0].content_hash", "INVALID_FIELD"),
    ],
)
async def test_embed_names_the_picture_it_cannot_take(
    images: list[image_pb2.Image], field: str, reason: str, stub: pb_grpc.ScorerServiceAsyncStub
) -> None:
    code, detail = await refusal(stub.Embed(pb.EmbedRequest(model="phash", images=images)))
    assert (code, detail["field"], detail["reason"]) == (CODES.INVALID_ARGUMENT, field, reason)


async def test_embed_by_an_unknown_model_names_the_known_ones(stub: pb_grpc.ScorerServiceAsyncStub) -> None:
    code, detail = await refusal(stub.Embed(pb.EmbedRequest(model="ssim", images=[image_pb2.Image(data=b"x")])))
    assert (code, detail["field"], detail["reason"]) == (CODES.NOT_FOUND, "model", "MODEL_NOT_FOUND")
    assert "clip-embedded" in detail["message"]


async def test_embeddings_come_in_order_and_equal_pictures_get_equal_vectors(
    stub: pb_grpc.ScorerServiceAsyncStub, make_picture: MakePicture
) -> None:
    a, b = png(make_picture(1)), png(make_picture(2))
    answer = await stub.Embed(pb.EmbedRequest(model="clip-embedded", images=[a, b, a]))
    first, second, third = (np.frombuffer(embedding.data, "<f4") for embedding in answer.embeddings)
    np.testing.assert_array_equal(first, third)
    assert np.linalg.norm(first) == pytest.approx(1.0, abs=1e-6)
    assert not np.allclose(first, second)
