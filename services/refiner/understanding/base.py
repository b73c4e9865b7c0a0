"""What an understander gives: captions with their probabilities, and the tree made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from services.common.images import DecodedImage
from services.refiner.understanding.tree import UnderstandingTree


@dataclass(frozen=True)
class WeightedCaption:
    """A caption and how probable the model thinks it is, 0..1."""

    text: str
    probability: float


@dataclass(frozen=True)
class Description:
    """What is seen in a picture.

    Attributes:
        captions: Distinct captions, most probable first; probabilities sum to 1. Their spread is the model's doubt.
        tree: The most probable reading as a tree.
        prompt: First prompt, written from the tree.
    """

    captions: tuple[WeightedCaption, ...]
    tree: UnderstandingTree
    prompt: str


class Captioner(Protocol):
    """A model that captions pictures; blocking, one call at a time, deterministic."""

    def weigh(self, image: Image.Image) -> list[WeightedCaption]:
        """Distinct captions of an RGB picture, most probable first; probabilities sum to 1."""
        ...


class Understander(Protocol):
    """Describes pictures."""

    async def describe(self, image: DecodedImage) -> Description:
        """Captions, tree and first prompt; the same answer for the same pixels."""
        ...


def normalized(captions: list[WeightedCaption]) -> list[WeightedCaption]:
    """Captions with equal texts merged, most probable first, probabilities scaled to sum 1."""
    merged: dict[str, float] = {}
    for caption in captions:
        text = " ".join(caption.text.split())
        if text:
            merged[text] = merged.get(text, 0.0) + caption.probability
    total = sum(merged.values())
    if total <= 0:
        return []
    # Sorting by text as well makes ties deterministic.
    ordered = sorted(merged.items(), key=lambda item: (-item[1], item[0]))
    return [WeightedCaption(text, probability / total) for text, probability in ordered]
