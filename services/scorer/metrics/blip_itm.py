"""blip-itm: whether text and picture belong together, by BLIP's image-text matching head.

Raw value: probability 0..1 of "match" among the head's two answers; normalized is the same number, which is monotone
and spans the range by itself. Pictures are squashed to 384 x 384 by the repository's own preprocessing, on Pillow as
the authors do it. A text over 35 tokens is cut, and the answer says so.

Layout: transformers' BlipForImageTextRetrieval, as published in Salesforce/blip-itm-base-coco. Source: Li et al. 2022
(see blip.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoImageProcessor, BertTokenizer, BlipForImageTextRetrieval

from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics import checkpoints
from services.scorer.metrics.base import MetricInput, MetricSpec, Value
from services.scorer.metrics.blip import TOKEN_LIMIT, BlipReader
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.metrics.text_pair import TextPairMetric, TextScores
from services.scorer.pictures import Picture

SOURCE = "Salesforce/blip-itm-base-coco"
PREPROCESSING = "blip-square-pil-1"


class BlipItm(TextPairMetric):
    """Probability that the text describes the picture."""

    def __init__(self, spec: MetricSpec, reader: BlipReader, head: nn.Module) -> None:
        """Takes the matching head [width, 2]; its second answer is "match"."""
        super().__init__(spec)
        self._reader = reader
        self._head = head.float().eval().requires_grad_(False)

    def score(self, text: str, candidates: Sequence[Picture]) -> TextScores:
        """Probabilities of a match, 0..1."""
        reading = self._reader.read(text, candidates)
        with torch.inference_mode():
            matches = self._head(reading.states).double().softmax(dim=-1)[:, 1]
        return TextScores(tuple(Value(match, match) for match in matches.tolist()), reading.truncated)


def build(settings: Settings, model: ModelSource) -> BlipItm:
    """Loads the metric from a hub id or a folder in the hub's layout.

    Raises:
        UnavailableError: weights, tokenizer or preprocessing are not there or do not fit; says which.
    """
    device = compute.device_of(settings)
    dtype = compute.dtype_on(device, model.dtype)
    network: Any = checkpoints.load_pretrained(model, BlipForImageTextRetrieval)
    tokenizer = checkpoints.load_processor(model, BertTokenizer, "vocab.txt")
    images = checkpoints.load_processor(model, AutoImageProcessor, "preprocessor_config.json", backend="pil")
    # BLIP's own two marks are at the end of the table and in no text.
    checkpoints.check_vocabulary(model, tokenizer, network.config.text_config.vocab_size, marks=2)
    spec = MetricSpec(
        id=model.id,
        revision=checkpoints.revision(network, dtype),
        description="Probability that the text describes the picture, by BLIP's image-text matching head.",
        input=MetricInput.TEXT_IMAGE,
        higher_is_better=True,
        minimum=0.0,
        maximum=1.0,
        preprocessing=PREPROCESSING,
        license=model.license,
        token_limit=TOKEN_LIMIT,
        embedded=False,
    )
    reader = BlipReader(
        network.vision_model,
        network.text_encoder,
        tokenizer,
        lambda rgb: images(images=rgb, return_tensors="pt")["pixel_values"][0],
        device,
        dtype,
    )
    return BlipItm(spec, reader, network.itm_head.to(device))
