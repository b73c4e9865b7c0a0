"""The embedded preference model: a small head on the frozen CLIP, trained on drawings and a rule of preference.

For a caption of a scene, drawings of the scene itself and of variations of it are compared. A drawing's worth is the
number of the scene's attributes that it shows, and one more where its quality is high; of two, one is preferred with
the chance sigmoid(difference of their worths). High quality is worth that whatever the caption says of quality.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from services.common.profile import weights_digest
from services.scorer.metrics.reward_embedded import CONFIG, WEIGHTS, RewardNetwork
from world.captions import canonical, natural
from world.draw import render_one
from world.scene import Scene, Split, is_held_out, sample_scene
from world.training.clip_io import EMBEDDING, embed_pictures, load_clip
from world.training.clip_io import FOLDER as CLIP_FOLDER
from world.training.common import MODELS, SEED, Progress, Report, learning_rate, replaced_folder
from world.variations import ATTRIBUTES, differences, varied

STEPS, BATCH, PEAK = 3000, 256, 2e-3
FOLDER = "reward-embedded"
CHANGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)
"""Chance that an attribute is not the caption's, one drawing each."""
CAPTIONS_AT_ONCE = 50
SPLITS: dict[str, tuple[int, Split, int]] = {
    "train": (12_000, "train", 5),
    "seen": (500, "train", 6),
    "held_out": (500, "held_out", 7),
}
"""Name -> (captions, kind of scenes, seed)."""


@dataclass(frozen=True)
class Comparisons:
    """Embedded captions with their drawings; D = 128, P drawings a caption."""

    texts: torch.Tensor
    """[N, 2, D], the canonical and a natural caption."""
    pictures: torch.Tensor
    """[N, P, D]"""
    worths: torch.Tensor
    """[N, P]"""
    matches: torch.Tensor
    """[N, P], the worth without quality."""


def prepare(split: str) -> Comparisons:
    """Draws and embeds a split."""
    count, kind, seed = SPLITS[split]
    clip, _, tokenize = load_clip()
    rng = random.Random(seed)
    parts = [_embedded(clip, tokenize, rng, kind) for _ in range(count // CAPTIONS_AT_ONCE)]
    return Comparisons(*(torch.cat(part) for part in zip(*parts, strict=True)))


@torch.no_grad()
def _embedded(clip: Any, tokenize: Any, rng: random.Random, kind: Split) -> tuple[torch.Tensor, ...]:
    """The fields of Comparisons for CAPTIONS_AT_ONCE captions."""
    captions, images, worths, matches = [], [], [], []
    for _ in range(CAPTIONS_AT_ONCE):
        scene = sample_scene(rng, kind)
        drawn = [_variation(scene, rng, change, kind) for change in CHANGES]
        captions += [canonical(scene), natural(scene, rng)]
        images += [torch.from_numpy(render_one(one, rng.getrandbits(24))) for one in drawn]
        matches.append([len(ATTRIBUTES) - sum(differences(scene, one)) for one in drawn])
        worths.append([match + (one.quality == "high") for match, one in zip(matches[-1], drawn, strict=True)])
    pictures = embed_pictures(clip, torch.stack(images).permute(0, 3, 1, 2).float() / 255)
    texts = clip.encode_text(tokenize(captions), normalize=True)
    shape = (CAPTIONS_AT_ONCE, -1, EMBEDDING)
    return texts.view(shape), pictures.view(shape), torch.tensor(worths), torch.tensor(matches)


def _variation(scene: Scene, rng: random.Random, change: float, kind: Split) -> Scene:
    while True:
        found = replace(varied(scene, rng, change), quality=rng.choice(("high", "low")))
        if kind == "held_out" or not is_held_out(found):
            return found


def train() -> RewardNetwork:
    """Train on seen combinations; five minutes on one core, most of them drawing and embedding."""
    torch.manual_seed(SEED)
    started = time.monotonic()
    comparisons = prepare("train")
    count, drawings = comparisons.worths.shape
    network = RewardNetwork(EMBEDDING)
    optimizer = torch.optim.AdamW(network.parameters(), PEAK, weight_decay=0.05)
    above, below = torch.triu_indices(drawings, drawings, 1)
    progress = Progress("reward", STEPS, BATCH)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(PEAK, step, STEPS)
        index = torch.randint(count, (BATCH,))
        texts = comparisons.texts[index, torch.randint(2, (BATCH,))]
        scores = _scores(network, texts, comparisons.pictures[index])
        worths = comparisons.worths[index]
        lead, true_lead = (values[:, above] - values[:, below] for values in (scores, worths))
        loss = functional.binary_cross_entropy_with_logits(lead, true_lead.sigmoid())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        progress.tick(step + 1, loss=loss.item())
    _center(network, comparisons)
    export(network)
    metrics = {split: evaluate(split, network) for split in ("seen", "held_out")}
    print(f"[reward] {metrics}", flush=True)
    Report("reward", STEPS, BATCH, time.monotonic() - started, SEED, metrics).save()
    return network


def _scores(network: RewardNetwork, texts: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """Scores [B, P] of texts [B, D] and pictures [B, P, D]."""
    spread = texts[:, None].expand_as(pictures)
    return network(spread.flatten(0, 1), pictures.flatten(0, 1)).view(pictures.shape[:2])


@torch.no_grad()
def _center(network: RewardNetwork, comparisons: Comparisons) -> None:
    """Pairs leave the scores' origin open: the mean drawing of the training gets 0."""
    mean = torch.stack([_scores(network, texts, comparisons.pictures) for texts in comparisons.texts.unbind(1)]).mean()
    network.layers[-1].bias -= mean


@torch.no_grad()
def evaluate(split: str, network: RewardNetwork) -> dict[str, float]:
    """Shares of pairs that are ordered rightly: all of different worth, one attribute apart, quality apart."""
    comparisons = prepare(split)
    drawings = comparisons.worths.shape[1]
    above, below = torch.triu_indices(drawings, drawings, 1)
    true_lead, match_lead = (
        values[:, above] - values[:, below] for values in (comparisons.worths, comparisons.matches)
    )
    kinds = {
        "pairs": true_lead != 0,
        "one_attribute_apart": true_lead.abs() == 1,
        "quality_apart": (match_lead == 0) & (true_lead != 0),
    }
    found = {}
    for column, wording in enumerate(("canonical", "natural")):
        scores = _scores(network, comparisons.texts[:, column], comparisons.pictures)
        right = (scores[:, above] - scores[:, below]) * true_lead > 0
        for name, keep in kinds.items():
            found[f"{wording}_{name}"] = round(right[keep].float().mean().item(), 4)
    return found


def export(network: RewardNetwork) -> None:
    """Write ``models/reward-embedded`` in half precision."""
    with replaced_folder(MODELS / FOLDER) as folder:
        save_file({name: value.half().contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS)
        config = {"embedder": CLIP_FOLDER, "embedder_revision": weights_digest(MODELS / CLIP_FOLDER)}
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n")


def load() -> RewardNetwork:
    """The shipped head in float32, ready to score."""
    network = RewardNetwork(EMBEDDING)
    network.load_state_dict(load_file(MODELS / FOLDER / WEIGHTS))
    return network.float().eval()


if __name__ == "__main__":
    train()
