"""How much of a drawing's truth a prompt recovers, for one to three objects."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from benchmarks.truth import attributes_recovered, targets
from world.captions import parse
from world.imaging import SIZE
from world.scene import MOST_OBJECTS, Scene, is_held_out

TRIPLE = "a large red car left of a small cat left of a small moon on a meadow, pixel art, high quality"
# count, layout, background, style, quality, and kind and size of three objects, one of which has a color.
ATTRIBUTES = 5 + 2 * 3 + 1


@pytest.mark.usefixtures("font")
def test_targets_have_every_number_of_objects_in_both_splits() -> None:
    drawn = targets(40)
    for split in ("seen", "held_out"):
        mine = [target for target in drawn if target.split == split]
        assert {len(target.scene.objects) for target in mine} == set(range(1, MOST_OBJECTS + 1))
        assert all(is_held_out(target.scene) == (split == "held_out") for target in mine)
    assert Image.open(io.BytesIO(drawn[0].png)).size == (SIZE, SIZE)
    assert [attributes_recovered(target.caption, target.scene) for target in drawn] == [1.0] * 40


def _triple() -> Scene:
    scene = parse(TRIPLE)
    assert scene is not None
    return scene


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        (TRIPLE, ATTRIBUTES),
        ("pixel art of a little moon right of a tiny kitten right of a big scarlet automobile on the grass, crisp", 12),
        # The middle one of another kind; the layout without words; one missing; two exchanged.
        (TRIPLE.replace("cat", "dog"), ATTRIBUTES - 1),
        (TRIPLE.replace(" left of", ",", 1).replace(" left of", " and"), ATTRIBUTES - 1),
        (TRIPLE.replace(" left of a small moon", ""), ATTRIBUTES - 3),
        (TRIPLE.replace("cat", "?").replace("moon", "cat").replace("?", "moon"), ATTRIBUTES - 2),
        ("", 0),
    ],
)
def test_counts_what_is_named_rightly(prompt: str, right: int) -> None:
    assert attributes_recovered(prompt, _triple()) == pytest.approx(right / ATTRIBUTES)
