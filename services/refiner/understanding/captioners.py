"""The embedded captioner as a source of weighted captions."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image

from services.refiner.understanding.base import WeightedCaption, normalized
from services.refiner.understanding.embedded_captioner import EmbeddedCaptioner

_SAMPLES = 48
# Warmer than the model, to find readings it holds for unlikely; their weight comes from the model's own probability.
_SAMPLING_TEMPERATURE = 1.5
_SEED = 0


class EmbeddedCaptions:
    """Posterior over captions: sampling finds the readings, the model's log probabilities weigh them."""

    def __init__(self, captioner: EmbeddedCaptioner) -> None:
        self._captioner = captioner

    @classmethod
    def load(cls, captioner_dir: Path, clip_dir: Path) -> EmbeddedCaptions:
        """Loads models/captioner-embedded on the vision tower of models/clip-embedded."""
        return cls(EmbeddedCaptioner.load(captioner_dir, clip_dir))

    def weigh(self, image: Image.Image) -> list[WeightedCaption]:
        """Distinct captions, most probable first; probabilities sum to 1 over what was found."""
        found = {caption.text: caption.log_probability for caption in self._captioner.caption([image])}
        for caption in self._captioner.captions(image, _SAMPLES, _SAMPLING_TEMPERATURE, _SEED):
            found.setdefault(caption.text, caption.log_probability)
        top = max(found.values())
        return normalized([WeightedCaption(text, math.exp(value - top)) for text, value in found.items()])
