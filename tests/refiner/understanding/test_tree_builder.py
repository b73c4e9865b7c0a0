from __future__ import annotations

import pytest

from services.refiner.domain import Aspect
from services.refiner.understanding.base import WeightedCaption, normalized
from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.tree import Feature, QuestionAnswer, Relation
from services.refiner.understanding.tree_builder import TreeBuilder
from tests.refiner.helpers import CAR_CAT, CAR_CAT_MOON, FISH_CAT, ROBOT


def test_features_questions_and_agreement(parser: PromptParser) -> None:
    blue = CAR_CAT.replace("red", "blue").replace("meadow, pixel art", "meadow, neon glow")
    description = TreeBuilder(parser).describe(
        [WeightedCaption(CAR_CAT, 0.6), WeightedCaption(blue, 0.3), WeightedCaption(FISH_CAT, 0.1)]
    )
    tree = description.tree
    assert description.prompt == tree.base_caption == CAR_CAT
    assert tree.relations == (Relation("car", "left of", "cat"),)
    overall = {feature.name: feature for feature in tree.overall_features}
    assert overall["style"] == Feature("style", "pixel art", Aspect.STYLE, pytest.approx(0.7))
    assert overall["background"].confidence == pytest.approx(1.0)
    assert overall["object count"].value == "2"
    car, cat = tree.objects
    assert (car.name, cat.name) == ("car", "cat")
    assert {f.name: round(f.confidence, 3) for f in car.features} == {"kind": 0.9, "color": 0.6, "size": 0.9}
    assert QuestionAnswer("what color is the car?", "red") in car.questions
    assert all("color" not in question.question for question in cat.questions)


def test_three_objects_stand_in_two_relations(parser: PromptParser) -> None:
    tree = TreeBuilder(parser).describe([WeightedCaption(CAR_CAT_MOON, 0.75), WeightedCaption(CAR_CAT, 0.25)]).tree
    assert tree.relations == (Relation("car", "left of", "cat"), Relation("cat", "left of", "moon"))
    assert [node.name for node in tree.objects] == ["car", "cat", "moon"]
    count = next(feature for feature in tree.overall_features if feature.name == "object count")
    assert (count.value, count.confidence) == ("3", pytest.approx(0.75))
    kinds = {node.name: node.features[0].confidence for node in tree.objects}
    assert kinds == {"car": pytest.approx(1.0), "cat": pytest.approx(1.0), "moon": pytest.approx(0.75)}


def test_a_single_object_has_a_place(parser: PromptParser) -> None:
    node = TreeBuilder(parser).describe([WeightedCaption(ROBOT, 1.0)]).tree.objects[0]
    assert QuestionAnswer("where is the robot?", "in the center") in node.questions


def test_natural_captions_give_a_canonical_prompt(parser: PromptParser) -> None:
    description = TreeBuilder(parser).describe([WeightedCaption("watercolor of a big robot in winter", 1.0)])
    assert description.prompt == "a large robot in the snow, watercolor painting"


def test_free_captions_are_prompts_as_they_are(parser: PromptParser) -> None:
    description = TreeBuilder(parser).describe([WeightedCaption("a zebra on a couch", 1.0)])
    assert description.prompt == description.tree.base_caption == "a zebra on a couch"
    assert description.tree.objects == ()


def test_normalizing_merges_sorts_and_scales() -> None:
    captions = normalized(
        [WeightedCaption("b", 1), WeightedCaption("a  x", 1), WeightedCaption("a x", 2), WeightedCaption(" ", 9)]
    )
    assert captions == [WeightedCaption("a x", 0.75), WeightedCaption("b", 0.25)]
    assert normalized([]) == []
