"""The short form of benchmarks/generator_soak.py: many callers of every kind, and nothing of them stays behind."""

from __future__ import annotations

import pytest

from benchmarks.generator_soak import soak
from services.generator.catalog import Catalog
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from services.generator.service import GeneratorService
from tests.generator.tiny import TINY

SECONDS, CALLERS = 20.0, 100
MOST_GROWTH_MIB = 48
"""Of memory after the warm-up: allocators keep some of what a busy time needed."""


@pytest.mark.timeout(300)
async def test_callers_that_come_cancel_and_read_slowly_leave_no_slot_no_task_and_no_memory(tiny: LoadedModel) -> None:
    engine = StepEngine({"tiny": tiny}, max_waiting_items=CALLERS)
    service = GeneratorService(Catalog([TINY], {"tiny": tiny.known}, {}, ["tiny"]), engine)
    limits = tiny.card.limits
    row, samples = await soak(service, limits, seconds=SECONDS, callers=CALLERS, seed=1, sample_seconds=0.5)
    assert engine.is_alive()
    service.close()
    assert row.finished and row.cancelled and row.calls_refused and not row.failed
    assert row.finished + row.cancelled + row.too_late == row.pictures_asked
    assert (row.slots_at_end, row.tasks_at_end) == (0, 0)
    assert row.rss_end - row.rss_warm <= MOST_GROWTH_MIB, samples
