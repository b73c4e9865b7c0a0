"""A tokenizer and settings of a BLIP that is tiny and, unlike a fresh one, answers differently to different input."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import BlipTextConfig, BlipVisionConfig

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "car", "##s", ",")
SIDE_PIXELS = 32
VISION = BlipVisionConfig(
    hidden_size=24,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=3,
    image_size=SIDE_PIXELS,
    patch_size=8,
    layer_norm_eps=1e-6,
)
TEXT = BlipTextConfig(
    vocab_size=len(WORDS) + 2,
    hidden_size=16,
    encoder_hidden_size=24,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=64,
    pad_token_id=0,
    bos_token_id=2,
    sep_token_id=3,
)


def write_tokenizer(folder: Path) -> None:
    """vocab.txt in the layout of bert-base-uncased."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")


def shake(network: nn.Module) -> None:
    """Random weights of a size at which every part of the network changes the answer."""
    torch.manual_seed(0)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(0.3 * torch.randn(value.shape))
