"""The tiny pipeline loaded as a profile would load it, engines over it, and a real gRPC server over those."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import torch

from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from services.common.settings import Settings
from services.generator.catalog import Catalog
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel, load_model
from services.generator.service import GeneratorService
from tests.generator.gate import Gate
from tests.generator.grpc_server import serve
from tests.generator.tiny import TINY, save_tiny_pipeline


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The tiny model is faster on one thread, and the machine may be busy."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the tiny pipeline in it."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_pipeline(folder / "tiny")
    return folder


@pytest.fixture(scope="session")
def tiny(models_dir: Path) -> LoadedModel:
    """The tiny pipeline; one engine at a time may own it."""
    return load_model(TINY, Settings(models_dir=models_dir, device="cpu"))


@pytest.fixture
def engine(tiny: LoadedModel) -> Iterator[StepEngine]:
    """A running engine with room for 8 waiting items."""
    running = StepEngine({"tiny": tiny}, max_waiting_items=8)
    yield running
    running.close()


@pytest.fixture
async def stub(tiny: LoadedModel, engine: StepEngine) -> AsyncIterator[rpc.GeneratorServiceStub]:
    """A client of a real gRPC server over the engine."""
    service = GeneratorService(Catalog([TINY], {"tiny": tiny.known}, {}, ["tiny"]), engine)
    async with serve(service) as client:
        yield client


@pytest.fixture
def gate(tiny: LoadedModel, engine: StepEngine) -> Iterator[Gate]:
    """Holds the engine before every denoiser call until the test lets it go on."""
    gate = Gate()
    handle = tiny.family.pipeline.unet.register_forward_pre_hook(lambda *_: gate.wait())
    yield gate
    gate.open()
    engine.close()
    handle.remove()


@pytest.fixture
def before_denoising(tiny: LoadedModel) -> Iterator[Callable[[Callable[[int], None]], None]]:
    """Registers a function that gets the number of denoiser inputs before every call, and may raise."""
    handles = []

    def register(hook: Callable[[int], None]) -> None:
        handles.append(tiny.family.pipeline.unet.register_forward_pre_hook(lambda _, args: hook(len(args[0]))))

    yield register
    for handle in handles:
        handle.remove()
