"""The generator as a diffusers StableDiffusionPipeline folder: building, exporting, drawing with it."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel

from world.imaging import SIZE
from world.training import tokenizer
from world.training.builds import EMBEDDED, Build
from world.training.clip_io import TEXT_WIDTH
from world.training.common import MODELS, replaced_folder

STEPS, GUIDANCE = 10, 2.5
_KEPT = ("README.md", "contact_sheet.png")


def build_unet(latent_channels: int, build: Build = EMBEDDED) -> UNet2DConditionModel:
    """An untrained denoiser of latents [B, C, 16, 16]; text is attended to at 8 x 8 places and fewer."""
    attentive = len(build.channels) - 1
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=build.channels,
        layers_per_block=build.layers,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * attentive),
        up_block_types=(*["CrossAttnUpBlock2D"] * attentive, "UpBlock2D"),
    )


def build_scheduler() -> DDIMScheduler:
    """Cosine noise with zero terminal signal, velocity prediction."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,  # unused with trailing steps, but diffusers warns about 0
    )


def shipped_unet(build: Build = EMBEDDED) -> tuple[dict[str, torch.Tensor], int]:
    """Weights (float32) of the denoiser in ``models/`` and the number of samples it was trained on."""
    folder = MODELS / build.folder
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32)
    settings = json.loads((folder / "likeness.json").read_text())
    return unet.state_dict(), int(settings["trained_samples"])


def shipped_vae() -> AutoencoderTiny:
    """The autoencoder in ``models/``, in float32."""
    return AutoencoderTiny.from_pretrained(MODELS / EMBEDDED.folder / "vae", dtype=torch.float32)


def export(
    unet: UNet2DConditionModel, vae: AutoencoderTiny, text: CLIPTextModel, samples: int, build: Build = EMBEDDED
) -> None:
    """Write the build's folder in ``models/`` in half precision; card and contact sheet stay."""
    pipeline = StableDiffusionPipeline(
        vae=copy.deepcopy(vae).cpu().half(),
        text_encoder=copy.deepcopy(text).cpu().half(),
        tokenizer=tokenizer.hf_tokenizer(),
        unet=copy.deepcopy(unet).to("cpu", memory_format=torch.contiguous_format).half(),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    target = MODELS / build.folder
    with replaced_folder(target) as folder:
        pipeline.save_pretrained(folder)
        for path in folder.glob("*/config.json"):
            _drop_settings(path)
        settings = {
            "default_steps": STEPS,
            "default_guidance_scale": GUIDANCE,
            "width": SIZE,
            "height": SIZE,
            "context_tokens": tokenizer.CONTEXT,
            "trained_samples": samples,
        }
        (folder / "likeness.json").write_text(json.dumps(settings, indent=1) + "\n")
        for name in _KEPT:
            if (target / name).is_file():
                shutil.copyfile(target / name, folder / name)


def _drop_settings(path: Path) -> None:
    """Remove what must not be shipped from a saved configuration.

    That is the folder that a part was read from, and the autoencoder's ``block_out_channels``, which
    AutoencoderTiny derives and warns about when it reads it.
    """
    config = json.loads(path.read_text())
    config.pop("_name_or_path", None)
    if config.get("_class_name") == "AutoencoderTiny":
        config.pop("block_out_channels", None)
    path.write_text(json.dumps(config, indent=2) + "\n")


def load(folder: Path | None = None) -> StableDiffusionPipeline:
    """The shipped pipeline in float32."""
    pipeline = DiffusionPipeline.from_pretrained((folder or MODELS / EMBEDDED.folder).resolve(), dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(
    pipeline: StableDiffusionPipeline,
    captions: list[str],
    seed: int,
    batch: int = 50,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
) -> torch.Tensor:
    """Pictures float32 [N, 3, 128, 128] in 0..1; every picture has its own seed, ``seed`` plus its index."""
    parts = []
    for start in range(0, len(captions), batch):
        part = captions[start : start + batch]
        generators = [torch.Generator().manual_seed(seed + start + offset) for offset in range(len(part))]
        images = pipeline(
            part,
            num_inference_steps=steps,
            guidance_scale=guidance,
            height=SIZE,
            width=SIZE,
            output_type="np",
            generator=generators,
        ).images
        parts.append(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    return torch.cat(parts)
