"""Stable Diffusion 1.5 and XL in their true architectures with random weights, for speed alone: no hub is needed.

Built from the configurations they were published with; the number of parameters is checked against the published one.
Random weights take as long as trained ones. The tokenizer is the embedded generator's, told to give 77 tokens: how long
a text encoder takes does not depend on which tokens it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from services.common.profile import GeneratorModel, models_dir
from services.common.settings import Settings
from services.generator.pipelines import LoadedModel, ReadModel, place

CONTEXT = 77
_FRESH_OUTPUT = 3.0
"""A fresh last layer's outputs have a third of the deviation that noise has: pictures would be those of the noise."""


@dataclass(frozen=True)
class Architecture:
    """A pipeline's parts, and what is asked of it."""

    id: str
    pipeline: str
    """Class of diffusers."""
    unet: Mapping[str, Any]
    autoencoder: Mapping[str, Any]
    text_encoders: tuple[Mapping[str, Any], ...]
    scheduler: str
    scheduler_config: Mapping[str, Any]
    pixels: int
    steps: int
    guidance_scale: float
    max_batch: int
    parameters: Mapping[str, int] = field(default_factory=dict)
    """Published, by part; of those named here the number is checked."""


_SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
_AUTOENCODER: Mapping[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
}
_VIT_L: Mapping[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "vocab_size": 49408,
}
_BIG_G: Mapping[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
    "vocab_size": 49408,
}
SD15 = Architecture(
    id="sd15",
    pipeline="StableDiffusionPipeline",
    unet={"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    autoencoder={**_AUTOENCODER, "sample_size": 512, "scaling_factor": 0.18215},
    text_encoders=(_VIT_L,),
    scheduler="DDIMScheduler",
    scheduler_config={**_SCHEDULE, "clip_sample": False, "set_alpha_to_one": False},
    pixels=512,
    steps=50,
    guidance_scale=7.5,
    max_batch=16,
    parameters={"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
)
SDXL = Architecture(
    id="sdxl",
    pipeline="StableDiffusionXLPipeline",
    unet={
        "sample_size": 128,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    autoencoder={**_AUTOENCODER, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
    text_encoders=(_VIT_L, _BIG_G),
    scheduler="EulerDiscreteScheduler",
    scheduler_config=_SCHEDULE,
    pixels=1024,
    steps=30,
    guidance_scale=5.0,
    max_batch=8,
    parameters={
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    },
)
ARCHITECTURES = {one.id: one for one in (SD15, SDXL)}


def tiny(one: Architecture) -> Architecture:
    """The same classes and kinds of layers, so small that a CPU shows in seconds that a script works."""
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text |= {"projection_dim": 32}
    small: dict[str, Any] = {"sample_size": 8, "norm_num_groups": 8, "layers_per_block": 1}
    small |= {"cross_attention_dim": 32 * len(one.text_encoders)}
    if one is SDXL:
        small |= {"block_out_channels": (16, 32, 32), "attention_head_dim": (2, 4, 4), "addition_time_embed_dim": 8}
        small |= {"transformer_layers_per_block": (1, 1, 2), "projection_class_embeddings_input_dim": 32 + 6 * 8}
    else:
        small |= {"block_out_channels": (16, 32, 32, 32), "attention_head_dim": 4}
    return replace(
        one,
        id=f"{one.id}-tiny",
        unet={**one.unet, **small},
        autoencoder={**one.autoencoder, "block_out_channels": (8, 16, 16, 16), "norm_num_groups": 8},
        text_encoders=tuple({**encoder, **text} for encoder in one.text_encoders),
        pixels=64,
        steps=10,
        max_batch=4,
        parameters={},
    )


def build(one: Architecture, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """A model ready for the engine; the same weights for the same device and build.

    Raises:
        RuntimeError: a part has not the published number of parameters.
    """
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(
        models_dir(Settings()) / "generator-embedded" / "tokenizer", model_max_length=CONTEXT
    )
    with device:
        parts: dict[str, Any] = {"unet": UNet2DConditionModel(**one.unet), "vae": AutoencoderKL(**one.autoencoder)}
        for number, given in enumerate(one.text_encoders, 1):
            config = CLIPTextConfig(
                **given,
                max_position_embeddings=CONTEXT,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
            kind = CLIPTextModel if number == 1 else CLIPTextModelWithProjection
            parts["text_encoder" if number == 1 else f"text_encoder_{number}"] = kind(config)
    parts["unet"].conv_out.weight.data.mul_(_FRESH_OUTPUT)
    for name, part in parts.items():
        count = sum(parameter.numel() for parameter in part.parameters())
        if count != one.parameters.get(name, count):
            raise RuntimeError(f"{one.id}: {name} has {count} parameters and not {one.parameters[name]}")
        part.eval().requires_grad_(False).to(dtype)
    return _loaded(one, _pipeline(one, parts, tokenizer), device)


def _pipeline(one: Architecture, parts: Mapping[str, Any], tokenizer: Any) -> Any:
    scheduler = getattr(diffusers, one.scheduler)(**one.scheduler_config)
    kind = getattr(diffusers, one.pipeline)
    if "text_encoder_2" in parts:
        pipeline = kind(**parts, tokenizer=tokenizer, tokenizer_2=tokenizer, scheduler=scheduler, add_watermarker=False)
    else:
        pipeline = kind(
            **parts,
            tokenizer=tokenizer,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _loaded(one: Architecture, pipeline: Any, device: torch.device) -> LoadedModel:
    model = GeneratorModel(
        id=one.id,
        source=one.id,
        default_steps=one.steps,
        max_steps=4 * one.steps,
        default_guidance_scale=one.guidance_scale,
        width_pixels=one.pixels,
        height_pixels=one.pixels,
        max_side_pixels=one.pixels,
        max_batch=one.max_batch,
    )
    return place(ReadModel(model, pipeline, "random"), device)
