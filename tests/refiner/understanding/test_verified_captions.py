from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence

import pytest
from PIL import Image

from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.variants import variants
from services.refiner.understanding.verified_captions import VerifiedCaptions
from services.refiner.vocabulary import Vocabulary
from tests.refiner.helpers import CAR_CAT, CAR_CAT_MOON, ScriptedCaptions, scene_prompt
from world.scene import sample_scene

RED = (255, 0, 0)
IMAGE = Image.new("RGB", (16, 16), RED)


class Taste:
    """A verifier that likes some words."""

    def __init__(self, liked: Mapping[str, float]) -> None:
        self._liked = liked

    def logits(self, image: Image.Image, texts: Sequence[str]) -> list[float]:
        """Sum of what is liked in each text."""
        return [sum(value for word, value in self._liked.items() if word in text) for text in texts]


def _weigh(parser: PromptParser, captions: dict[str, float], liked: Mapping[str, float]) -> dict[str, float]:
    found = VerifiedCaptions(ScriptedCaptions({RED: captions}), Taste(liked), parser).weigh(IMAGE)
    assert sum(caption.probability for caption in found) == pytest.approx(1.0)
    assert [c.probability for c in found] == sorted((c.probability for c in found), reverse=True)
    return {caption.text: caption.probability for caption in found}


def test_agreement_makes_sure(parser: PromptParser) -> None:
    liked = {word: 3.0 for word in ("large red car", "left of", "small cat", "meadow", "pixel", "high")}
    found = _weigh(parser, {CAR_CAT: 1.0}, liked)
    assert found[CAR_CAT] > 0.9


def test_a_reading_that_the_captioner_never_gave_can_win(parser: PromptParser) -> None:
    truth = CAR_CAT.replace("on a meadow", "in a room")
    found = _weigh(
        parser, {CAR_CAT: 1.0}, {"in a room": 4.0, "large red car left": 3.0, "small cat": 3.0, "pixel": 3.0}
    )
    assert next(iter(found)) == truth


def test_two_properties_can_be_wrong_at_once(parser: PromptParser) -> None:
    truth = CAR_CAT.replace("on a meadow", "in a room").replace("pixel art", "neon glow")
    liked = {"in a room": 4.0, "neon": 4.0, "large red car left": 3.0, "small cat": 3.0}
    assert next(iter(_weigh(parser, {CAR_CAT: 1.0}, liked))) == truth


def test_an_indifferent_verifier_changes_no_order(parser: PromptParser) -> None:
    fish = CAR_CAT.replace("car", "fish")
    found = _weigh(parser, {CAR_CAT: 0.7, fish: 0.3}, {})
    assert list(found)[:2] == [CAR_CAT, fish]


def test_free_captions_are_left_as_they_are(parser: PromptParser) -> None:
    captions = {"a zebra on a couch": 0.6, "a brown zebra": 0.4}
    assert _weigh(parser, captions, {"brown": 9.0}) == captions


def test_variants_differ_in_one_property_and_keep_the_worlds_rules(
    parser: PromptParser, vocabulary: Vocabulary
) -> None:
    chance = random.Random(9)
    for _ in range(10):
        scene = scene_prompt(sample_scene(chance, "any"))
        found = list(variants(scene, vocabulary))
        assert scene not in found and len(set(found)) == len(found)
        for other in found:
            assert parser.parse(parser.writer.write(other)).scene == other
            style = vocabulary.style(other.style)
            for item in other.objects:
                kind = vocabulary.kind(item.kind)
                assert kind is not None and style is not None
                assert (item.color is not None) == (kind.tintable and style.has_colors)


def test_variants_of_a_row_are_all_its_orders(parser: PromptParser, vocabulary: Vocabulary) -> None:
    scene = parser.parse(CAR_CAT_MOON).scene
    rows = [
        (other.relation, other.objects)
        for other in variants(scene, vocabulary)
        if (other.background, other.style, other.quality) == (scene.background, scene.style, scene.quality)
        and set(other.objects) == set(scene.objects)
    ]
    expected = set(itertools.product(("left_of", "above"), itertools.permutations(scene.objects)))
    assert set(rows) == expected - {(scene.relation, scene.objects)}
    assert len(rows) == len(set(rows))


def test_a_caption_of_more_than_can_be_drawn_has_few_variants(parser: PromptParser, vocabulary: Vocabulary) -> None:
    kinds = [kind.name for kind in vocabulary.kinds[:10]]
    scene = parser.parse(" left of ".join(f"a {kind}" for kind in kinds)).scene
    orders = {tuple(item.kind for item in other.objects) for other in variants(scene, vocabulary)}
    assert len(scene.objects) == 10 and len(orders) < 2_000


def test_a_row_in_another_order_can_win(parser: PromptParser) -> None:
    truth = "a small cat left of a small moon left of a large red car on a meadow, pixel art, high quality"
    liked = {"a small cat left of a small moon": 4.0, "moon left of a large red car": 8.0, "pixel": 3.0, "meadow": 3.0}
    assert next(iter(_weigh(parser, {CAR_CAT_MOON: 1.0}, liked))) == truth
