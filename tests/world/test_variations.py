"""Variations change what they say and nothing else, and differences count it."""

from __future__ import annotations

import random

from world import vocabulary as v
from world.scene import Scene, SceneObject
from world.variations import ATTRIBUTES, differences, varied


def test_no_change_gives_the_scene(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert varied(scene, random.Random(1), 0.0) == scene
        assert differences(scene, scene) == (0.0,) * len(ATTRIBUTES)


def test_full_change_leaves_only_count_and_quality(scenes: list[Scene]) -> None:
    for scene in scenes:
        other = varied(scene, random.Random(2), 1.0)
        found = dict(zip(ATTRIBUTES, differences(scene, other), strict=True))
        assert [found[name] for name in ("shape", "style", "layout", "background", "size")] == [1.0] * 5
        assert (len(other.objects), other.quality) == (len(scene.objects), scene.quality)
        assert len({item.kind for item in other.objects}) == len(other.objects)


def test_colors_follow_kind_and_style(scenes: list[Scene]) -> None:
    for index, scene in enumerate(scenes):
        other = varied(scene, random.Random(index), 0.5)
        for item in other.objects:
            colored = v.KIND_BY_NAME[item.kind].tintable and other.style in v.COLOURED_STYLES
            assert (item.colour is not None) == colored


def test_kinds_and_styles_come_from_those_given(scenes: list[Scene]) -> None:
    kinds = ("car", "fish", "circle", "square", "tulip")
    for index, scene in enumerate(scenes):
        other = varied(scene, random.Random(index), 1.0, kinds, ("plain", "neon"))
        assert {item.kind for item in other.objects} <= set(kinds)
        assert other.style in ("plain", "neon")


def test_attributes_vary_by_themselves(scenes: list[Scene]) -> None:
    rng = random.Random(3)
    found = [differences(scene, varied(scene, rng, 0.5)) for scene in scenes for _ in range(4)]
    changed = [dict(zip(ATTRIBUTES, one, strict=True)) for one in found]
    for name in ("style", "layout", "background"):
        assert 0.45 < sum(one[name] for one in changed) / len(changed) < 0.55, name
    assert 0.2 < sum(one["style"] and one["layout"] for one in changed) / len(changed) < 0.3


def test_a_part_of_the_objects_counts_in_part() -> None:
    items = (SceneObject("car", "small", "red"), SceneObject("fish", "large", "blue"))
    scene = Scene(items, "left_of", "snow", "plain", "high")
    other = Scene((items[0], SceneObject("tulip", "large", "green")), "above", "snow", "plain", "low")
    assert dict(zip(ATTRIBUTES, differences(scene, other), strict=True)) == {
        "color": 0.5, "shape": 0.5, "style": 0.0, "layout": 1.0, "background": 0.0, "size": 0.0,
    }  # fmt: skip


def test_one_of_three_objects_counts_a_third() -> None:
    items = (SceneObject("car", "small", "red"), SceneObject("fish", "large", "blue"), SceneObject("owl", "large"))
    scene = Scene(items, "left_of", "snow", "plain", "high")
    other = Scene((*items[:2], SceneObject("key", "small")), "left_of", "snow", "plain", "high")
    found = dict(zip(ATTRIBUTES, differences(scene, other), strict=True))
    assert found["shape"] == found["size"] == 1 / 3
    assert found["color"] == found["layout"] == 0.0


def test_one_kind_more_than_the_scene_has_is_enough() -> None:
    items = (SceneObject("car", "small", "red"), SceneObject("fish", "large", "blue"), SceneObject("owl", "large"))
    scene = Scene(items, "above", "snow", "plain", "high")
    for seed in range(40):
        other = varied(scene, random.Random(seed), 1.0, ("car", "fish", "owl", "key"))
        assert len({item.kind for item in other.objects}) == 3
        assert all(a.kind != b.kind for a, b in zip(scene.objects, other.objects, strict=True))
