from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from services.common.errors import InvalidInputError, Reason
from services.common.images import DecodedImage
from services.refiner.domain import Aspect, Feedback, LanguageModelInfo, PromptAttempt, PromptEdit
from services.refiner.strategies.base import CritiqueRequest, ProposalRequest
from services.refiner.strategies.repainter import Repainter
from services.refiner.understanding.caption_understander import CachedUnderstander, CaptionUnderstander
from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.tree import UnderstandingTree
from services.refiner.understanding.tree_builder import TreeBuilder
from tests.refiner.helpers import CAR_CAT, CAR_CAT_MOON, FISH_CAT, ROBOT, ScriptedCaptions, picture

TARGET, BEST = (255, 0, 0), (0, 0, 255)
SNOW = CAR_CAT.replace("on a meadow", "in the snow")
NEON = CAR_CAT.replace("pixel art", "neon glow")
MODEL = LanguageModelInfo("scripted", "1", "tests", True, "Apache-2.0")


def _repainter(parser: PromptParser, target: Mapping[str, float], best: Mapping[str, float] | None = None) -> Repainter:
    captions = ScriptedCaptions({TARGET: target, BEST: best or target})
    return Repainter(CachedUnderstander(CaptionUnderstander(captions, TreeBuilder(parser))), parser, MODEL)


def _request(base: str = CAR_CAT, round_number: int = 1, count: int = 4, **more: object) -> ProposalRequest:
    values: dict[str, object] = {"tree": None, "history": (), "seed": 5, "aspect": list(Aspect)[(round_number - 1) % 4]}
    values |= {"base_prompt": base, "round_number": round_number, "prompt_count": count, **more}
    return ProposalRequest(target=picture(TARGET), **values)  # type: ignore[arg-type]


async def test_understands_by_the_captioner(parser: PromptParser) -> None:
    tree, prompt = await _repainter(parser, {CAR_CAT: 0.9, FISH_CAT: 0.1}).understand(picture(TARGET))
    assert prompt == tree.base_caption == CAR_CAT


async def test_a_sure_captioner_gets_the_base_prompt_and_one_synonym(parser: PromptParser) -> None:
    repainter = _repainter(parser, {CAR_CAT: 0.97, FISH_CAT: 0.03})
    first = await repainter.propose(_request())
    assert [proposal.origin for proposal in first] == ["base", "synonym"]
    assert parser.parse(first[1].text).scene == parser.parse(CAR_CAT).scene
    # Later rounds spend all pictures on fresh seeds of the base prompt.
    assert [proposal.text for proposal in await repainter.propose(_request(round_number=2))] == [CAR_CAT]


async def test_doubt_gives_alternatives_most_probable_first(parser: PromptParser) -> None:
    proposals = await _repainter(parser, {CAR_CAT: 0.5, SNOW: 0.2, FISH_CAT: 0.25, ROBOT: 0.05}).propose(_request())
    assert [(p.text, p.origin) for p in proposals[:3]] == [
        (CAR_CAT, "base"),
        (FISH_CAT, "alternative"),
        (SNOW, "alternative"),
    ]
    assert proposals[1].edits == (PromptEdit("objects[0].kind", "car", "fish"),)
    assert proposals[3].origin == "synonym"


async def test_an_unlikely_alternative_takes_a_quarter_not_half(parser: PromptParser) -> None:
    proposals = await _repainter(parser, {NEON: 0.1, CAR_CAT: 0.9}).propose(_request(round_number=2))
    assert [proposal.origin for proposal in proposals] == ["base", "alternative", "synonym"]
    proposals = await _repainter(parser, {NEON: 0.45, CAR_CAT: 0.55}).propose(_request(round_number=2))
    assert [proposal.origin for proposal in proposals] == ["base", "alternative"]


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_never_more_than_asked_for(parser: PromptParser, count: int) -> None:
    proposals = await _repainter(parser, {CAR_CAT: 0.4, SNOW: 0.3, FISH_CAT: 0.3}).propose(_request(count=count))
    assert len(proposals) == count
    assert proposals[0].text == CAR_CAT
    assert len({proposal.text for proposal in proposals}) == count


async def test_a_round_varies_its_own_aspect(parser: PromptParser) -> None:
    repainter = _repainter(parser, {CAR_CAT: 0.4, NEON: 0.2, FISH_CAT: 0.2, CAR_CAT.replace("red", "blue"): 0.2})
    texts = {number: [p.text for p in await repainter.propose(_request(round_number=number))] for number in (1, 2, 3)}
    assert FISH_CAT in texts[1] and NEON not in texts[1]
    assert NEON in texts[2] and FISH_CAT not in texts[2]
    assert CAR_CAT.replace("red", "blue") in texts[3] and NEON not in texts[3]


async def test_a_doubtful_switch_is_tried_again(parser: PromptParser) -> None:
    repainter = _repainter(parser, {CAR_CAT: 0.9, FISH_CAT: 0.1})
    history = (PromptAttempt(CAR_CAT, 1, 0.70), PromptAttempt(CAR_CAT, 1, 0.72), PromptAttempt(FISH_CAT, 1, 0.73))
    proposals = await repainter.propose(_request(FISH_CAT, round_number=2, history=history))
    assert [(p.text, p.origin) for p in proposals[:2]] == [(FISH_CAT, "base"), (CAR_CAT, "recheck")]
    clear = (PromptAttempt(CAR_CAT, 1, 0.60), PromptAttempt(CAR_CAT, 1, 0.62), PromptAttempt(FISH_CAT, 1, 0.85))
    proposals = await repainter.propose(_request(FISH_CAT, round_number=2, history=clear))
    assert CAR_CAT not in [proposal.text for proposal in proposals]


async def test_same_request_same_prompts(parser: PromptParser) -> None:
    captions = {CAR_CAT: 0.6, FISH_CAT: 0.4}
    first, second = [await _repainter(parser, captions).propose(_request()) for _ in range(2)]
    assert first == second


async def test_a_given_tree_counts(parser: PromptParser) -> None:
    tree = UnderstandingTree(SNOW)
    proposals = await _repainter(parser, {CAR_CAT: 1.0}).propose(_request(tree=tree))
    assert SNOW in [proposal.text for proposal in proposals]


async def test_free_prompts_gain_what_the_target_shows(parser: PromptParser) -> None:
    proposals = await _repainter(parser, {CAR_CAT: 1.0}).propose(_request("a dragon in a cave", round_number=2))
    texts = [proposal.text for proposal in proposals]
    assert texts[0] == "a dragon in a cave"
    assert "a dragon in a cave, pixel art" in texts


async def test_free_captions_are_each_others_alternatives(parser: PromptParser) -> None:
    captions = {"a zebra on a couch": 0.6, "an okapi sits on a sofa": 0.3, "a brown zebra indoors": 0.1}
    proposals = await _repainter(parser, captions).propose(_request("a zebra on a couch", count=3))
    assert [p.text for p in proposals] == ["a zebra on a couch", "an okapi sits on a sofa", "a brown zebra indoors"]
    assert proposals[1].origin == "caption"


def _critique(
    prompt: str = CAR_CAT, aspect: Aspect = Aspect.OVERALL, best: DecodedImage | None = None
) -> CritiqueRequest:
    return CritiqueRequest(picture(TARGET), best or picture(BEST), prompt, None, aspect)


async def test_critic_finds_nothing_when_both_pictures_show_the_same(parser: PromptParser) -> None:
    critique = await _repainter(parser, {CAR_CAT: 1.0}).critique(_critique())
    assert critique.feedback == Feedback("", Aspect.OVERALL)
    assert critique.agreement == pytest.approx(1.0)


async def test_critic_corrects_a_prompt_that_the_target_does_not_support(parser: PromptParser) -> None:
    repainter = _repainter(parser, {CAR_CAT: 0.98, FISH_CAT: 0.02}, {FISH_CAT: 1.0})
    critique = await repainter.critique(_critique(FISH_CAT))
    assert critique.feedback.edits == (PromptEdit("objects[0].kind", "fish", "car"),)
    assert "car instead of fish" in critique.feedback.text
    assert 0 < critique.agreement < 1
    assert (await repainter.revise(FISH_CAT, critique.feedback)).prompt == CAR_CAT
    # Not in this aspect.
    assert (await repainter.critique(_critique(FISH_CAT, Aspect.STYLE))).feedback.edits == ()


async def test_critic_leaves_a_supported_reading_alone(parser: PromptParser) -> None:
    repainter = _repainter(parser, {CAR_CAT: 0.8, FISH_CAT: 0.2}, {FISH_CAT: 1.0})
    assert (await repainter.critique(_critique(FISH_CAT))).feedback.edits == ()


async def test_a_picture_that_misses_a_right_prompt_asks_for_fresh_seeds(parser: PromptParser) -> None:
    repainter = _repainter(parser, {CAR_CAT: 1.0}, {FISH_CAT: 1.0})
    feedback = (await repainter.critique(_critique())).feedback
    assert "fish instead of car" in feedback.text and feedback.edits == ()
    revision = await repainter.revise(CAR_CAT, feedback)
    assert (revision.prompt, revision.edits) == (CAR_CAT, ())


async def test_revises_by_a_persons_words(parser: PromptParser) -> None:
    repainter = _repainter(parser, {CAR_CAT: 1.0})
    revision = await repainter.revise(CAR_CAT, Feedback("make the car blue"))
    assert revision.prompt == CAR_CAT.replace("red", "blue")
    assert revision.edits == (PromptEdit("objects[0].color", "red", "blue"),)
    assert (await repainter.revise(CAR_CAT, Feedback(""))).prompt == CAR_CAT


async def test_says_plainly_how_many_objects_the_embedded_models_draw(parser: PromptParser) -> None:
    repainter = _repainter(parser, {CAR_CAT: 1.0})
    revision = await repainter.revise(CAR_CAT, Feedback("add a small moon"))
    assert revision.prompt == CAR_CAT_MOON
    with pytest.raises(InvalidInputError, match="4 objects, and the embedded models draw at most 3") as caught:
        await repainter.revise(CAR_CAT_MOON, Feedback("add a dog"))
    assert (caught.value.field, caught.value.reason) == ("feedback.text", Reason.INVALID_FIELD)
    # In exchange for another one it is no more than before.
    revision = await repainter.revise(CAR_CAT_MOON, Feedback("remove the cat and add a small dog"))
    assert revision.prompt == CAR_CAT_MOON.replace("cat left of a small moon", "moon left of a small dog")
    # A prompt that names more already can still be changed, and other models draw what they draw.
    four = "a car, a cat, a moon and a dog"
    assert (await repainter.revise(four, Feedback("make the car blue"))).prompt == "a blue car, a cat, a moon and a dog"
    captions = ScriptedCaptions({TARGET: {CAR_CAT: 1.0}})
    understander = CachedUnderstander(CaptionUnderstander(captions, TreeBuilder(parser)))
    other = Repainter(understander, parser, replace(MODEL, embedded=False))
    assert (await other.revise(CAR_CAT_MOON, Feedback("add a dog"))).prompt.count("left of") == 3


async def test_critic_corrects_one_of_three(parser: PromptParser) -> None:
    dog = CAR_CAT_MOON.replace("cat", "dog")
    repainter = _repainter(parser, {CAR_CAT_MOON: 1.0}, {dog: 1.0})
    critique = await repainter.critique(_critique(dog))
    assert critique.feedback.edits == (PromptEdit("objects[1].kind", "dog", "cat"),)
    assert (await repainter.revise(dog, critique.feedback)).prompt == CAR_CAT_MOON
    assert 0.5 < critique.agreement < 1


async def test_critic_sees_another_order_of_three(parser: PromptParser) -> None:
    swapped = "a large red car left of a small moon left of a small cat on a meadow, pixel art, high quality"
    repainter = _repainter(parser, {CAR_CAT_MOON: 1.0}, {swapped: 1.0})
    critique = await repainter.critique(_critique(swapped))
    assert [edit.property for edit in critique.feedback.edits] == ["relation"]
    assert "car left of cat left of moon instead of car left of moon left of cat" in critique.feedback.text
    assert (await repainter.revise(swapped, critique.feedback)).prompt == CAR_CAT_MOON
    assert critique.agreement == pytest.approx(6 / 7)


async def test_edits_outside_the_aspect_are_left_out(parser: PromptParser) -> None:
    edits = (PromptEdit("style", "", "neon glow"), PromptEdit("objects[0].color", "red", "blue"))
    revision = await _repainter(parser, {CAR_CAT: 1.0}).revise(CAR_CAT, Feedback("", Aspect.STYLE, edits))
    assert revision.prompt == NEON


async def test_a_whole_loop_reaches_the_target_from_a_wrong_first_reading(parser: PromptParser) -> None:
    """The captioner errs in kind and style; a score that knows the truth must lead the prompts to it."""
    truth = FISH_CAT.replace("pixel art", "neon glow")
    doubt = {CAR_CAT: 0.5, FISH_CAT: 0.2, NEON: 0.2, truth: 0.1}
    repainter = _repainter(parser, doubt)
    base, history, best = CAR_CAT, [], ("", -1.0)
    for number, aspect in enumerate(Aspect, start=1):
        proposals = await repainter.propose(_request(base, round_number=number, history=tuple(history)))
        for proposal in proposals:
            seen, wanted = parser.parse(proposal.text).scene, parser.parse(truth).scene
            score = 0.5 + 0.2 * (seen.objects == wanted.objects) + 0.2 * (seen.style == wanted.style)
            history.append(PromptAttempt(proposal.text, number, score))
            best = max(best, (proposal.text, score), key=lambda pair: pair[1])
        following = list(Aspect)[number % 4]
        critique = await repainter.critique(_critique(best[0], following))
        base = (await repainter.revise(best[0], critique.feedback)).prompt
        assert aspect is not None
    assert parser.parse(base).scene == parser.parse(truth).scene
    await asyncio.sleep(0)
