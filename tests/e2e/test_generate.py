"""Pictures from a prompt through the whole cluster, by gRPC, SDK and command line, and every kind of bad request."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from PIL import Image, ImageChops, ImageStat

from likeness import Client, GeneratedImage, GenerationProgress
from likeness.gateway.v1 import image_service_pb2 as pb
from likeness.gateway.v1.image_service_pb2_grpc import ImageServiceStub
from tests.e2e.test_bad_input import refusal

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "a large red star in the center at night, plain style, high quality"
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


def generate(channel: grpc.Channel, **fields: object) -> list[pb.GenerateImagesResponse]:
    request = pb.GenerateImagesRequest(**{"prompt": PROMPT, "steps": 4, **fields})  # type: ignore[arg-type]
    return list(ImageServiceStub(channel).GenerateImages(request, timeout=120))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def test_pictures_come_with_progress_and_can_be_made_again(channel: grpc.Channel) -> None:
    events = generate(channel, seed=1, count=2, keep=True)
    for number in (1, 2):
        kinds = [event.WhichOneof("event") for event in events if event.image_number == number]
        assert kinds[-1] == "image" and kinds.count("image") == 1 and {"queued", "started"} <= set(kinds)
    steps = [event.step for event in events if event.HasField("step")]
    assert steps and all(1 <= one.step <= one.total_steps == 4 and one.HasField("time_left") for one in steps)
    made = sorted((event for event in events if event.HasField("image")), key=lambda event: event.image_number)
    assert [event.seed for event in made] == [event.image.record.seed for event in made] == [1, 2]
    stub = ImageServiceStub(channel)
    for one in (event.image for event in made):
        inside = json.loads(Image.open(io.BytesIO(one.data)).text["likeness"])
        assert inside["prompt"] == one.record.prompt == PROMPT and inside["steps"] == one.record.steps == 4
        stored = stub.GetImage(pb.GetImageRequest(content_hash=one.info.content_hash), timeout=60)
        assert (stored.data, stored.info) == (one.data, one.info)
    again = next(event.image for event in generate(channel, seed=1) if event.HasField("image"))
    # Alone, not in a batch of two: the generator's documented tolerance.
    difference = ImageChops.difference(opened(again.data), opened(made[0].image.data))
    assert max(ImageStat.Stat(difference).mean) <= 1.0


def test_leaving_frees_the_denoiser_for_others(cluster: object) -> None:
    with Client(cluster.address) as client:  # type: ignore[attr-defined]
        events = client.generate_events(PROMPT, count=16, steps=50)
        assert any(isinstance(event, GenerationProgress) and event.step for event in events)
        events.close()  # type: ignore[attr-defined]
        seen = list(client.generate_events(PROMPT, seed=3, steps=2))
    assert isinstance(seen[-1], GeneratedImage) and seen[-1].error is None


def test_the_command_line_writes_what_the_server_made(cluster: object, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "likeness.cli.main", "generate", PROMPT, "--count", "2", "--seed", "1"]
    command += ["--steps", "4", "--out", str(tmp_path), "--json", "--address", cluster.address]  # type: ignore[attr-defined]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=True)
    pictures = [json.loads(line) for line in answer.stdout.splitlines()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0001-1.png", "0002-2.png"]
    for one in pictures:
        with Image.open(one["file"]) as picture:
            assert json.loads(picture.text["likeness"])["seed"] == one["picture"]["seed"]


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"count": 0}, (INVALID, "INVALID_FIELD", "count")),
        ({"count": 17}, (INVALID, "INVALID_FIELD", "count")),
        ({"prompt": ""}, (INVALID, "INVALID_FIELD", "prompt")),
        ({"prompt": "x" * 10_000}, (INVALID, "INVALID_FIELD", "prompt")),
        ({"steps": 0}, (INVALID, "INVALID_FIELD", "steps")),
        ({"steps": -1}, (INVALID, "INVALID_FIELD", "steps")),
        ({"guidance_scale": float("nan")}, (INVALID, "INVALID_FIELD", "guidance_scale")),
        ({"width_pixels": 63}, (INVALID, "INVALID_FIELD", "width_pixels")),
        ({"height_pixels": 100_000}, (INVALID, "INVALID_FIELD", "height_pixels")),
        ({"scheduler": "nope"}, (INVALID, "INVALID_FIELD", "scheduler")),
        ({"negative_prompt": "blue", "guidance_scale": 1.0}, (INVALID, "INVALID_FIELD", "negative_prompt")),
        ({"model": "nope"}, (NOT_FOUND, "MODEL_NOT_FOUND", "")),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_requests_name_the_field_and_what_is_allowed(
    channel: grpc.Channel, fields: dict[str, object], refused: tuple[grpc.StatusCode, str, str]
) -> None:
    assert refusal(lambda: generate(channel, **fields)) == refused
