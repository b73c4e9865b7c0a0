"""An open_clip model as a judge of captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

_BATCH = 64


class ClipVerifier:
    """Image-text similarities times the model's own logit scale."""

    def __init__(self, model: Any, preprocess: Any, tokenizer: Any) -> None:
        self._model = model.eval()
        self._preprocess = preprocess
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path) -> ClipVerifier:
        """Loads an open_clip folder, such as models/clip-embedded."""
        name = f"local-dir:{folder.resolve()}"
        model, _, preprocess = open_clip.create_model_and_transforms(name)
        return cls(model.float(), preprocess, open_clip.get_tokenizer(name))

    @torch.inference_mode()
    def logits(self, image: Image.Image, texts: Sequence[str]) -> list[float]:
        """Similarity of the picture to every text, in nats."""
        picture = self._model.encode_image(self._preprocess(image)[None], normalize=True)[0]
        scale = self._model.logit_scale.exp()
        found: list[float] = []
        for start in range(0, len(texts), _BATCH):
            words = self._model.encode_text(self._tokenizer(list(texts[start : start + _BATCH])), normalize=True)
            found += (scale * words @ picture).tolist()
        return found
