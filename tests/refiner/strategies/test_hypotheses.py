from __future__ import annotations

import pytest

from services.refiner.domain import Aspect, PromptAttempt
from services.refiner.strategies.hypotheses import Hypotheses
from services.refiner.understanding.base import WeightedCaption
from services.refiner.understanding.editing import PromptEditor
from services.refiner.understanding.parsing import PromptParser
from tests.refiner.helpers import CAR_CAT, CAR_CAT_MOON, FISH_CAT, ROBOT

BLUE = CAR_CAT.replace("red", "blue")
SKETCH = CAR_CAT.replace("red ", "").replace("pixel art", "pencil sketch")


@pytest.fixture
def hypotheses(parser: PromptParser, editor: PromptEditor) -> Hypotheses:
    return Hypotheses(parser, editor)


def _captions(**shares: float) -> list[WeightedCaption]:
    texts = {"car": CAR_CAT, "fish": FISH_CAT, "blue": BLUE, "sketch": SKETCH, "robot": ROBOT}
    return [WeightedCaption(texts[name], share) for name, share in shares.items()]


def test_readings_of_an_aspect_add_up_over_the_others(hypotheses: Hypotheses) -> None:
    captions = _captions(car=0.5, blue=0.2, fish=0.2, sketch=0.1)
    base, other = hypotheses.readings(CAR_CAT, captions, Aspect.OVERALL)
    assert (base.prompt, base.share, base.edits) == (CAR_CAT, pytest.approx(0.8), ())
    assert (other.prompt, other.share) == (FISH_CAT, pytest.approx(0.2))
    assert [edit.property for edit in other.edits] == ["objects[0].kind"]
    base, other = hypotheses.readings(CAR_CAT, captions, Aspect.COLOR)
    assert other.prompt == BLUE and other.share == pytest.approx(0.2)


def test_a_style_without_colors_takes_them_away_and_one_with_brings_them_back(hypotheses: Hypotheses) -> None:
    _, other = hypotheses.readings(CAR_CAT, _captions(car=0.6, sketch=0.4), Aspect.STYLE)
    assert other.prompt == SKETCH
    _, other = hypotheses.readings(SKETCH, _captions(sketch=0.6, car=0.4), Aspect.STYLE)
    assert other.prompt == CAR_CAT


def test_other_counts_bring_size_and_color_with_the_new_things(hypotheses: Hypotheses) -> None:
    _, other = hypotheses.readings(ROBOT, _captions(robot=0.7, car=0.3), Aspect.OVERALL)
    assert other.prompt == "a small red car left of a small cat on a meadow, watercolor painting, high quality"
    _, other = hypotheses.readings(CAR_CAT, _captions(car=0.7, robot=0.3), Aspect.OVERALL)
    assert other.prompt == "a large robot in the center over the sea, pixel art, high quality"


def test_a_prompt_that_nobody_saw_keeps_a_small_share(hypotheses: Hypotheses) -> None:
    base, other = hypotheses.readings("a dragon in a cave", _captions(robot=1.0), Aspect.STYLE)
    assert base.share == 0.01
    assert other.prompt == "a dragon in a cave, watercolor painting"


def _attempts(*scores: tuple[str, float]) -> list[PromptAttempt]:
    return [PromptAttempt(prompt, 1, score) for prompt, score in scores]


def test_scores_shift_the_shares(hypotheses: Hypotheses) -> None:
    readings = hypotheses.readings(CAR_CAT, _captions(car=0.7, fish=0.3), Aspect.OVERALL)
    won = _attempts((CAR_CAT, 0.70), (CAR_CAT, 0.71), (FISH_CAT, 0.80), (FISH_CAT, 0.81))
    lost = _attempts((CAR_CAT, 0.80), (CAR_CAT, 0.81), (FISH_CAT, 0.70), (FISH_CAT, 0.71))
    shares = {
        name: hypotheses.weigh(readings, history, Aspect.OVERALL)[1].share
        for name, history in (("nothing", []), ("won", won), ("lost", lost))
    }
    assert shares["nothing"] == pytest.approx(0.3)
    assert shares["won"] > 0.9
    assert shares["lost"] < 0.01


def test_a_lucky_gap_does_not_make_an_unlikely_reading_likely(hypotheses: Hypotheses) -> None:
    readings = hypotheses.readings(CAR_CAT, _captions(car=0.95, fish=0.05), Aspect.OVERALL)
    noise = _attempts((CAR_CAT, 0.70), (CAR_CAT, 0.76), (FISH_CAT, 0.75))
    assert hypotheses.weigh(readings, noise, Aspect.OVERALL)[1].share < 0.25


def test_rounds_are_not_compared_with_each_other(hypotheses: Hypotheses) -> None:
    readings = hypotheses.readings(CAR_CAT, _captions(car=0.7, fish=0.3), Aspect.OVERALL)
    apart = [PromptAttempt(CAR_CAT, 1, 0.5), PromptAttempt(FISH_CAT, 2, 0.9)]
    assert hypotheses.weigh(readings, apart, Aspect.OVERALL)[1].share == pytest.approx(0.3)


def test_readings_of_three_objects(hypotheses: Hypotheses) -> None:
    dog, swapped = CAR_CAT_MOON.replace("cat", "dog"), "a small cat left of a large red car left of a small moon"
    swapped = CAR_CAT_MOON.replace("a large red car left of a small cat left of a small moon", swapped)
    captions = [
        WeightedCaption(CAR_CAT_MOON, 0.4),
        WeightedCaption(dog, 0.3),
        WeightedCaption(swapped, 0.2),
        WeightedCaption(CAR_CAT, 0.1),
    ]
    base, *others = hypotheses.readings(CAR_CAT_MOON, captions, Aspect.OVERALL)
    assert (base.prompt, base.share) == (CAR_CAT_MOON, pytest.approx(0.4))
    assert [(reading.prompt, round(reading.share, 3)) for reading in others] == [
        (dog, 0.3),
        (swapped, 0.2),
        (CAR_CAT, 0.1),
    ]
    # From a pair, the third object comes with its size and in its place.
    _, triple, *_ = hypotheses.readings(CAR_CAT, captions[:1], Aspect.OVERALL)
    assert triple.prompt == CAR_CAT_MOON
    _, triple, *_ = hypotheses.readings(CAR_CAT, [WeightedCaption(swapped, 1.0)], Aspect.OVERALL)
    assert triple.prompt == swapped


def test_the_middle_one_is_recolored_alone(hypotheses: Hypotheses) -> None:
    base = "a large red car left of a small blue fish left of a small moon on a meadow, pixel art, high quality"
    green = base.replace("blue", "green")
    _, other = hypotheses.readings(base, [WeightedCaption(base, 0.6), WeightedCaption(green, 0.4)], Aspect.COLOR)
    assert (other.prompt, [edit.property for edit in other.edits]) == (green, ["objects[1].color"])
