"""Any transformers image-to-text model (BLIP, BLIP-2, GIT, ViT-GPT2 ...) as a source of weighted captions."""

from __future__ import annotations

from typing import Any, cast

import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PretrainedConfig,
    VisionEncoderDecoderModel,
)

from services.refiner.understanding.base import WeightedCaption, normalized

_SAMPLES = 16
_MAX_NEW_TOKENS = 48
_SEED = 0
_ENCODER_DECODER = "vision-encoder-decoder"


class ImageToTextCaptions:
    """Beam search gives the caption, sampling the alternatives; a caption's share is how often it was drawn.

    Models word one reading in many ways, so shares of free captions are small; the beam's caption counts as much as all
    samples together and always comes first.
    """

    def __init__(self, model: Any, processor: Any, tokenizer: Any, device: torch.device) -> None:
        self._model = model
        self._processor = processor
        self._tokenizer = tokenizer
        self._device = device

    @classmethod
    def load(cls, source: str, *, revision: str | None, dtype: str, device: torch.device) -> ImageToTextCaptions:
        """Loads a hub id or a local folder.

        Args:
            source: Hub id or folder.
            revision: Hub revision; None means the default branch.
            dtype: "float32", "bfloat16" or "float16".
            device: Where the model runs.

        Raises:
            OSError: the model is neither in the folder nor at the hub.
        """
        config = AutoConfig.from_pretrained(source, revision=revision)
        # transformers does not annotate its auto classes' loaders.
        processors, images = cast(Any, AutoProcessor), cast(Any, AutoImageProcessor)
        model = _model_class(config).from_pretrained(source, revision=revision, dtype=getattr(torch, dtype))
        if config.model_type == _ENCODER_DECODER:
            processor = images.from_pretrained(source, revision=revision)
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
        else:
            processor = processors.from_pretrained(source, revision=revision)
            tokenizer = processor.tokenizer
        return cls(model.to(device).eval(), processor, tokenizer, device)

    def weigh(self, image: Image.Image) -> list[WeightedCaption]:
        """Distinct captions, the beam's first; probabilities sum to 1."""
        inputs = self._processor(images=image, return_tensors="pt")
        pixels = inputs["pixel_values"].to(self._device, self._model.dtype)
        best = self._generate(pixels, num_beams=3, do_sample=False)
        cuda = [self._device] if self._device.type == "cuda" else []
        # transformers samples from the global generator: seed it, and leave it as it was.
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(_SEED)
            drawn = self._generate(pixels, do_sample=True, top_k=0, num_return_sequences=_SAMPLES)
        captions = [WeightedCaption(text, float(_SAMPLES)) for text in best]
        return normalized(captions + [WeightedCaption(text, 1.0) for text in drawn])

    @torch.inference_mode()
    def _generate(self, pixels: torch.Tensor, **options: Any) -> list[str]:
        ids = self._model.generate(pixel_values=pixels, max_new_tokens=_MAX_NEW_TOKENS, **options)
        texts: list[str] = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


def pick_device(wanted: str) -> torch.device:
    """The device of a setting: "auto" is the GPU where there is one."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def _model_class(config: PretrainedConfig) -> Any:
    return VisionEncoderDecoderModel if config.model_type == _ENCODER_DECODER else AutoModelForImageTextToText
