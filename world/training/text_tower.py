"""The CLIP's text tower as a transformers ``CLIPTextModel``, with the same hidden states."""

from __future__ import annotations

import open_clip
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from world.training import tokenizer
from world.training.clip_io import EMBEDDING, TEXT_HEADS, TEXT_LAYERS, TEXT_WIDTH

_RENAMED = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def _converted(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """open_clip's weight names to those of transformers; the joint projection is cut in three."""
    result = {
        "embeddings.token_embedding.weight": state["token_embedding.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
        "final_layer_norm.weight": state["ln_final.weight"],
        "final_layer_norm.bias": state["ln_final.bias"],
    }
    for layer in range(TEXT_LAYERS):
        old, new = f"transformer.resblocks.{layer}.", f"encoder.layers.{layer}."
        for part in ("weight", "bias"):
            joint = state[f"{old}attn.in_proj_{part}"].chunk(3)
            for name, value in zip("qkv", joint, strict=True):
                result[f"{new}self_attn.{name}_proj.{part}"] = value
            for hf, oc in _RENAMED.items():
                result[f"{new}{hf}.{part}"] = state[f"{old}{oc}.{part}"]
    return result


def build(clip: open_clip.CLIP) -> CLIPTextModel:
    """The converted tower; raises unless it pools to the same vectors as the original."""
    encode = tokenizer.hf_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(encode),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=TEXT_HEADS,
        max_position_embeddings=tokenizer.CONTEXT,
        hidden_act="gelu",
        bos_token_id=encode.bos_token_id,
        eos_token_id=encode.eos_token_id,
        pad_token_id=encode.eos_token_id,
        projection_dim=EMBEDDING,
    )
    tower = CLIPTextModel(config).eval()
    inner = tower.text_model if hasattr(tower, "text_model") else tower
    missing, unexpected = inner.load_state_dict(_converted(clip.state_dict()), strict=False)
    if unexpected or any(not name.endswith("position_ids") for name in missing):
        raise ValueError(f"text towers differ: missing {missing}, unexpected {unexpected}")
    captions = ["a large red car left of a small cat on a meadow, pixel art, high quality", "a big sun, sea"]
    ids = encode(captions, padding="max_length", max_length=tokenizer.CONTEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        ours = tower(ids).pooler_output @ clip.text_projection
        if not torch.allclose(ours, clip.encode_text(ids), atol=1e-3):
            raise ValueError("the converted text tower gives other vectors")
    return tower
