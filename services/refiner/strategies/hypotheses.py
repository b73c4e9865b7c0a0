"""Readings of the target in one aspect, with their probabilities: the captioner's doubt, then what the scores say.

A loop that tries whatever raises its own score drifts away from the target. So a prompt may differ from the base only
where the captioner itself saw another reading in the target, and only as far as its probability is worth a picture.
Scores of pictures shift these probabilities by Bayes' rule; they never bring in a reading that was not seen.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from services.refiner.domain import Aspect, PromptAttempt, PromptEdit
from services.refiner.understanding.base import WeightedCaption
from services.refiner.understanding.comparing import difference
from services.refiner.understanding.editing import PromptEditor
from services.refiner.understanding.parsing import ParsedPrompt, PromptParser
from services.refiner.understanding.scene_prompt import ScenePrompt

# Spread of the loop score between seeds of one prompt until the history tells, and the weight of that assumption.
_SEED_NOISE = 0.03
_SEED_NOISE_WEIGHT = 4
# How many such spreads a wrong reading is assumed to cost. Low: similarity may shift the reading, not decide it alone.
_WRONG_READING_COST = 1.0
_MAX_EVIDENCE = 6.0
_UNSEEN_SHARE = 0.01
"""Share of a base prompt's reading that the captioner never saw: a person or a critic wanted it."""


@dataclass(frozen=True)
class Reading:
    """A reading of one aspect, and the prompt that says it; `edits` lead there from the base prompt."""

    key: Hashable
    prompt: str
    share: float
    edits: tuple[PromptEdit, ...] = ()


def view(scene: ScenePrompt, aspect: Aspect) -> Hashable:
    """What a scene says about an aspect; equal views are one reading."""
    if aspect is Aspect.STYLE:
        return scene.style
    if aspect is Aspect.COLOR:
        return tuple(item.color for item in scene.objects)
    if aspect is Aspect.DETAIL:
        return (*(item.size for item in scene.objects), scene.quality)
    return (tuple(item.kind for item in scene.objects), scene.position, scene.relation, scene.background)


class Hypotheses:
    """Finds the readings of a target around a base prompt."""

    def __init__(self, parser: PromptParser, editor: PromptEditor) -> None:
        self._parser = parser
        self._editor = editor

    def readings(self, base: str, captions: Sequence[WeightedCaption], aspect: Aspect) -> list[Reading]:
        """Readings of the aspect with their shares, the base prompt's first, then the most probable.

        Everything outside the aspect stays as in the base prompt, except what a change forces: an added object brings
        its size and color, and a style without colors has none.
        """
        parsed = self._parser.parse(base)
        base_key = view(parsed.scene, aspect)
        found: dict[Hashable, Reading] = {base_key: Reading(base_key, base, 0.0)}
        for caption in captions:
            edits = self.edits_towards(parsed, self._parser.parse(caption.text).scene, aspect)
            if edits:
                prompt, edits = self._apply(base, edits)
                key = view(self._parser.parse(prompt).scene, aspect)
            else:
                prompt, key = base, base_key
            known = found.get(key)
            if known is None:
                found[key] = Reading(key, prompt, caption.probability, edits)
            else:
                found[key] = replace(known, share=known.share + caption.probability)
        first = found.pop(base_key)
        others = sorted(found.values(), key=lambda reading: (-reading.share, reading.prompt))
        return [replace(first, share=max(first.share, _UNSEEN_SHARE)), *others]

    def edits_towards(self, base: ParsedPrompt, goal: ScenePrompt, aspect: Aspect) -> tuple[PromptEdit, ...]:
        """Edits that give the base prompt the goal's reading of an aspect, with what they force elsewhere."""
        writer = self._parser.writer
        edits = difference(base.scene, goal, writer, frozenset({aspect}))
        if not edits:
            return ()
        everything = difference(base.scene, goal, writer)
        forced: list[PromptEdit] = []
        if aspect is Aspect.OVERALL:
            changed = {edit.property.removesuffix(".kind") for edit in edits if edit.property.endswith(".kind")}
            forced = [e for e in everything if e.property.endswith(".color") and e.property[:-6] in changed]
        if aspect is Aspect.STYLE:
            style = self._parser.vocabulary.style(goal.style)
            if style is not None and style.has_colors:
                forced = [e for e in everything if e.property.endswith(".color") and not e.before]
            elif style is not None and base.canonical:
                forced = [
                    PromptEdit(f"objects[{index}].color", writer.phrase("color", item.color), "")
                    for index, item in enumerate(base.scene.objects)
                    if item.color
                ]
        return (*edits, *forced)

    def _apply(self, base: str, edits: Iterable[PromptEdit]) -> tuple[str, tuple[PromptEdit, ...]]:
        revision = self._editor.apply(base, edits)
        return revision.prompt, revision.edits

    def weigh(self, readings: Sequence[Reading], history: Sequence[PromptAttempt], aspect: Aspect) -> list[Reading]:
        """Readings with their shares after the scores of earlier rounds, in the same order, summing to 1.

        Readings are compared within rounds only, since prompts of one round differ in little else. With a normal
        spread s of scores between seeds and a cost of c * s for a wrong reading, a difference d of two means of n and m
        pictures is worth a log likelihood ratio of 2 * c * d / s * n * m / (n + m).
        """
        attempts = [(view(self._parser.parse(a.prompt).scene, aspect), a) for a in history]
        noise = _seed_noise(history)
        weights = []
        for reading in readings:
            evidence = _evidence(attempts, reading.key, readings[0].key, noise) if reading is not readings[0] else 0.0
            weights.append(reading.share * math.exp(max(-_MAX_EVIDENCE, min(_MAX_EVIDENCE, evidence))))
        total = sum(weights) or 1.0
        return [replace(reading, share=weight / total) for reading, weight in zip(readings, weights, strict=True)]


def _evidence(
    attempts: Sequence[tuple[Hashable, PromptAttempt]], reading: Hashable, base: Hashable, noise: float
) -> float:
    total = 0.0
    for number in {attempt.round_number for _, attempt in attempts}:
        ours = [a.score for key, a in attempts if key == reading and a.round_number == number]
        theirs = [a.score for key, a in attempts if key == base and a.round_number == number]
        if ours and theirs:
            gap = sum(ours) / len(ours) - sum(theirs) / len(theirs)
            pictures = len(ours) * len(theirs) / (len(ours) + len(theirs))
            total += 2 * _WRONG_READING_COST * gap / noise * pictures
    return total


def _seed_noise(history: Sequence[PromptAttempt]) -> float:
    """Standard deviation of scores between seeds of one prompt, pooled with the assumed one."""
    squares, freedom = _SEED_NOISE**2 * _SEED_NOISE_WEIGHT, float(_SEED_NOISE_WEIGHT)
    for prompt in {attempt.prompt for attempt in history}:
        scores = [attempt.score for attempt in history if attempt.prompt == prompt]
        mean = sum(scores) / len(scores)
        squares += sum((score - mean) ** 2 for score in scores)
        freedom += len(scores) - 1
    return math.sqrt(squares / freedom)
