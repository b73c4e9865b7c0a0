"""The text-conditional latent diffusion model: a small UNet with velocity prediction on the autoencoder's latents.

The text tower is the embedded CLIP's, frozen: its last hidden states already hold every attribute in the end
mark, and each word's binding in the words themselves.
"""

from __future__ import annotations

import argparse
import copy
import time
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch.nn import functional
from transformers import CLIPTextModel

from world.training import alignment, autoencoder, data, text_tower, tokenizer
from world.training.builds import BUILDS, EMBEDDED, Build
from world.training.clip import caption_ids, pick_captions
from world.training.clip_io import FOLDER as CLIP_FOLDER
from world.training.clip_io import load_clip
from world.training.common import (
    MODELS,
    WORK,
    Checkpoint,
    Progress,
    Report,
    StopRequest,
    batches,
    device,
    half_precision,
    learning_rate,
)
from world.training.generator_io import build_scheduler, build_unet, export, shipped_unet, shipped_vae

PEAK = 1e-3
PICTURES = 120_000
"""Drawings whose latents are kept."""
CANONICAL_SHARE, EMPTY_SHARE = 0.5, 0.1
HIGH_NOISE_BIAS = 0.8
"""Exponent of uniform times; under 1 prefers noisy ones, where objects are decided."""
HOLD = 0.4
EXPORT_SECONDS = 480


@torch.no_grad()
def latents(vae: AutoencoderTiny, drawings: data.Drawings, count: int, on: torch.device) -> torch.Tensor:
    """Scaled latents float16 [N, C, 16, 16] of the first drawings, kept on disk."""
    path = WORK / "latents.npy"
    if path.is_file():
        return torch.from_numpy(np.load(path))
    vae = copy.deepcopy(vae).to(on)
    parts = []
    for start in range(0, count, 200):
        pictures = drawings.batch(torch.arange(start, min(start + 200, count))).to(on)
        with half_precision(on):
            encoded = vae.encode(pictures * 2 - 1, return_dict=False)[0]
        parts.append((encoded.float() * vae.config.scaling_factor).half().cpu())
    result = torch.cat(parts)
    np.save(path, result.numpy())
    return result


def _kept_caption_ids(drawings: data.Drawings, count: int) -> torch.Tensor:
    """Token ids of all captions, kept on disk: a resumed training starts at once."""
    path = WORK / "caption_ids.npy"
    if not path.is_file():
        np.save(path, caption_ids(drawings, count).numpy())
    return torch.from_numpy(np.load(path))


class Average:
    """Exponential moving average of a network's weights."""

    def __init__(self, network: UNet2DConditionModel, decay: float = 0.998) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, source: UNet2DConditionModel, step: int) -> None:
        """Move towards the source, faster in the first steps."""
        decay = min(self._decay, (1 + step) / (20 + step))
        own, new = list(self.network.parameters()), [p.detach() for p in source.parameters()]
        torch._foreach_lerp_(own, new, 1 - decay)


class Denoising:
    """One training example after the other: times, noise, and the velocity that is to be found."""

    def __init__(self, text: CLIPTextModel, on: torch.device) -> None:
        self._signal = build_scheduler().alphas_cumprod.to(on)
        self._text = text.to(on)
        empty = tokenizer.hf_tokenizer()("", padding="max_length", max_length=tokenizer.CONTEXT)
        self._empty = torch.tensor(empty["input_ids"])
        self._on = on

    def loss(self, unet: UNet2DConditionModel, clean: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the velocity for latents [B, C, 16, 16] and captions [B, 32]."""
        count = len(clean)
        ids[torch.rand(count) < EMPTY_SHARE] = self._empty
        with torch.no_grad():
            words = self._text(ids.to(self._on)).last_hidden_state
        # One time per stratum: less noise in the gradient than independent times.
        uniform = (torch.arange(count) + torch.rand(count)) / count
        times = (uniform.pow(HIGH_NOISE_BIAS) * 1000).long().clamp(max=999).to(self._on)
        clean = clean.to(self._on)
        noise = torch.randn_like(clean)
        signal = self._signal[times].view(-1, 1, 1, 1)
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
        velocity = signal.sqrt() * noise - (1 - signal).sqrt() * clean
        with half_precision(self._on):
            found = unet(noisy, times, words).sample
        return functional.mse_loss(found.float(), velocity)


def train(
    steps: int | None = None, minutes: float | None = None, shipped: bool = False, build: Build = EMBEDDED
) -> None:
    """Train a build until ``steps``; with ``minutes`` the steps are planned from the speed of the first minute.

    Resumes from the last checkpoint, with its plan unless ``steps`` is given anew. Without a checkpoint, ``shipped``
    starts from the weights in ``models/`` (on a machine that does not have the checkpoint they came from).
    """
    on = device()
    torch.manual_seed(build.seed)
    drawings = data.load("train")
    if shipped:
        tokenizer.take_shipped(MODELS / CLIP_FOLDER)
    vae = shipped_vae() if shipped else autoencoder.load()
    clip = load_clip()[0]
    text = text_tower.build(clip).requires_grad_(False)
    count = min(PICTURES, len(drawings))
    unet = build_unet(vae.config.latent_channels, build).to(on)
    average = Average(unet)
    if on.type == "cpu":
        # Plain attention: the backward pass of PyTorch's fused one takes a quarter of a step on few, short tokens.
        # Channels last is slower too here; together 78 instead of 51 samples a second on one core.
        unet.set_attn_processor(AttnProcessor())
    checkpoint, step, origin, before = Checkpoint(build.name), 0, 0, 0.0
    if not checkpoint.path.is_file() and shipped:
        weights, samples = shipped_unet(build)
        unet.load_state_dict(weights)
        average.network.load_state_dict(weights)
        step = origin = samples // build.batch
    elif not checkpoint.path.is_file():
        export(average.network, vae, text, 0, build)  # untrained, so that loaders can be tried at once
    clean = latents(vae, drawings, count, on)
    ids = _kept_caption_ids(drawings, count)
    maps = alignment.targets(clip, drawings, count, on)
    aligned = alignment.Alignment(unet, maps.shape[1]).to(on)
    parameters = [*unet.parameters(), *aligned.parameters()]
    optimizer = torch.optim.AdamW(parameters, PEAK, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    plan = steps or build.steps
    if state := checkpoint.load():
        unet.load_state_dict(state["unet"])
        aligned.load_state_dict(state["aligned"])
        average.network.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, origin, before = state["step"], state["origin"], state["seconds"]
        plan, minutes = steps or state["plan"], None
        torch.manual_seed(build.seed + step)
    examples, stop = Denoising(text, on), StopRequest()
    progress, started = Progress(build.name, plan, build.batch), time.monotonic()
    exported, first = started, step

    def state_now() -> dict[str, Any]:
        return {
            "unet": unet.state_dict(),
            "aligned": aligned.state_dict(),
            "average": average.network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "origin": origin,
            "plan": plan,
            "seconds": before + time.monotonic() - started,
        }

    for index in batches(count, build.batch, step, build.seed):
        if step >= plan:
            break
        if stop:
            checkpoint.save(state_now())
            print(f"[{build.name}] stopped at step {step}, resume with the same command", flush=True)
            raise SystemExit(1)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(PEAK, step, plan, 200, HOLD)
        loss = examples.loss(unet, clean[index].float(), pick_captions(ids, index, CANONICAL_SHARE))
        apart = aligned.loss(torch.from_numpy(maps[index.numpy()]).float().to(on))
        (loss + alignment.WEIGHT * apart).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        average.update(unet, step)
        progress.tick(step, loss=loss.item(), apart=apart.item())
        elapsed = time.monotonic() - started
        if minutes and elapsed > 60:
            progress.steps = plan = int((step - first) / elapsed * minutes * 60)
            minutes = None
            print(f"[{build.name}] planned {plan} steps", flush=True)
        if checkpoint.due():
            checkpoint.save(state_now())
        if time.monotonic() - exported > EXPORT_SECONDS:
            export(average.network, vae, text, step * build.batch, build)
            exported = time.monotonic()
    export(average.network, vae, text, step * build.batch, build)
    checkpoint.save(state_now())
    seconds = before + time.monotonic() - started
    metrics = {"samples": step * build.batch}
    Report(build.name, step - origin, build.batch, seconds, build.seed, metrics, origin > 0).save()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument(
        "--shipped", action="store_true", help="without a checkpoint, start from the weights in models/"
    )
    parser.add_argument(
        "--build", choices=BUILDS, default=EMBEDDED.name, help="which generator; the shipped one by default"
    )
    arguments = parser.parse_args()
    train(arguments.steps, arguments.minutes, arguments.shipped, BUILDS[arguments.build])
