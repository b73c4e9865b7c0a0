"""Spans and metrics of single pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import torch
from prometheus_client import REGISTRY

from services.common import tracing
from services.generator.engine import observing
from services.generator.engine.base import Failed, Finished
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from tests.collector import WAIT_SECONDS, Collector, Received, collecting
from tests.generator.engine.test_admission import slots
from tests.generator.engine.test_joining import called, read, unguided
from tests.generator.gate import Gate
from tests.generator.tiny import work


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector, with this process tracing to it."""
    monkeypatch.setattr(tracing, "FLUSH_SECONDS", WAIT_SECONDS)
    with collecting() as one:
        tracing.start("generator", one.endpoint)
        yield one
        tracing.stop()


async def sent(collector: Collector) -> dict[tuple[str, str], Received]:
    """Spans by item and name."""
    await asyncio.to_thread(tracing.stop)
    return {(one.attributes.get("likeness.item_id", ""), one.name): one for one in collector.spans()}


async def test_a_picture_leaves_its_wait_its_steps_and_its_decoding(
    collector: Collector, engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    with tracing.root("call"):
        submission = engine.submit(work(tiny, unguided("made", 2), unguided("gone", 50)))
    await called(gate, 1)
    gate.let(2)
    await called(gate, 3)
    submission.cancel("gone")
    gate.open()
    ends = [one for one in await read(submission) if isinstance(one, Finished | Failed)]
    assert len(ends) == 2
    spans = await sent(collector)
    call = spans["", "call"]
    assert set(spans) == {("", "call"), *(("made", n) for n in ("queue", "denoise", "decode"))} | {
        ("gone", "queue"),
        ("gone", "denoise"),
    }
    assert {one.parent_id for key, one in spans.items() if key[0]} == {call.span_id}
    made, gone = spans["made", "denoise"].attributes, spans["gone", "denoise"].attributes
    assert (made["likeness.outcome"], gone["likeness.outcome"]) == ("made", "cancelled")
    assert (made["likeness.steps"], made["likeness.mean_batch_pictures"]) == (2, 2.0)
    assert 2 <= gone["likeness.steps"] <= 3


async def test_a_picture_that_never_began_has_only_waited(collector: Collector) -> None:
    with tracing.root("call"):
        (slot,) = await slots([], [5])
    observing.ended(slot, "failed")
    assert {name for _, name in await sent(collector)} == {"call", "queue"}


async def test_a_picture_nobody_traces_leaves_nothing(collector: Collector) -> None:
    (slot,) = await slots([5], [])
    observing.ended(slot, "made")
    assert await sent(collector) == {}


async def test_only_pictures_that_begin_have_waited_in_the_metrics() -> None:
    running, waiting = await slots([5], [5])
    model = running.item.record.model

    def count() -> float:
        return REGISTRY.get_sample_value("likeness_generator_queue_seconds_count", {"model": model}) or 0.0

    before = count()
    observing.begun([running, waiting])
    assert count() - before == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_memory_of_a_gpu_is_that_of_the_driver() -> None:
    gauges = observing.MemoryGauges()
    device = torch.device("cuda", torch.cuda.current_device())
    held = torch.zeros(1 << 20, device=device)
    gauges.look(device)
    labels = {"gpu": f"GPU-{torch.cuda.get_device_properties(device).uuid}"}
    total = REGISTRY.get_sample_value("likeness_generator_gpu_total_bytes", labels)
    assert total == torch.cuda.mem_get_info(device)[1]
    reserved = REGISTRY.get_sample_value("likeness_generator_gpu_reserved_bytes", labels)
    assert reserved is not None and held.nbytes <= reserved < total
