"""A StableDiffusionPipeline folder with random weights: the true classes of the embedded generator, very small."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from services.common.profile import GeneratorModel
from services.generator.domain import EngineItem, ItemRequest
from services.generator.pipelines import LoadedModel
from services.generator.validation import resolve

CONTEXT = 32
START, END = "<|startoftext|>", "<|endoftext|>"
TINY = GeneratorModel(
    id="tiny",
    source="tiny",
    embedded=True,
    license="Apache-2.0",
    default_steps=4,
    max_steps=200,
    default_guidance_scale=3.0,
    width_pixels=32,
    height_pixels=32,
    size_multiple_pixels=16,
    max_side_pixels=128,
    max_batch=4,
)


def work(model: LoadedModel, *items: ItemRequest) -> list[EngineItem]:
    """Checked items of the model, as the service hands them to an engine."""
    return resolve(items, model.card, model.prompts.is_truncated)


def save_tiny_pipeline(folder: Path, *, latent_channels: int = 8) -> None:
    """Writes a float16 pipeline folder: factor-4 autoencoder, velocity prediction with zero terminal signal."""
    torch.manual_seed(1)
    tokenizer = _tokenizer(folder / "tokenizer-source")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    vae = AutoencoderTiny(
        latent_channels=latent_channels,
        encoder_block_out_channels=(16, 16, 16),
        decoder_block_out_channels=(16, 16, 16),
        num_encoder_blocks=(0, 1, 1),
        num_decoder_blocks=(1, 1, 0),
        upsampling_scaling_factor=2,
        scaling_factor=1.0,
        force_upcast=False,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )
    with torch.no_grad():
        # Fresh weights give flat grey pictures that hardly heed the prompt; tests need ones that differ.
        unet.conv_out.weight *= 4
        vae.decoder.layers[-1].weight *= 10
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=CLIPTextModel(text).half(),
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=DDIMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
            steps_offset=1,
            clip_sample=False,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """One token a letter, so that prompts are short to write and easy to count."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    tokens = [*letters, *(letter + "</w>" for letter in letters), START, END]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=CONTEXT, unk_token=END, pad_token=END
    )
