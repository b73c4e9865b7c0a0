"""image-reward: how much people would like the picture as an answer to the text.

A text is read by BLIP-large's text model in the light of the picture, and a linear head turns the state of [CLS] into a
reward r; raw value = (r - 0.16717362830052426) / 1.0333394966054072, mean 0 and deviation 1 over the authors' data,
without bounds. The model was trained on pairs with the chance sigmoid(r1 - r2) to be preferred; normalized is that
chance against a picture of raw value 0: sigmoid(1.0333... raw). Rewards of different texts are not comparable.

Pictures: shorter side to 224 by Pillow's bicubic filter, center crop, CLIP's mean and deviation. A text over 35 tokens
is cut, and the answer says so. Layout: ImageReward.pt of THUDM/ImageReward, with the tokenizer of bert-base-uncased.
Source: Xu et al. 2023, "ImageReward: Learning and Evaluating Human Preferences for Text-to-Image Generation";
image-reward 1.5 (ImageReward.py, models/BLIP/*.py, med_config.json), Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torchvision import transforms
from transformers import BertTokenizer, BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics import checkpoints
from services.scorer.metrics.base import MetricInput, MetricSpec, Value
from services.scorer.metrics.blip import TOKEN_LIMIT, BlipReader
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.metrics.preference import linear_head, win_probability
from services.scorer.metrics.text_pair import TextPairMetric, TextScores
from services.scorer.pictures import Picture

SOURCE = "THUDM/ImageReward"
FILE = "ImageReward.pt"
TOKENIZER = "google-bert/bert-base-uncased"
PREPROCESSING = "image-reward-1"
MEAN, DEVIATION = 0.16717362830052426, 1.0333394966054072
PIXEL_MEAN, PIXEL_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

VISION = BlipVisionConfig(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=224,
    patch_size=16,
    # The authors' ViT; transformers' default is 1e-5.
    layer_norm_eps=1e-6,
)
TEXT = BlipTextConfig(
    vocab_size=30524,
    hidden_size=768,
    encoder_hidden_size=1024,
    intermediate_size=3072,
    num_hidden_layers=12,
    # med_config.json; transformers' default is 8.
    num_attention_heads=12,
    max_position_embeddings=512,
    layer_norm_eps=1e-12,
)

UNUSED = frozenset(
    {f"blip.{side}_proj.{kind}" for side in ("vision", "text") for kind in ("weight", "bias")}
    | {"blip.text_encoder.embeddings.position_ids"}
)
"""Names in the official file that no reward depends on: BLIP's contrastive projections, and the index 0, 1, 2 ..."""

_PREFIXES = {
    "vision.embeddings.class_embedding": "blip.visual_encoder.cls_token",
    "vision.embeddings.position_embedding": "blip.visual_encoder.pos_embed",
    "vision.embeddings.patch_embedding.": "blip.visual_encoder.patch_embed.proj.",
    "vision.encoder.layers.": "blip.visual_encoder.blocks.",
    "vision.post_layernorm.": "blip.visual_encoder.norm.",
    "text.": "blip.text_encoder.",
    "head.": "mlp.layers.",
}
_BLOCK_PARTS = {
    ".layer_norm1.": ".norm1.",
    ".self_attn.qkv.": ".attn.qkv.",
    ".self_attn.projection.": ".attn.proj.",
    ".layer_norm2.": ".norm2.",
}


class RewardNetwork(nn.Module):
    """BLIP by transformers' classes, and the head; only a place for the weights, computed by ImageReward."""

    def __init__(self, vision: BlipVisionConfig, text: BlipTextConfig) -> None:
        super().__init__()
        self.vision = BlipVisionModel(vision)
        self.text = BlipTextModel(text, add_pooling_layer=False)
        self.head = linear_head(text.hidden_size)


class ImageReward(TextPairMetric):
    """Reward of text and picture."""

    def __init__(self, spec: MetricSpec, reader: BlipReader, head: nn.Module) -> None:
        """Takes the linear head, on the reader's device."""
        super().__init__(spec)
        self._reader = reader
        self._head = head.float().eval().requires_grad_(False)

    def score(self, text: str, candidates: Sequence[Picture]) -> TextScores:
        """Standardized rewards, without bounds."""
        reading = self._reader.read(text, candidates)
        with torch.inference_mode():
            rewards = (self._head(reading.states)[:, 0] - MEAN) / DEVIATION
        values = tuple(Value(reward, win_probability(DEVIATION * reward)) for reward in rewards.tolist())
        return TextScores(values, reading.truncated)


def official_name(name: str) -> str:
    """Name in the official file of a tensor of RewardNetwork."""
    for ours, theirs in _PREFIXES.items():
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
            break
    if name.startswith("blip.visual_encoder.blocks."):
        for ours, theirs in _BLOCK_PARTS.items():
            name = name.replace(ours, theirs)
    return name


def preprocess(side_pixels: int) -> transforms.Compose:
    """The official package's transform."""
    return transforms.Compose(
        [
            transforms.Resize(side_pixels, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(side_pixels),
            transforms.ToTensor(),
            transforms.Normalize(PIXEL_MEAN, PIXEL_DEVIATION),
        ]
    )


def build(
    settings: Settings, model: ModelSource, vision: BlipVisionConfig = VISION, text: BlipTextConfig = TEXT
) -> ImageReward:
    """Loads the metric: ImageReward.pt by path, in a folder or from the hub.

    Raises:
        UnavailableError: checkpoint or tokenizer are not there or do not fit; says which.
    """
    device = compute.device_of(settings)
    dtype = compute.dtype_on(device, model.dtype)
    path = checkpoints.find(model, FILE)
    network = RewardNetwork(vision, text)
    state = checkpoints.read(model, path)
    checkpoints.load_strictly(model, network, state, published=official_name, unused=UNUSED)
    spec = MetricSpec(
        id=model.id,
        revision=checkpoints.revision(network, dtype),
        description="ImageReward: how much people would like the picture as an answer to the text.",
        input=MetricInput.TEXT_IMAGE,
        higher_is_better=True,
        minimum=None,
        maximum=None,
        preprocessing=PREPROCESSING,
        license=model.license,
        token_limit=TOKEN_LIMIT,
        embedded=False,
    )
    transform = preprocess(cast(int, vision.image_size))
    tokenizer = checkpoints.load_processor(model, BertTokenizer, "vocab.txt of bert-base-uncased", TOKENIZER)
    # BLIP's two marks take the last of the 30,524 places.
    tokenizer.add_tokens(["[DEC]", "[ENC]"], special_tokens=True)
    checkpoints.check_vocabulary(model, tokenizer, text.vocab_size)
    reader = BlipReader(network.vision, network.text, tokenizer, transform, device, dtype)
    return ImageReward(spec, reader, network.head.to(device))
