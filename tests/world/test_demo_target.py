"""The picture that `likeness demo` starts with is the drawing that its page says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from world.captions import parse
from world.draw import render_one
from world.scene import is_held_out

ASSETS = Path(__file__).resolve().parents[2] / "likeness" / "assets"
SEED = 7


@pytest.mark.usefixtures("font")
def test_the_demo_target_is_a_drawing_that_no_model_has_seen() -> None:
    page = (ASSETS / "README.md").read_text(encoding="utf-8")
    caption = re.search(r"^> (.*)$", page, re.MULTILINE)
    assert caption is not None
    scene = parse(caption[1])
    assert scene is not None and is_held_out(scene)
    with Image.open(ASSETS / "demo_target.png") as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), render_one(scene, SEED))
        assert f"{picture.width} x {picture.height} px" in page and f"with seed {SEED}" in page
