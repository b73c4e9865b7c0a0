"""Makes manifests and follows the evaluations that read them."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from tests.gateway.conftest import TARGET, Gateway
from tests.gateway.evaluations.streaming import COLORS, METRICS

State = pb.Evaluation
PAIRS = pb.EvaluationSettings(metrics=METRICS)
PROMPTED = pb.EvaluationSettings(metrics=["pixels"], generation=pb.EvaluationGeneration(count=2))


def inline(data: bytes) -> dict[str, str]:
    """A picture as JSON has it."""
    return {"data": base64.b64encode(data).decode()}


def pair(number: int, **fields: Any) -> dict[str, Any]:
    """A row with a target and a picture that depends on the number."""
    images = {"target": inline(TARGET), "image": inline(COLORS[number % len(COLORS)])}
    return {"item_id": f"item {number}", **images, **fields}


def prompted(number: int, **fields: Any) -> dict[str, Any]:
    """A row with a target and a prompt."""
    return {"item_id": str(number), "prompt": f"rgb {number} 20 30", "target": inline(TARGET), **fields}


def jsonl(rows: Iterable[Mapping[str, Any] | str]) -> bytes:
    """JSON lines; texts go in as they are."""
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


def tar(files: Mapping[str, bytes], *, kind: str = "w") -> bytes:
    """A tar of files by name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=kind) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


async def create(gateway: Gateway, data: bytes, settings: pb.EvaluationSettings = PAIRS, **fields: Any) -> str:
    """Name of a new job."""
    manifest = pb.EvaluationManifest(data=data)
    request = service_pb.CreateEvaluationRequest(**{"settings": settings, "manifest": manifest, **fields})
    return (await gateway.evaluations.CreateEvaluation(request)).evaluation.name


async def watched(gateway: Gateway, name: str, from_offset: int = 0) -> tuple[pb.Evaluation, list[pb.EvaluationResult]]:
    """The evaluation once it has ended, and its results from an offset on."""
    results, last = [], None
    async for event in gateway.evaluations.WatchEvaluation(
        service_pb.WatchEvaluationRequest(name=name, from_offset=from_offset)
    ):
        last = event.WhichOneof("event")
        if last == "evaluation":
            evaluation = event.evaluation
        else:
            results.append(event.result)
    assert last == "evaluation"
    return evaluation, results


async def evaluated(
    gateway: Gateway, data: bytes, settings: pb.EvaluationSettings = PAIRS
) -> tuple[pb.Evaluation, list[pb.EvaluationResult]]:
    """A job from its beginning to its end."""
    return await watched(gateway, await create(gateway, data, settings))
