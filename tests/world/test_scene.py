"""Scenes: splits and class indices."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from world import vocabulary as v
from world.scene import ATTRIBUTE_SIZES, Scene, SceneObject, attribute_indices, is_held_out, sample_scene


def test_the_train_split_never_shows_a_held_out_combination() -> None:
    rng = random.Random(1)
    for _ in range(5000):
        scene = sample_scene(rng, "train")
        assert not is_held_out(scene)
        for item in scene.objects:
            assert (item.kind, scene.background, scene.style) not in v.HELD_OUT


def test_the_held_out_split_shows_nothing_else() -> None:
    rng = random.Random(2)
    assert all(is_held_out(sample_scene(rng, "held_out")) for _ in range(500))


def test_two_triples_a_kind_are_held_out_and_no_pair() -> None:
    assert sorted(kind for kind, _, _ in v.HELD_OUT) == sorted(2 * v.KIND_NAMES)
    shown = {
        triple
        for triple in itertools.product(v.KIND_NAMES, v.BACKGROUND_NAMES, v.STYLE_NAMES)
        if triple not in v.HELD_OUT
    }
    for left, right in ((0, 1), (0, 2), (1, 2)):
        everything = {(triple[left], triple[right]) for triple in shown | v.HELD_OUT}
        assert {(triple[left], triple[right]) for triple in shown} == everything


def test_sampling_is_fixed_by_the_seed_and_reaches_every_value() -> None:
    first, second = random.Random(3), random.Random(3)
    scenes = [sample_scene(first) for _ in range(1500)]
    assert scenes == [sample_scene(second) for _ in range(1500)]
    columns = list(zip(*(attribute_indices(scene) for scene in scenes), strict=True))
    for (name, size), column in zip(ATTRIBUTE_SIZES.items(), columns, strict=True):
        assert set(column) - {-1} == set(range(size)), name


def test_one_to_three_objects_of_different_kinds() -> None:
    rng = random.Random(4)
    scenes = [sample_scene(rng) for _ in range(4000)]
    for count, share in ((1, 0.4), (2, 0.4), (3, 0.2)):
        assert abs(sum(len(scene.objects) == count for scene in scenes) / len(scenes) - share) < 0.03
    assert all(len({item.kind for item in scene.objects}) == len(scene.objects) for scene in scenes)


def test_the_indices_name_every_object_in_order() -> None:
    items = (SceneObject("fish", "small", "blue"), SceneObject("owl", "large"), SceneObject("star", "large", "red"))
    scene = Scene(items, "above", "sea", "pixel", "low")
    found = dict(zip(ATTRIBUTE_SIZES, attribute_indices(scene), strict=True))
    assert [found[f"kind{slot}"] for slot in (1, 2, 3)] == [v.KIND_NAMES.index(item.kind) for item in items]
    assert [found[f"size{slot}"] for slot in (1, 2, 3)] == [0, 1, 1]
    assert [found[f"colour{slot}"] for slot in (1, 2, 3)] == [3, -1, 0]
    assert (found["count"], found["layout"]) == (2, v.LAYOUTS.index("above"))
    pair = dict(zip(ATTRIBUTE_SIZES, attribute_indices(replace(scene, objects=items[:2])), strict=True))
    assert [pair[name] for name in ("count", "kind3", "size3", "colour3")] == [1, -1, -1, -1]


def test_colours_only_for_tintable_kinds_in_coloured_styles(scenes: list[Scene]) -> None:
    for scene in scenes:
        for item in scene.objects:
            tintable = v.KIND_BY_NAME[item.kind].tintable and scene.style in v.COLOURED_STYLES
            assert (item.colour is not None) == tintable


def test_a_layout_must_fit_the_number_of_objects() -> None:
    cat = SceneObject("cat", "small")
    with pytest.raises(ValueError, match="cannot have the layout"):
        Scene((cat,), "above", "sea", "plain", "high")
    with pytest.raises(ValueError, match="cannot have the layout"):
        Scene((cat, cat), "center", "sea", "plain", "high")
    for count in (0, 4):
        with pytest.raises(ValueError, match="cannot have the layout"):
            Scene((cat,) * count, "above", "sea", "plain", "high")
