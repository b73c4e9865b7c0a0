from __future__ import annotations

import asyncio

import pytest

from services.common.errors import Reason, UnavailableError
from services.refiner.understanding.caption_understander import CachedUnderstander, CaptionUnderstander
from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.tree_builder import TreeBuilder
from tests.refiner.helpers import CAR_CAT, ROBOT, ScriptedCaptions, picture

RED, BLUE, EMPTY = (255, 0, 0), (0, 0, 255), (0, 0, 0)


def _understander(parser: PromptParser, capacity: int = 8) -> tuple[CachedUnderstander, ScriptedCaptions]:
    captions = ScriptedCaptions({RED: {CAR_CAT: 1.0}, BLUE: {ROBOT: 1.0}, EMPTY: {}})
    return CachedUnderstander(CaptionUnderstander(captions, TreeBuilder(parser)), capacity), captions


async def test_describes_each_picture_once(parser: PromptParser) -> None:
    understander, captions = _understander(parser)
    together = await asyncio.gather(*(understander.describe(picture(RED)) for _ in range(5)))
    assert {description.prompt for description in together} == {CAR_CAT}
    assert (await understander.describe(picture(BLUE))).prompt == ROBOT
    assert captions.calls == 2


async def test_forgets_the_oldest(parser: PromptParser) -> None:
    understander, captions = _understander(parser, capacity=1)
    for color in (RED, BLUE, RED):
        await understander.describe(picture(color))
    assert captions.calls == 3


async def test_a_cancelled_caller_does_not_harm_the_others(parser: PromptParser) -> None:
    understander, captions = _understander(parser)
    first = asyncio.create_task(understander.describe(picture(RED)))
    second = asyncio.create_task(understander.describe(picture(RED)))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).prompt == CAR_CAT
    assert captions.calls == 1


async def test_failures_are_not_kept(parser: PromptParser) -> None:
    understander, captions = _understander(parser)
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            await understander.describe(picture(EMPTY))
        assert caught.value.reason is Reason.MODEL_UNAVAILABLE
    assert captions.calls == 2
