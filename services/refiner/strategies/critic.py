"""Compares the target with the best picture as the captioner sees both, in one aspect."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from services.refiner.domain import Aspect, Feedback, PromptEdit
from services.refiner.strategies.base import Critique
from services.refiner.strategies.hypotheses import Hypotheses, view
from services.refiner.understanding.base import WeightedCaption
from services.refiner.understanding.comparing import difference
from services.refiner.understanding.lexicon import tokens
from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.scene_prompt import ScenePrompt

KEEP = "Keep the prompt"
"""Start of feedback that asks for fresh seeds instead of other words."""


class Critic:
    """Says what a prompt gets wrong about its target, and what its picture does."""

    def __init__(self, parser: PromptParser, hypotheses: Hypotheses, min_share: float) -> None:
        self._parser = parser
        self._hypotheses = hypotheses
        self._min_share = min_share

    def critique(
        self,
        prompt: str,
        target: Sequence[WeightedCaption],
        picture: Sequence[WeightedCaption],
        aspect: Aspect,
    ) -> Critique:
        """Edits where the target does not support the prompt; words alone where only the picture misses the prompt.

        A reading that the captioner holds for possible (at least the minimum share) is left alone: the loop chose it.
        """
        agreement = self._agreement(target, picture)
        readings = self._hypotheses.readings(prompt, target, aspect)
        supported = readings[0].share >= self._min_share
        if not supported and len(readings) > 1 and readings[1].edits:
            edits = readings[1].edits
            return Critique(Feedback(_words(aspect, edits), aspect, edits), agreement)
        seen, wanted = self._parser.parse(picture[0].text).scene, self._parser.parse(target[0].text).scene
        missed = difference(seen, wanted, self._parser.writer, frozenset({aspect}))
        if not missed:
            return Critique(Feedback("", aspect), agreement)
        differences = "; ".join(f"{edit.before or 'nothing'} instead of {edit.after or 'nothing'}" for edit in missed)
        text = f"{KEEP} and try fresh seeds: in {aspect.value}, the picture shows {differences}."
        return Critique(Feedback(text, aspect), agreement)

    def _agreement(self, target: Sequence[WeightedCaption], picture: Sequence[WeightedCaption]) -> float:
        """Overlap of what is seen in both, 0..1: the mean over attributes of the shared probability."""
        ours, theirs = self._marginals(target), self._marginals(picture)
        if not ours or not theirs:
            return _word_overlap(target[0].text, picture[0].text)
        overlaps = [
            sum(min(share, theirs.get(name, {}).get(value, 0.0)) for value, share in values.items())
            for name, values in ours.items()
        ]
        return min(1.0, sum(overlaps) / len(overlaps))

    def _marginals(self, captions: Sequence[WeightedCaption]) -> dict[str, dict[Hashable, float]]:
        marginals: dict[str, dict[Hashable, float]] = {}
        for caption in captions:
            scene = self._parser.parse(caption.text).scene
            if not scene.objects:
                continue
            for name, value in _attributes(scene).items():
                shares = marginals.setdefault(name, {})
                shares[value] = shares.get(value, 0.0) + caption.probability
        return marginals


def _attributes(scene: ScenePrompt) -> dict[str, Hashable]:
    kinds = [item.kind for item in scene.objects]
    return {
        "kinds": frozenset(kinds),
        # The order; the last object follows from the kinds.
        "layout": (scene.position, scene.relation, tuple(kinds[:-1]) if scene.relation else ()),
        "background": scene.background,
        "style": scene.style,
        "color": view(scene, Aspect.COLOR),
        "size": tuple(item.size for item in scene.objects),
        "quality": scene.quality,
    }


def _words(aspect: Aspect, edits: Sequence[PromptEdit]) -> str:
    parts = []
    for edit in edits:
        if edit.before and edit.after:
            parts.append(f"{edit.after} instead of {edit.before}")
        else:
            parts.append(f"add {edit.after}" if edit.after else f"remove {edit.before}")
    return f"{aspect.value}: " + "; ".join(parts)


def _word_overlap(first: str, second: str) -> float:
    ours, theirs = ({token.word for token in tokens(text)} for text in (first, second))
    return len(ours & theirs) / max(1, len(ours | theirs))
