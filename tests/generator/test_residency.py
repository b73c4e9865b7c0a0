"""Models that take turns in memory: who leaves, who waits, what is loaded once, and that memory comes back."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from likeness.types.v1 import model_pb2
from services.common.errors import DeadlineError, Reason, UnavailableError
from services.common.profile import GeneratorModel
from services.common.settings import Settings
from services.common.telemetry import render_metrics
from services.generator import residency
from services.generator.catalog import Catalog, Memory, load_again
from services.generator.domain import LoadState
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel, load_model
from services.generator.residency import Residency
from services.generator.service import GeneratorService
from tests.generator.grpc_server import item, pngs, request, serve
from tests.generator.tiny import TINY

IDS = ("a", "b", "c")
MODELS = {model_id: TINY.model_copy(update={"id": model_id}) for model_id in IDS}


@dataclass
class Loader:
    """Loads tiny models as a replica does; counts, and waits or fails when it is told to."""

    settings: Settings
    loads: list[str] = field(default_factory=list)
    pipelines: list[weakref.ref[Any]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    problem: Exception | None = None

    def __call__(self, model: GeneratorModel) -> LoadedModel:
        self.loads.append(model.id)
        assert threading.current_thread() is not threading.main_thread()
        assert self.gate.wait(30)
        if self.problem:
            raise self.problem
        loaded = load_again(model, self.settings)
        self.pipelines.append(weakref.ref(loaded.family.pipeline))
        return loaded


@dataclass
class World:
    """A service whose memory holds two of three models, `a` and `b` at first."""

    service: GeneratorService
    residency: Residency
    catalog: Catalog
    loader: Loader
    stub: rpc.GeneratorServiceStub

    async def states(self) -> dict[str, str]:
        """Load states as ListModels has them."""
        models = (await self.stub.ListModels(pb.ListModelsRequest())).models
        return {model.id: model_pb2.LoadState.Name(model.load_state).removeprefix("LOAD_STATE_") for model in models}

    async def picture(self, model_id: str, **fields: object) -> bytes:
        """A picture of a model."""
        answers = [one async for one in self.stub.Generate(request(item("x", steps=2, **fields), model=model_id))]
        return pngs(answers)["x"]

    async def waits(self, requests: int) -> None:
        """Until so many requests wait for models."""
        while len(self.residency._waiting) < requests:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def _world(models_dir: Path, rooms: float = 2.0) -> AsyncIterator[World]:
    settings = Settings(models_dir=models_dir, device="cpu")
    loader = Loader(settings)
    loader.gate.set()
    loaded = {model_id: load_model(model, settings) for model_id, model in MODELS.items()}
    known = {model_id: model.known for model_id, model in loaded.items()}
    del loaded["c"]
    memory = Memory(int(rooms * known["a"].size_bytes), loader)
    catalog = Catalog([*MODELS.values()], known, {}, [*loaded])
    service = GeneratorService(catalog, StepEngine(loaded, max_waiting_items=100), memory)
    del loaded
    async with serve(service) as stub:
        yield World(service, service._residency, catalog, loader, stub)
    loader.gate.set()
    service.close()


@pytest.fixture
async def world(models_dir: Path) -> AsyncIterator[World]:
    """Room for two."""
    async with _world(models_dir) as made:
        yield made


async def test_the_least_recently_used_model_leaves_and_comes_back_the_same(world: World) -> None:
    before = {model_id: await world.picture(model_id, deterministic=True) for model_id in ("b", "a")}
    assert await world.states() == {"a": "LOADED", "b": "LOADED", "c": "NOT_LOADED"}
    await world.picture("c")
    assert await world.states() == {"a": "LOADED", "b": "NOT_LOADED", "c": "LOADED"}
    await world.picture("a")
    assert await world.picture("b", deterministic=True) == before["b"]
    assert await world.states() == {"a": "LOADED", "b": "LOADED", "c": "NOT_LOADED"}
    assert await world.picture("a", deterministic=True) == before["a"]
    assert world.loader.loads == ["c", "b"]
    size = world.catalog.get("a").size_bytes
    (shown,) = [one for one in (await world.stub.ListModels(pb.ListModelsRequest())).models if one.id == "c"]
    assert shown.size_bytes == size and shown.generation_limits.max_steps == 200 and shown.revision
    pattern = r'likeness_generator_model_bytes\{model="([abc])"\} (\S+)'
    held = {model_id: float(value) for model_id, value in re.findall(pattern, render_metrics().decode())}
    assert held == {"a": size, "b": size, "c": 0}


async def test_nothing_holds_the_pipeline_of_a_model_that_left(world: World) -> None:
    for model_id in ("c", "a", "b", "c", "a"):
        await world.picture(model_id, negative_prompt="a moon")
    assert world.loader.loads == ["c", "a", "b", "c", "a"]
    gone, kept = world.loader.pipelines[:-2], world.loader.pipelines[-2:]
    # What left was given back when it left: nobody collects garbage here.
    assert [reference() for reference in gone] == [None] * len(gone)
    assert all(reference() is not None for reference in kept)


async def test_many_requests_for_an_absent_model_load_it_once_and_others_go_on_meanwhile(world: World) -> None:
    world.loader.gate.clear()
    await world.picture("b")
    waiting = [asyncio.create_task(world.picture("c", seed=seed)) for seed in range(5)]
    await world.waits(5)
    while not world.loader.loads:
        await asyncio.sleep(0.001)
    assert await world.states() == {"a": "NOT_LOADED", "b": "LOADED", "c": "LOADING"}
    assert await world.picture("b")
    assert not any(task.done() for task in waiting)
    world.loader.gate.set()
    assert len(set(await asyncio.gather(*waiting))) == 5
    assert world.loader.loads == ["c"]


async def test_a_model_with_open_pictures_never_leaves_and_the_request_waits_its_turn(world: World) -> None:
    async with world.residency.use("a"), world.residency.use("b"):
        third = asyncio.create_task(world.picture("c"))
        await world.waits(1)
        # `a` is to leave: who comes for it now waits behind. `b` stays as it is.
        late = asyncio.create_task(world.picture("a"))
        await world.waits(2)
        assert await world.picture("b")
        assert await world.states() == {"a": "LOADED", "b": "LOADED", "c": "NOT_LOADED"}
        assert world.loader.loads == [] and not third.done() and not late.done()
    await asyncio.gather(third, late)
    assert world.loader.loads[0] == "c"


async def test_a_busy_model_cannot_keep_the_others_out(models_dir: Path) -> None:
    async with _world(models_dir, rooms=1.0) as world:
        # More is loaded than there is room for; the first request brings it down to one.
        await world.picture("c")

        async def ask_on(until: asyncio.Task[bytes]) -> int:
            made = 0
            while not until.done():
                await world.picture("c")
                made += 1
            return made

        other = asyncio.create_task(world.picture("a"))
        assert await asyncio.gather(ask_on(other), ask_on(other))
        assert await other
        assert world.loader.loads[:2] == ["c", "a"]


async def test_who_gives_up_does_not_make_a_model_leave(world: World) -> None:
    async with world.residency.use("a"), world.residency.use("b"):
        third = asyncio.create_task(world.picture("c"))
        await world.waits(1)
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        while world.residency._waiting:
            await asyncio.sleep(0.001)
        assert await world.picture("a")
    assert world.loader.loads == []
    assert await world.states() == {"a": "LOADED", "b": "LOADED", "c": "NOT_LOADED"}


async def test_a_full_line_and_a_time_limit_say_who_holds_the_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency, "MAX_WAITING_REQUESTS", 1)
    async with world.residency.use("a"), world.residency.use("b"), world.residency.use("b"):
        with pytest.raises(DeadlineError) as late:
            async with world.residency.use("c", timeout_seconds=0.01):
                pass
        third = asyncio.create_task(world.picture("c"))
        await world.waits(1)
        with pytest.raises(grpc.aio.AioRpcError) as full:
            await world.picture("c")
    holders = "the memory is held by 'a' (1.8 MiB, 1 open requests), 'b' (1.8 MiB, 2 open requests)"
    assert late.value.message.endswith(holders) and "the time limit was over" in late.value.message
    assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    detail = json.loads(full.value.details() or "")
    assert detail["reason"] == "QUEUE_FULL" and detail["message"].endswith(holders)
    assert detail["retry_after_seconds"] > 0
    assert await third


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (UnavailableError(Reason.MODEL_UNAVAILABLE, "its folder is gone"), "its folder is gone"),
        (RuntimeError("secret"), "the server's log says why"),
    ],
    ids=["known", "defect"],
)
async def test_a_model_that_cannot_be_loaded_says_why_and_is_tried_again(
    world: World, problem: Exception, said: str
) -> None:
    world.loader.problem = problem
    world.loader.gate.clear()
    waiting = [asyncio.create_task(world.picture("c")) for _ in range(2)]
    await world.waits(2)
    world.loader.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    for result in results:
        assert isinstance(result, grpc.aio.AioRpcError) and "secret" not in (result.details() or "")
    assert world.loader.loads == ["c"]
    (shown,) = [one for one in world.catalog.statuses() if one.id == "c"]
    assert (shown.state, shown.problem) == (LoadState.FAILED, said)
    world.loader.problem = None
    assert await world.picture("c")
    assert (await world.states())["c"] == "LOADED"


async def test_files_that_changed_are_another_model(world: World, models_dir: Path) -> None:
    known = world.catalog.get("c").card
    object.__setattr__(known, "revision", "another")
    with pytest.raises(grpc.aio.AioRpcError, match="its files have changed since the start; start the replica again"):
        await world.picture("c")
    gc.collect()
    assert world.loader.pipelines[-1]() is None


async def test_closing_lets_those_that_wait_fail(world: World) -> None:
    world.loader.gate.clear()
    waiting = asyncio.create_task(world.picture("c"))
    await world.waits(1)
    await asyncio.to_thread(world.service.close)
    world.loader.gate.set()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await waiting
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
