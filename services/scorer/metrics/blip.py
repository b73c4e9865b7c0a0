"""BLIP as a reader: a text model that looks at a picture by cross attention, under BLIP ITM and ImageReward.

As in the authors' code (salesforce/BLIP, models/blip_itm.py): the text begins with [CLS] and is cut to 35 tokens, and
the answer is the last hidden state of [CLS]. The authors pad every text to 35 and mask the padding; a text alone needs
neither. Source: Li et al. 2022, "BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language
Understanding and Generation".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import nn

from services.scorer.pictures import Picture

TOKEN_LIMIT = 35
BATCH_PICTURES = 8
"""Pictures in one pass: attention over 577 patches of a picture takes 16 MB per layer."""


@dataclass(frozen=True, eq=False)
class Reading:
    """State [N, D] float32 of the text after each of N pictures, and whether its end was left out."""

    states: torch.Tensor
    truncated: bool


class BlipReader:
    """Both halves of a BLIP model with its tokenizer and preprocessing. Safe to call from several threads."""

    def __init__(
        self,
        vision: nn.Module,
        text: nn.Module,
        tokenizer: Any,
        preprocess: Callable[[Image.Image], torch.Tensor],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Takes transformers' BlipVisionModel and BlipTextModel, loaded."""
        self._vision: Any = vision.to(device, dtype).eval().requires_grad_(False)
        self._text: Any = text.to(device, dtype).eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._preprocess = preprocess
        self._device = device
        self._dtype = dtype
        # Fast tokenizers keep the last call's length as state.
        self._tokenizer_lock = threading.Lock()

    def read(self, text: str, pictures: Sequence[Picture]) -> Reading:
        """Reads one text in the light of each picture."""
        with self._tokenizer_lock:
            whole = self._tokenizer(text, verbose=False)["input_ids"]
            cut = self._tokenizer(text, truncation=True, max_length=TOKEN_LIMIT)["input_ids"]
        tokens = torch.tensor([cut], device=self._device)  # [1, T]
        states = []
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH_PICTURES):
                batch = [self._preprocess(picture.rgb) for picture in pictures[start : start + BATCH_PICTURES]]
                pixels = torch.stack(batch).to(self._device, self._dtype)
                seen = self._vision(pixel_values=pixels).last_hidden_state  # [n, patches + 1, width]
                read = self._text(input_ids=tokens.expand(len(batch), -1), encoder_hidden_states=seen)
                states.append(read.last_hidden_state[:, 0].float())
        return Reading(torch.cat(states), len(whole) > TOKEN_LIMIT)
