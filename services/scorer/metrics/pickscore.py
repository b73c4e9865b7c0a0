"""pickscore: which of several pictures people would pick for the text, by a CLIP ViT-H/14 tuned on Pick-a-Pic.

Raw value: logit scale x cosine of the embeddings of text and picture, as the authors' README computes it: bounded by
the scale (100) on both sides, about 20 for common pictures. The model was trained with the chance sigmoid(raw1 - raw2)
to be picked; normalized is that chance against a picture of 20.53, the published mean of Stable Diffusion 1.5 (Liang
et al. 2024, "Step-aware Preference Optimization"). Scores of different texts are not comparable.

Pictures go through the preprocessing of laion/CLIP-ViT-H-14-laion2B-s32B-b79K, on Pillow as when the model was
published. A text over 77 tokens is cut, and the answer says so. Layout: transformers' CLIPModel, as published in
yuvalkirstain/PickScore_v1. Source: Kirstain et al. 2023, "Pick-a-Pic: An Open Dataset of User Preferences for
Text-to-Image Generation".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics import checkpoints
from services.scorer.metrics.base import (
    EmbedderSpec,
    EmbeddingMetric,
    MetricInput,
    MetricSpec,
    TextEmbedder,
    TextEmbedding,
    Value,
    Vector,
)
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.metrics.cosine import cosine
from services.scorer.metrics.preference import win_probability
from services.scorer.pictures import Picture

SOURCE = "yuvalkirstain/PickScore_v1"
PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
PREPROCESSING = "clip-center-pil-1"
REFERENCE = 20.53


class PickScoreEmbedder(TextEmbedder):
    """Both towers of transformers' CLIPModel; vectors are L2-normalized."""

    def __init__(self, spec: EmbedderSpec, network: Any, tokenizer: Any, images: Any, dtype: torch.dtype) -> None:
        super().__init__(spec)
        self._network = network
        self._tokenizer = tokenizer
        self._images = images
        self._dtype = dtype
        self._device = next(network.parameters()).device
        self.token_limit = int(self._network.config.text_config.max_position_embeddings)
        # Fast tokenizers keep the last call's length as state.
        self._tokenizer_lock = threading.Lock()

    def embed(self, pictures: Sequence[Picture]) -> list[Vector]:
        """Unit vectors [D] of pictures."""
        prepared = [self._images(images=picture.rgb, return_tensors="pt")["pixel_values"][0] for picture in pictures]
        pixels = torch.stack(prepared).to(self._device, self._dtype)
        with torch.inference_mode():
            seen = self._network.vision_model(pixel_values=pixels).pooler_output
            return list(_unit_vectors(self._network.visual_projection(seen)))

    def embed_text(self, text: str) -> TextEmbedding:
        """Unit vector [D] of a text; at most `token_limit` tokens, start and end mark included, are read."""
        with self._tokenizer_lock:
            whole = self._tokenizer(text, verbose=False)["input_ids"]
            cut = self._tokenizer(text, truncation=True, max_length=self.token_limit)["input_ids"]
        with torch.inference_mode():
            read = self._network.text_model(input_ids=torch.tensor([cut], device=self._device)).pooler_output
            vector = _unit_vectors(self._network.text_projection(read))[0]
        return TextEmbedding(vector, len(whole) > self.token_limit)


def build(settings: Settings, model: ModelSource) -> EmbeddingMetric:
    """Loads the metric from a hub id or a folder in the hub's layout.

    Raises:
        UnavailableError: weights, tokenizer or preprocessing are not there or do not fit; says which.
    """
    device = compute.device_of(settings)
    dtype = compute.dtype_on(device, model.dtype)
    network: Any = checkpoints.load_pretrained(model, CLIPModel)
    tokenizer = checkpoints.load_processor(model, AutoTokenizer, "the tokenizer", PROCESSOR)
    images = checkpoints.load_processor(model, AutoImageProcessor, "preprocessor_config.json", PROCESSOR, backend="pil")
    checkpoints.check_vocabulary(model, tokenizer, network.config.text_config.vocab_size)
    scale = float(network.logit_scale.detach().exp())
    embedder_spec = EmbedderSpec(
        id=model.id,
        revision=checkpoints.revision(network, dtype),
        preprocessing=PREPROCESSING,
        dimensions=int(network.config.projection_dim),
        source=model.name,
        embedded=False,
        license=model.license,
    )
    network = network.to(device, dtype).eval().requires_grad_(False)
    embedder = PickScoreEmbedder(embedder_spec, network, tokenizer, images, dtype)
    spec = MetricSpec(
        id=model.id,
        revision=embedder.spec.revision,
        description="PickScore: scaled cosine of text and picture by a CLIP tuned on people's picks.",
        input=MetricInput.TEXT_IMAGE,
        higher_is_better=True,
        minimum=-scale,
        maximum=scale,
        preprocessing=PREPROCESSING,
        license=model.license,
        embedding_model=embedder.spec.id,
        token_limit=embedder.token_limit,
        embedded=False,
    )
    return EmbeddingMetric(spec, embedder, compare(scale))


def compare(scale: float) -> Callable[[Vector, Vector], Value]:
    """Scaled cosine, with the chance to be picked before a picture that scores REFERENCE."""

    def value(text: Vector, picture: Vector) -> Value:
        raw = scale * cosine(text, picture).raw
        return Value(raw, win_probability(raw - REFERENCE))

    return value


def _unit_vectors(vectors: torch.Tensor) -> Any:
    return nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
