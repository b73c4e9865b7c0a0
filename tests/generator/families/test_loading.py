"""Each family from a pipeline folder, as a profile names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.common.profile import GeneratorModel
from services.common.settings import Settings
from services.generator.families.base import Family
from services.generator.families.flux import Flux
from services.generator.families.pixart import PixArt
from services.generator.families.sd3 import StableDiffusion3
from services.generator.families.sdxl import StableDiffusionXL
from services.generator.pipelines import load_model
from tests.generator.families import tiny_families
from tests.generator.families.running import RECORD, alone, assert_same
from tests.generator.tiny import CONTEXT

EXCHANGEABLE = ("ddim", "dpmpp_2m", "euler", "euler_ancestral", "unipc")


@pytest.mark.parametrize(
    ("build", "kind", "scheduler", "tokens"),
    [
        (tiny_families.sdxl, StableDiffusionXL, "euler", CONTEXT - 2),
        (tiny_families.sd3, StableDiffusion3, "flow_euler", 256 - 1),
        (tiny_families.flux, Flux, "flow_euler", 512 - 1),
        (lambda _: tiny_families.pixart(), PixArt, "dpmpp_2m", 300 - 1),
        (lambda _: tiny_families.pixart(is_alpha=True), PixArt, "dpmpp_2m", 120 - 1),
    ],
    ids=["sdxl", "sd3", "flux", "pixart-sigma", "pixart-alpha"],
)
def test_a_pipeline_folder_becomes_a_family(
    tmp_path: Path, build: Callable[[Path], Any], kind: type[Family], scheduler: str, tokens: int
) -> None:
    pipeline = build(tmp_path)
    pipeline.save_pretrained(tmp_path / "model")
    loaded = load_model(GeneratorModel(id="mine", source=str(tmp_path / "model")), Settings(device="cpu"))
    assert isinstance(loaded.family, kind)
    limits = loaded.card.limits
    assert (limits.schedulers[0], limits.token_limit, limits.mixes_noise) == (scheduler, tokens, True)
    assert tuple(sorted(limits.schedulers)) == (EXCHANGEABLE if scheduler != "flow_euler" else (scheduler,))
    record = replace(RECORD, scheduler=scheduler)
    assert_same(alone(loaded.family, record), alone(kind(pipeline), record), tolerance=0.0)
