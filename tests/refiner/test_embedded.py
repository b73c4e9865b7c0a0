"""The repainter on the captioner that ships, on drawings that no model was trained on."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from services.common import images
from services.common.profile import ROOT, load_profile
from services.common.settings import Settings
from services.refiner.domain import Aspect
from services.refiner.strategies.base import CritiqueRequest, ProposalRequest, Strategy
from services.refiner.strategies.registry import build_registry
from services.refiner.understanding.parsing import PromptParser
from tests.refiner.helpers import scene_prompt
from world.draw import render_one
from world.scene import sample_scene

pytestmark = pytest.mark.skipif(
    not (ROOT / "models" / "captioner-embedded").is_dir(), reason="models/captioner-embedded is not trained yet"
)


@pytest.fixture(scope="module")
def repainter() -> Strategy:
    return build_registry(Settings(), load_profile("embedded")).get("repainter")


@pytest.mark.usefixtures("font")
async def test_describes_drawings_and_proposes_readings(repainter: Strategy, parser: PromptParser) -> None:
    chance = random.Random(11)
    right = 0
    for _ in range(4):
        scene = sample_scene(chance, "train")
        target = images.decode(images.encode_png(Image.fromarray(render_one(scene, seed=10_000))))
        tree, prompt = await repainter.understand(target)
        parsed = parser.parse(prompt)
        assert parsed.canonical and tree.objects
        truth = scene_prompt(scene)
        right += parsed.scene.background == truth.background and parsed.scene.style == truth.style
        request = ProposalRequest(target, tree, prompt, 1, 4, Aspect.OVERALL, (), 1)
        proposals = await repainter.propose(request)
        assert proposals[0].text == prompt and 1 <= len(proposals) <= 4
        assert await repainter.propose(request) == proposals
        critique = await repainter.critique(CritiqueRequest(target, target, prompt, tree, Aspect.STYLE))
        assert critique.feedback.text == "" and critique.agreement == pytest.approx(1.0)
    assert right >= 3
