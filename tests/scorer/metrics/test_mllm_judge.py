"""The judge against a local HTTP server that speaks chat completions and answers from a script."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from services.common.errors import Reason, UnavailableError
from services.common.settings import Settings
from services.scorer.metrics import mllm_client, mllm_judge
from services.scorer.metrics.base import MetricInput
from services.scorer.metrics.mllm_client import ChatModel
from services.scorer.metrics.mllm_judge import MllmConsistency, MllmQuality
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]
Answer = str | dict[str, Any] | int
"""Content of the completion, or an HTTP status."""


@dataclass
class Endpoint:
    """A server; answers in order (the last one again and again), or by a function of the request's colors."""

    script: list[Answer] | Callable[[dict[str, Any]], Answer]
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: dict[str, Any], key: str) -> Answer:
        with self.lock:
            self.requests.append(request)
            self.keys.append(key)
            index = len(self.requests) - 1
        return self.script(request) if callable(self.script) else self.script[min(index, len(self.script) - 1)]


@contextmanager
def _serving(script: list[Answer] | Callable[[dict[str, Any]], Answer]) -> Iterator[Endpoint]:
    endpoint = Endpoint(script)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = endpoint.answer(request, self.headers["Authorization"])
            content = answer if isinstance(answer, str) else json.dumps(answer)
            message = {"role": "assistant", "content": content}
            choices = [{"index": 0, "finish_reason": "stop", "message": message}]
            body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
            payload = json.dumps({"error": {"message": "no"}} if isinstance(answer, int) else body).encode()
            self.send_response(answer if isinstance(answer, int) else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()


def _rating(rating: object) -> dict[str, Any]:
    return {"reason": "seen", "rating": rating}


def _model(endpoint: Endpoint, **options: Any) -> ChatModel:
    defaults = {"timeout_seconds": 60.0, "retry_delay_seconds": 0.001, "pause_seconds": 60.0}
    return ChatModel(endpoint.url, "judge-1", "secret-key", **defaults | options)


def _quality(endpoint: Endpoint, **options: Any) -> MllmQuality:
    return MllmQuality(_model(endpoint, **options), MetricInput.IMAGE_IMAGE)


def _sent(request: dict[str, Any]) -> list[tuple[str, Image.Image]]:
    """Words and pictures of a request, in order."""
    parts = request["messages"][1]["content"]
    urls = [part["image_url"]["url"] for part in parts[1::2]]
    pictures = [Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2]))) for url in urls]
    return list(zip([part["text"] for part in parts[::2]], pictures, strict=True))


def test_quality_shows_the_candidate_alone_and_asks_for_json_of_the_schema(make_picture: MakePicture) -> None:
    picture = make_picture(1)
    with _serving([_rating(4)]) as endpoint:
        (value,) = _quality(endpoint).rate([picture])
    assert (value.raw, value.normalized) == (4.0, 0.75)
    (request,) = endpoint.requests
    assert (request["model"], request["temperature"], endpoint.keys) == ("judge-1", 0.0, ["Bearer secret-key"])
    asked = request["response_format"]
    assert asked["type"] == "json_schema"
    assert asked["json_schema"]["strict"] is True
    assert asked["json_schema"]["schema"] == mllm_judge.SCHEMA
    assert request["messages"][0] == {"role": "system", "content": mllm_judge.QUALITY}
    ((words, sent),) = _sent(request)
    assert words == "Generated:"
    assert sent.tobytes() == picture.rgb.tobytes()


def test_consistency_shows_the_reference_first(make_picture: MakePicture) -> None:
    target, candidate = make_picture(1), make_picture(2)
    with _serving([_rating(2)]) as endpoint:
        (value,) = MllmConsistency(_model(endpoint)).score(target, [candidate])
    assert (value.raw, value.normalized) == (2.0, 0.25)
    (one, first), (other, second) = _sent(endpoint.requests[0])
    assert (one, other) == ("Reference:", "Generated:")
    assert (first.tobytes(), second.tobytes()) == (target.rgb.tobytes(), candidate.rgb.tobytes())


def test_large_pictures_are_made_smaller(make_picture: MakePicture) -> None:
    with _serving([_rating(3)]) as endpoint:
        _quality(endpoint).rate([make_picture(1, 1600, 800)])
    assert _sent(endpoint.requests[0])[0][1].size == (768, 384)


def test_every_rating_has_its_place_on_0_to_1(make_picture: MakePicture) -> None:
    with _serving([_rating(rating) for rating in (1, 2, 3, 4, 5)]) as endpoint:
        quality = _quality(endpoint)
        values = [quality.rate([make_picture(seed)])[0] for seed in range(5)]
    assert [value.raw for value in values] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [value.normalized for value in values] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_ratings_come_in_the_order_of_the_candidates_whoever_answers_first(make_picture: MakePicture) -> None:
    pictures = [make_picture(seed) for seed in range(9)]
    by_pixels = {picture.rgb.tobytes(): 1 + index % 5 for index, picture in enumerate(pictures)}

    def answer(request: dict[str, Any]) -> Answer:
        rating = by_pixels[_sent(request)[0][1].tobytes()]
        time.sleep(0.02 * (5 - rating))
        return _rating(rating)

    with _serving(answer) as endpoint:
        values = _quality(endpoint).rate(pictures)
    assert [value.raw for value in values] == [1 + index % 5 for index in range(9)]


BROKEN: dict[str, Answer] = {
    "no JSON": "I give it a 4.",
    "cut off": '{"reason": "sharp", "rat',
    "empty": "",
    "a number": "4",
    "a list": "[4]",
    "no rating": {"reason": "sharp"},
    "rating below": _rating(0),
    "rating above": _rating(6),
    "rating between": _rating(3.5),
    "rating as words": _rating("4"),
    "rating true": _rating(True),
    "rating missing": _rating(None),
    "more than asked": _rating(4) | {"run": "rm"},
    "NaN": '{"reason": "", "rating": NaN}',
    "huge": "[" * 100_000,
    "deep": "[" * 15_000,
    "server error": 500,
    "overloaded": 429,
    "gateway": 503,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_broken_answers_are_asked_again_with_another_seed(broken: Answer, make_picture: MakePicture) -> None:
    with _serving([broken, _rating(5)]) as endpoint:
        assert _quality(endpoint).rate([make_picture(1)])[0].raw == 5.0
    assert [request["seed"] for request in endpoint.requests] == [0, 1]


@pytest.mark.parametrize("broken", ["no JSON", "rating above", "server error"])
def test_tries_are_bounded(broken: str, make_picture: MakePicture) -> None:
    with _serving([BROKEN[broken]]) as endpoint, pytest.raises(UnavailableError) as caught:
        _quality(endpoint).rate([make_picture(1)])
    assert len(endpoint.requests) == 3
    assert caught.value.reason is Reason.LANGUAGE_MODEL_UNAVAILABLE
    assert "secret-key" not in caught.value.message
    assert "127.0.0.1" not in caught.value.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_refusals_are_not_asked_again(status: int, make_picture: MakePicture) -> None:
    with _serving([status]) as endpoint, pytest.raises(UnavailableError, match=f"status {status}"):
        _quality(endpoint).rate([make_picture(1)])
    assert len(endpoint.requests) == 1


def test_slow_answers_end_at_the_timeout(make_picture: MakePicture) -> None:
    given_up = threading.Event()

    def late(_: dict[str, Any]) -> Answer:
        given_up.wait(60)
        return 503

    with _serving(late) as endpoint:
        with pytest.raises(UnavailableError, match="timeout"):
            _quality(endpoint, timeout_seconds=0.5).rate([make_picture(1)])
        # A server in threads of its own may be slower to take a question than the one who asks is to give it up.
        until = time.monotonic() + 60
        while len(endpoint.requests) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        given_up.set()
    assert len(endpoint.requests) == 3


def test_a_broken_answer_for_one_leaves_the_others_rated_and_they_are_not_asked_again(
    make_picture: MakePicture,
) -> None:
    good, bad = make_picture(1), make_picture(2)

    def answer(request: dict[str, Any]) -> Answer:
        return "no JSON" if _sent(request)[0][1].tobytes() == bad.rgb.tobytes() else _rating(4)

    with _serving(answer) as endpoint:
        quality = _quality(endpoint)
        with pytest.raises(UnavailableError, match="no valid answer"):
            quality.rate([bad, good, make_picture(3)])
        before = len(endpoint.requests)
        assert before == 3 + 2
        assert quality.rate([good])[0].raw == 4.0
        assert len(endpoint.requests) == before


def test_an_endpoint_that_gave_no_answer_is_left_alone_for_a_while(
    make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _serving([503]) as endpoint:
        quality = _quality(endpoint, pause_seconds=3600)
        with pytest.raises(UnavailableError, match="status 503"):
            quality.rate([make_picture(seed) for seed in range(32)])
        # Four are asked at once; the others learn from them.
        assert len(endpoint.requests) <= 4 * 3
        spent = len(endpoint.requests)
        with pytest.raises(UnavailableError, match="status 503"):
            quality.rate([make_picture(1)])
        assert len(endpoint.requests) == spent
        clock = time.monotonic
        monkeypatch.setattr(mllm_client, "time", SimpleNamespace(monotonic=lambda: clock() + 3600))
        endpoint.script = [_rating(5)]
        assert quality.rate([make_picture(1)])[0].raw == 5.0


def test_an_endpoint_that_is_not_there(make_picture: MakePicture) -> None:
    with _serving([_rating(1)]) as endpoint:
        quality = _quality(endpoint)
    with pytest.raises(UnavailableError, match="no connection") as caught:
        quality.rate([make_picture(1)])
    assert caught.value.retry_after_seconds


def test_equal_pictures_are_asked_about_once(make_picture: MakePicture) -> None:
    with _serving([_rating(rating) for rating in (2, 5, 1)]) as endpoint:
        quality = _quality(endpoint)
        first = quality.rate([make_picture(1), make_picture(1)])
        assert [value.raw for value in first] == [2.0, 2.0]
        assert quality.rate([make_picture(2), make_picture(1)])[1].raw == 2.0
    assert len(endpoint.requests) == 2


def test_a_rating_of_a_pair_is_not_that_of_another_reference(make_picture: MakePicture) -> None:
    with _serving([_rating(2), _rating(5)]) as endpoint:
        consistency = MllmConsistency(_model(endpoint))
        one = consistency.score(make_picture(1), [make_picture(3)])
        other = consistency.score(make_picture(2), [make_picture(3)])
    assert (one[0].raw, other[0].raw) == (2.0, 5.0)


def test_ratings_kept_are_bounded(make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mllm_judge, "MEMORY", 2)
    with _serving([_rating(3)]) as endpoint:
        quality = _quality(endpoint)
        for seed in (1, 2, 3, 3, 1):
            quality.rate([make_picture(seed)])
    assert len(endpoint.requests) == 4


def test_the_revision_names_model_and_instructions() -> None:
    one, other = (ChatModel("http://127.0.0.1:9/v1", name, "") for name in ("judge-1", "judge-2"))
    specs = [MllmConsistency(one).spec, MllmConsistency(other).spec, MllmQuality(one, MetricInput.IMAGE_IMAGE).spec]
    assert len({spec.revision for spec in specs}) == 3
    assert MllmConsistency(one).spec.revision == specs[0].revision
    assert {(spec.minimum, spec.maximum, spec.higher_is_better, spec.embedded) for spec in specs} == {
        (1.0, 5.0, True, False)
    }


def test_both_metrics_are_built_where_an_endpoint_is_set() -> None:
    settings = Settings(llm_base_url="http://127.0.0.1:9/v1", llm_model="judge-1")
    metrics = mllm_judge.build(settings, MetricInput.IMAGE_IMAGE)
    assert [metric.spec.id for metric in metrics] == ["mllm-consistency", "mllm-quality"]
    with pytest.raises(UnavailableError, match="LIKENESS_LLM_BASE_URL"):
        mllm_judge.build(Settings(llm_base_url=None), MetricInput.IMAGE_IMAGE)
