"""A captioner whose readings are checked against the picture by an image-text model.

A small captioner is sure of combinations that it saw in training and blind to others: asked for a cat in a room, having
never seen one, it says another animal or another place, with full confidence. An image-text model (CLIP) is a worse
describer but a fair judge. So every reading one property away from the captioner's is judged too, as CLIP-Interrogator
does with its word lists, and the two opinions are multiplied: p(caption) ~ prod(m + e) * exp(w * similarity), with m
the captioner's marginal of each property's value and e the doubt that keeps it from ruling a value out.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol

from PIL import Image

from services.refiner.understanding.base import Captioner, WeightedCaption, normalized
from services.refiner.understanding.comparing import difference
from services.refiner.understanding.editing import PromptEditor
from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.scene_prompt import ScenePrompt
from services.refiner.understanding.variants import variants

# Both fitted on drawings that neither model was trained on: highest log likelihood of the true values.
_DOUBT = 0.2
_SIMILARITY_WEIGHT = 2.0
_STEPS = 3
_COMBINED = 6
_LEAST_SHARE = 0.002


class Verifier(Protocol):
    """An image-text model; blocking."""

    def logits(self, image: Image.Image, texts: Sequence[str]) -> list[float]:
        """Similarities of a picture to texts, in nats: their softmax is the model's choice among them."""
        ...


class VerifiedCaptions:
    """A captioner's readings and their neighbors, weighed by captioner and verifier."""

    def __init__(self, captioner: Captioner, verifier: Verifier, parser: PromptParser) -> None:
        self._captioner = captioner
        self._verifier = verifier
        self._parser = parser
        self._editor = PromptEditor(parser)

    def weigh(self, image: Image.Image) -> list[WeightedCaption]:
        """Distinct captions, most probable first; probabilities sum to 1. Captions of unknown words are left alone."""
        captions = self._captioner.weigh(image)
        if not captions or not self._parser.parse(captions[0].text).complete:
            return captions
        marginals = self._marginals(captions)
        weights: dict[str, float] = {}
        self._judge(image, (caption.text for caption in captions), marginals, weights)
        best = ""
        for _ in range(_STEPS):
            now = max(weights, key=lambda text: weights[text])
            if now == best:
                break
            best = now
            self._judge(image, self._neighbors(best), marginals, weights)
            self._judge(image, self._combinations(best, weights), marginals, weights)
        top = max(weights.values())
        shares = normalized([WeightedCaption(text, math.exp(weight - top)) for text, weight in weights.items()])
        return normalized([caption for caption in shares if caption.probability >= _LEAST_SHARE])

    def _judge(
        self,
        image: Image.Image,
        texts: Iterable[str],
        marginals: dict[Hashable, dict[Hashable, float]],
        weights: dict[str, float],
    ) -> None:
        """Adds the log weights of new complete texts."""
        new = [text for text in dict.fromkeys(texts) if text not in weights and self._parser.parse(text).complete]
        for text, logit in zip(new, self._verifier.logits(image, new) if new else [], strict=True):
            values = _properties(self._parser.parse(text).scene)
            prior = sum(math.log(marginals[name][value] + _DOUBT) for name, value in values.items())
            # A scene with more properties must not lose for having more factors.
            prior -= len(values) * math.log(1 + _DOUBT)
            weights[text] = prior + _SIMILARITY_WEIGHT * logit

    def _neighbors(self, text: str) -> list[str]:
        scene = self._parser.parse(text).scene
        return [self._parser.writer.write(other) for other in variants(scene, self._parser.vocabulary)]

    def _combinations(self, text: str, weights: dict[str, float]) -> list[str]:
        """Pairs of the most probable single changes: two properties may be wrong at once."""
        scene = self._parser.parse(text).scene
        others = sorted((other for other in weights if other != text), key=lambda other: -weights[other])
        changes = [
            difference(scene, self._parser.parse(other).scene, self._parser.writer) for other in others[:_COMBINED]
        ]
        return [self._editor.apply(text, first + second).prompt for first, second in itertools.combinations(changes, 2)]

    def _marginals(self, captions: Sequence[WeightedCaption]) -> dict[Hashable, dict[Hashable, float]]:
        """The captioner's share of every value of every property, given the number of objects."""
        totals: dict[int, float] = defaultdict(float)
        sums: dict[Hashable, dict[Hashable, float]] = defaultdict(lambda: defaultdict(float))
        for caption in captions:
            scene = self._parser.parse(caption.text).scene
            totals[len(scene.objects)] += caption.probability
            for name, value in _properties(scene).items():
                sums[name][value] += caption.probability
        for name, values in sums.items():
            if isinstance(name, tuple):
                for value in values:
                    values[value] /= totals[name[0]]
        return sums


def _properties(scene: ScenePrompt) -> dict[Hashable, Hashable]:
    """Values by property; all but the count are keyed by the count, since they mean something else in another one."""
    count = len(scene.objects)
    values: dict[Hashable, Hashable] = {"count": count}
    for index, item in enumerate(scene.objects):
        values |= {(count, f"{name}{index}"): getattr(item, name) for name in ("kind", "size", "color")}
    for name in ("position", "relation", "background", "style", "quality"):
        values[count, name] = getattr(scene, name)
    return values
