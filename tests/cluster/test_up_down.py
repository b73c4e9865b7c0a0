"""`up` and `down` with a real PostgreSQL, Redis and gateway: what starts, what is said, that nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest

from likeness.gateway.v1 import image_service_pb2 as pb
from likeness.gateway.v1.image_service_pb2_grpc import ImageServiceStub
from services.common.images import content_hash
from tests.cluster.running import ROOT, all_gone, environment, runs, up
from tests.gateway_io.seam import Backends
from tests.gateway_io.seam_pictures import picture

pytestmark = [pytest.mark.integration, pytest.mark.timeout(500)]


async def upload(address: str, data: bytes) -> str:
    async with grpc.aio.insecure_channel(address) as channel:
        request = pb.UploadImageRequest(data=data)
        return str((await ImageServiceStub(channel).UploadImage(request, timeout=60)).info.content_hash)


async def download(address: str, hash_: str) -> bytes:
    async with grpc.aio.insecure_channel(address) as channel:
        request = pb.GetImageRequest(content_hash=hash_)
        return bytes((await ImageServiceStub(channel).GetImage(request, timeout=60)).data)


async def test_start_join_and_stop(home: Path, backends: Backends) -> None:
    env = environment(backends.address)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env["LIKENESS_GATEWAY_PORT"] = str(taken.getsockname()[1])
        async with up(home, env=env) as first:
            ready = await first.event("ready")
            assert ready["address"] != f"127.0.0.1:{env['LIKENESS_GATEWAY_PORT']}", "a taken port is left alone"
            parts = {(one["part"], one["state"]) for one in first.events if one["event"] == "part"}
            assert {("postgres", "ready"), ("redis", "ready"), ("gateway", "ready")} <= parts
            assert not any(part == "ray" for part, _ in parts), "backends elsewhere need no Ray here"

            state = json.loads((home / "cluster.json").read_text())
            assert state["ready"] and state["address"] == ready["address"]
            assert set(state["processes"]) == {"postgres", "redis", "gateway"}
            assert (home / "cluster.json").stat().st_mode & 0o077 == 0, "URLs may carry passwords"
            health = await asyncio.to_thread(urlopen, f"http://{ready['http_address']}/healthz")
            assert json.load(health)["health"] == "serving"
            health.close()
            assert await upload(ready["address"], picture("red")) == content_hash(picture("red"))

            async with up(home, env=env) as second:
                again = await second.event("ready")
                assert again["already_running"] and again["address"] == ready["address"]
                assert await second.process.wait() == 0

            assert await first.end(signal.SIGINT) == 0
    assert first.events[-1] == {"event": "stopped", "killed": 0, "seconds": first.events[-1]["seconds"]}
    assert not any(runs(pid) for pid in state["processes"].values())
    assert not Path(state["run_dir"]).exists()
    assert not (home / "cluster.json").exists()


async def test_a_dead_part_is_started_again_at_the_same_address(home: Path, backends: Backends) -> None:
    async with up(home, env=environment(backends.address)) as running:
        ready = await running.event("ready")
        stored = await upload(ready["address"], picture("blue"))
        for part in ("gateway", "redis", "postgres"):
            pid = json.loads((home / "cluster.json").read_text())["processes"][part]
            os.kill(pid, signal.SIGKILL)
            await running.event("part", part=part, state="died")
            if part != "gateway":
                await running.event("part", part=part, state="ready")
        async with asyncio.timeout(200):
            while True:
                try:
                    assert await download(ready["address"], stored) == picture("blue")
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.1)
        assert await running.end() == 0


async def test_a_killed_run_leaves_nothing_and_the_next_one_has_its_data(home: Path, backends: Backends) -> None:
    env = environment(backends.address)
    async with up(home, env=env) as killed:
        ready = await killed.event("ready")
        stored = await upload(ready["address"], picture("lime"))
        killed.process.kill()
        await killed.process.wait()
        await all_gone(list(ready["processes"].values()))
    old_run_dir = json.loads((home / "cluster.json").read_text())["run_dir"]
    async with up(home, env=env) as running:
        ready = await running.event("ready")
        assert await download(ready["address"], stored) == picture("lime")
        assert not Path(old_run_dir).exists()
        assert await running.end() == 0


async def test_the_end_of_the_parent_is_the_end_of_the_cluster(home: Path, backends: Backends) -> None:
    # A shell that waits for `up` is the parent; it is killed the hard way.
    script = f"{sys.executable} -m services.cluster.up --home {home} --json & echo $!; wait"
    env = environment(backends.address)
    shell = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=asyncio.subprocess.PIPE, cwd=ROOT, env=env)
    assert shell.stdout is not None
    pid = int(await shell.stdout.readline())
    event = {"event": ""}
    while event["event"] != "ready":
        event = json.loads(await shell.stdout.readline())
    shell.kill()
    await shell.wait()
    await all_gone([pid, *event["processes"].values()])


async def test_detached_until_down(home: Path, backends: Backends) -> None:
    env = environment(backends.address)
    async with up(home, "--detach", env=env) as starter:
        ready = await starter.event("ready")
        assert await starter.process.wait() == 0
    assert runs(ready["pid"])
    assert await upload(ready["address"], picture("red"))
    for killed in range(2):
        command = [sys.executable, "-m", "services.cluster.down", "--home", str(home), "--json"]
        down = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT, env=env)
        said, _ = await down.communicate()
        assert down.returncode == 0
        assert json.loads(said)["killed"] == 0, f"call {killed}: a second one has nothing to do"
        assert not any(runs(pid) for pid in [ready["pid"], *ready["processes"].values()])


async def test_a_gateway_that_cannot_start_is_explained(new_home: Path, backends: Backends) -> None:
    env = environment(backends.address, object_store_url="ftp://nowhere", database_url="postgresql+asyncpg://unused/db")
    async with up(new_home, env=env) as failing:
        failed = await failing.event("failed")
        assert failed["part"] == "gateway"
        assert any("file:///folder or s3://bucket/prefix" in line for line in failed["log_tail"])
        stopped = await failing.event("stopped")
        assert stopped["killed"] == 0
        assert await failing.process.wait() == 1
    assert not (new_home / "cluster.json").exists()
    assert not (new_home / "postgres").exists(), "a database elsewhere needs none here"


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("gateway_port", "70000", "gateway_port: Input should be less than or equal to 65535"),
        ("scorer_min_replicas", "2", "scorer_max_replicas must be set where replicas follow the load"),
    ],
)
async def test_impossible_settings_start_nothing(new_home: Path, setting: str, value: str, says: str) -> None:
    async with up(new_home, env=environment(None, **{setting: value})) as failing:
        failed = await failing.event("failed")
        assert (failed["part"], failed["message"]) == ("settings", says)
        assert await failing.process.wait() == 1


async def test_an_unknown_profile_starts_nothing(new_home: Path) -> None:
    async with up(new_home, "--profile", "huge", env=environment(None)) as failing:
        failed = await failing.event("failed")
        assert "embedded" in failed["message"], "the known ones are named"
        assert await failing.process.wait() == 1
    assert not (new_home / "cluster.json").exists()
