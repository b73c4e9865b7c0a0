"""Stock pipelines of each family with random weights: the true classes, very small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.generator.tiny import CONTEXT, _tokenizer

STATES = 48
"""Channels of T5's states."""
LAST_BETA = 0.006
"""Less than real models have: random noise predictions divided by hardly any signal give latents of thousands."""


def sdxl(folder: Path, *, time_cond_proj_dim: int | None = None, **options: Any) -> StableDiffusionXLPipeline:
    """Factor-4 autoencoder that must not run in half precision; `options` go to the pipeline."""
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=16 + 24,
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 20,
        time_cond_proj_dim=time_cond_proj_dim,
    )
    tokenizer = _tokenizer(folder / "clip")
    with torch.no_grad():
        # Fresh weights hardly heed the prompt and the size; tests need ones that do.
        unet.add_embedding.linear_1.weight *= 8
    return _ready(
        StableDiffusionXLPipeline(
            vae=_autoencoder(4, force_upcast=True, scaling_factor=0.13),
            text_encoder=_clip(tokenizer, 16),
            text_encoder_2=_clip(tokenizer, 24, projection_dim=20),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=unet,
            scheduler=EulerDiscreteScheduler(beta_end=LAST_BETA, beta_schedule="scaled_linear", steps_offset=1),
            **options,
        )
    )


def sd3(folder: Path, *, has_t5: bool = True, use_dynamic_shifting: bool = False) -> StableDiffusion3Pipeline:
    """As 3.5: normalized queries and keys, one layer with two attentions."""
    torch.manual_seed(2)
    tokenizer = _tokenizer(folder / "clip")
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=STATES,
        caption_projection_dim=32,
        pooled_projection_dim=16 + 20,
        pos_embed_max_size=24,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    with torch.no_grad():
        transformer.proj_out.weight *= 4
        transformer.context_embedder.weight *= 8
    shifting = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15} if use_dynamic_shifting else {}
    return _ready(
        StableDiffusion3Pipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(**shifting or {"shift": 3.0}),
            vae=_autoencoder(4, scaling_factor=1.53, shift_factor=0.06),
            text_encoder=_clip(tokenizer, 16, projection_dim=16),
            tokenizer=tokenizer,
            text_encoder_2=_clip(tokenizer, 24, projection_dim=20),
            tokenizer_2=tokenizer,
            text_encoder_3=_t5() if has_t5 else None,
            tokenizer_3=_t5_tokenizer() if has_t5 else None,
        )
    )


def flux(folder: Path, *, is_dev: bool = True) -> FluxPipeline:
    """Dev, which is told the guidance scale and shifts its schedule by the size, or schnell, which does neither."""
    torch.manual_seed(3)
    tokenizer = _tokenizer(folder / "clip")
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=STATES,
        pooled_projection_dim=16,
        guidance_embeds=is_dev,
        axes_dims_rope=(4, 4, 8),
    )
    with torch.no_grad():
        transformer.proj_out.weight *= 4
        transformer.context_embedder.weight *= 8
    return _ready(
        FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0 if is_dev else 1.0, use_dynamic_shifting=is_dev),
            vae=_autoencoder(4, scaling_factor=0.36, shift_factor=0.12),
            text_encoder=_clip(tokenizer, 16),
            tokenizer=tokenizer,
            text_encoder_2=_t5(),
            tokenizer_2=_t5_tokenizer(),
            transformer=transformer,
        )
    )


def pixart(*, is_alpha: bool = False, predicts_variance: bool = True) -> PixArtSigmaPipeline | PixArtAlphaPipeline:
    """Sigma, or Alpha's large model, which is told the size."""
    torch.manual_seed(4)
    transformer = PixArtTransformer2DModel(
        sample_size=128 if is_alpha else 16,
        in_channels=4,
        out_channels=8 if predicts_variance else 4,
        num_layers=2,
        num_attention_heads=3,
        attention_head_dim=8,
        cross_attention_dim=24,
        caption_channels=STATES,
        use_additional_conditions=is_alpha,
    )
    with torch.no_grad():
        transformer.caption_projection.linear_1.weight *= 8
    return _ready(
        (PixArtAlphaPipeline if is_alpha else PixArtSigmaPipeline)(
            tokenizer=_t5_tokenizer(),
            text_encoder=_t5(),
            vae=_autoencoder(4, scaling_factor=0.18),
            transformer=transformer,
            scheduler=DPMSolverMultistepScheduler(beta_end=LAST_BETA),
        )
    )


def _ready(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _autoencoder(channels: int, **options: Any) -> AutoencoderKL:
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=channels,
        norm_num_groups=4,
        **options,
    )
    with torch.no_grad():
        vae.decoder.conv_out.weight *= 4
    return vae


def _clip(tokenizer: CLIPTokenizer, channels: int, projection_dim: int | None = None) -> Any:
    kind = CLIPTextModel if projection_dim is None else CLIPTextModelWithProjection
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=channels,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            projection_dim=projection_dim or channels,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).eval()


def _t5() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(_t5_tokenizer()),
            d_model=STATES,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    ).eval()


def _t5_tokenizer() -> T5Tokenizer:
    """One token a letter, as the CLIP one."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    return T5Tokenizer(vocab=[*marks, *((letter, -2.0) for letter in letters)], extra_ids=0, model_max_length=512)
