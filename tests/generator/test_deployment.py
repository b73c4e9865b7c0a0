"""The generator behind Ray Serve's own gRPC proxy: answers, errors, cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import yaml

from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from services.cluster.processes import StartError
from services.cluster.ray_cluster import RayCluster
from tests.generator.grpc_server import item, request
from tests.generator.tiny import TINY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

METADATA = (("application", "generator"), ("x-request-id", "q1"))


def generator_cluster(
    folder: Path, models_dir: Path, *, model_id: str = TINY.id, replicas: int = 1
) -> tuple[RayCluster, int]:
    """Ray with the tiny model behind Serve, not started yet, and the port of Serve's proxy."""
    profile = folder / "tiny.yaml"
    defaults = {"metrics": ["ssim"], "selection_metrics": ["ssim"]}
    models = [TINY.model_copy(update={"id": model_id, "max_steps": 1000}).model_dump()]
    profile.write_text(yaml.safe_dump({"name": "t", "description": "", "generators": models, "defaults": defaults}))
    settings = {"PROFILE": str(profile), "MODELS_DIR": str(models_dir), "DEVICE": "cpu", "TORCH_THREADS": "1"}
    settings["GENERATOR_REPLICAS"] = str(replicas)
    environment = os.environ | {f"LIKENESS_{name}": value for name, value in settings.items()}
    grpc_port, http_port = _free_ports(2)
    cluster = RayCluster(
        run_dir=folder,
        log=folder / "ray.log",
        environment=environment,
        grpc_port=grpc_port,
        http_port=http_port,
        applications={"generator": "services.generator.deployment:app"},
        on_ready=lambda _: None,
    )
    return cluster, grpc_port


@pytest.fixture
async def served(models_dir: Path) -> AsyncIterator[rpc.GeneratorServiceStub]:
    """A stub of the proxy of a running Serve."""
    # Ray's sockets lie in the folder and their paths may have 107 characters at most: pytest's folders are too deep.
    with tempfile.TemporaryDirectory(prefix="likeness-", ignore_cleanup_errors=True) as folder:
        cluster, port = generator_cluster(Path(folder), models_dir)
        try:
            await cluster.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield rpc.GeneratorServiceStub(channel)
        finally:
            await cluster.stop()


async def test_models_pictures_errors_and_cancellation_pass_the_proxy(served: rpc.GeneratorServiceStub) -> None:
    models = (await served.ListModels(pb.ListModelsRequest(), metadata=METADATA)).models
    assert [model.id for model in models] == ["tiny"]

    answers = [answer async for answer in served.Generate(request(item("a"), item("b", seed=2)), metadata=METADATA)]
    last = {answer.item_id: answer.WhichOneof("event") for answer in answers}
    assert last == {"a": "image", "b": "image"}

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.Generate(request(item(steps=0)), metadata=METADATA).read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    detail = json.loads(refused.value.details() or "")
    assert (detail["reason"], detail["field"]) == ("INVALID_FIELD", "items[0].steps")

    # A cancellation may meet the proxy while it waits for the replica or while it writes to the client.
    for steps_seen in range(1, 60, 5):
        await _cancel_after(served, steps_seen)
        # Were they not cancelled, 16 batches of a thousand steps would keep the next item past its deadline.
        after = served.Generate(request(item("next", steps=1)), metadata=METADATA, timeout=20)
        kinds = [answer.WhichOneof("event") async for answer in after]
        assert kinds[-1] == "image"


async def _cancel_after(served: rpc.GeneratorServiceStub, steps_seen: int) -> None:
    long = served.Generate(request(*(item(str(index), steps=1000) for index in range(64))), metadata=METADATA)
    async for answer in long:
        steps_seen -= answer.HasField("step")
        if not steps_seen:
            long.cancel()
            return


@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
async def test_without_one_of_rays_processes_all_end_and_can_be_started_again(models_dir: Path, victim: str) -> None:
    with tempfile.TemporaryDirectory(prefix="likeness-", ignore_cleanup_errors=True) as folder:
        cluster, port = generator_cluster(Path(folder), models_dir)
        try:
            await cluster.start()
            assert cluster.process is not None
            os.kill(_child(cluster.process.pid, victim), signal.SIGKILL)
            async with asyncio.timeout(60):
                assert await cluster.process.wait() != 0
            await cluster.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = rpc.GeneratorServiceStub(channel)
                assert (await stub.ListModels(pb.ListModelsRequest(), metadata=METADATA)).models
        finally:
            await cluster.stop()


def _child(process_id: int, name: str) -> int:
    """A process's child by the name of its program."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            if fields["Name"] == name and int(fields["PPid"]) == process_id:
                return int(fields["Pid"])
    raise AssertionError(f"no {name} under {process_id}")


async def test_a_deployment_without_its_model_says_what_is_missing(tmp_path: Path) -> None:
    cluster, _ = generator_cluster(tmp_path, tmp_path)
    try:
        with pytest.raises(StartError, match="models/tiny is missing; run 'make models'"):
            await cluster.start()
    finally:
        await cluster.stop()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports
