"""The autoencoder: 128 x 128 pictures to 12 x 16 x 16 latents and back (diffusers AutoencoderTiny, factor 8)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from torch.nn import functional

from world.training import data, judge
from world.training.common import (
    SEED,
    WORK,
    Checkpoint,
    Progress,
    Report,
    batches,
    device,
    half_precision,
    learning_rate,
    replaced_folder,
)
from world.training.scores import summary

STEPS, BATCH, PEAK = 2400, 16, 2e-3
WIDTH, LATENT_CHANNELS = 64, 12
LATENT_NOISE = 0.08
"""Noise on latents in training, so that the decoder forgives small errors of the denoiser."""


def build() -> AutoencoderTiny:
    """An untrained autoencoder; AutoencoderTiny wants equal widths on every level."""
    return AutoencoderTiny(
        latent_channels=LATENT_CHANNELS,
        encoder_block_out_channels=(WIDTH,) * 4,
        decoder_block_out_channels=(WIDTH,) * 4,
        num_encoder_blocks=(0, 1, 1, 2),
        num_decoder_blocks=(3, 1, 1, 0),
        upsampling_scaling_factor=2,
        scaling_factor=1.0,
        force_upcast=False,
    )


def folder() -> Path:
    """The trained autoencoder in the scratch folder."""
    return WORK / "vae"


def load() -> AutoencoderTiny:
    """The trained autoencoder, ready to use."""
    return AutoencoderTiny.from_pretrained(folder()).eval()


def _steps_of(picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return picture[..., 1:] - picture[..., :-1], picture[:, :, 1:] - picture[:, :, :-1]


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared and absolute error plus the error of pixel-to-pixel steps, which keeps outlines sharp."""
    slopes = sum(functional.mse_loss(a, b) for a, b in zip(_steps_of(output), _steps_of(target), strict=True))
    return functional.mse_loss(output, target) + 0.1 * functional.l1_loss(output, target) + 0.5 * slopes


def latent_penalty(latents: torch.Tensor) -> torch.Tensor:
    """Distance of every channel from mean 0 and deviation 1, what the denoiser expects."""
    return latents.mean((0, 2, 3)).pow(2).mean() + (latents.std((0, 2, 3)) - 1).pow(2).mean()


@torch.no_grad()
def reconstruct(model: AutoencoderTiny, pictures: torch.Tensor, batch: int = 100) -> torch.Tensor:
    """Pictures [N, 3, 128, 128] in 0..1 through encoder and decoder."""
    parts = []
    for part in pictures.split(batch):
        latents = model.encode(part * 2 - 1, return_dict=False)[0]
        parts.append((model.decode(latents, return_dict=False)[0].clamp(-1, 1) + 1) / 2)
    return torch.cat(parts)


def decibels(output: torch.Tensor, target: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in 0..1."""
    return round(-10 * torch.log10(functional.mse_loss(output, target)).item(), 2)


def train(steps: int = STEPS) -> AutoencoderTiny:
    """Train on the seen drawings; resumes."""
    on = device()
    torch.manual_seed(SEED)
    drawings = data.load("train")
    model = build().to(on, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), PEAK, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    checkpoint, step = Checkpoint("autoencoder"), 0
    if state := checkpoint.load():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    progress, started = Progress("autoencoder", steps, BATCH), time.monotonic()
    for index in batches(len(drawings), BATCH, step, SEED):
        if step >= steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(PEAK, step, steps)
        pictures = drawings.batch(index).to(on, memory_format=torch.channels_last) * 2 - 1
        with half_precision(on):
            latents = model.encode(pictures, return_dict=False)[0].float()
            noisy = latents + LATENT_NOISE * torch.randn_like(latents)
            output = model.decode(noisy, return_dict=False)[0]
        error = reconstruction_loss(output.float(), pictures)
        loss = error + 0.05 * latent_penalty(latents)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        progress.tick(step, error=error.item())
        if checkpoint.due():
            checkpoint.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step})
    model = model.cpu().eval()
    sample = data.load("seen").batch(torch.arange(500))
    with torch.no_grad():
        latents = model.encode(sample * 2 - 1, return_dict=False)[0]
    model.register_to_config(scaling_factor=1.0 / latents.std().item())
    with replaced_folder(folder()) as target:
        model.save_pretrained(target)
    metrics: dict[str, Any] = {"psnr_db": decibels(reconstruct(model, sample), sample)}
    critic = judge.load()
    for split in ("seen", "held_out"):  # the gate: what the autoencoder loses, no denoiser can draw
        part, index = data.load(split), torch.arange(1000)
        found = judge.predict(critic, reconstruct(model, part.batch(index)))
        metrics[split] = summary(found, part.attribute_batch(index))
    print(f"[autoencoder] {metrics}", flush=True)
    checkpoint.done()
    Report("autoencoder", steps, BATCH, time.monotonic() - started, SEED, metrics).save()
    return model


if __name__ == "__main__":
    train()
