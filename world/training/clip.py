"""The embedded CLIP: contrastive training of pictures against canonical and natural captions.

Auxiliary heads read the scene's attributes from both embeddings during training and are dropped afterwards: they
keep details (sizes, colours, order) in embeddings that a short contrastive training would ignore.
"""

from __future__ import annotations

import argparse
import time

import open_clip
import torch
from torch import nn
from torch.nn import functional

from world.scene import ATTRIBUTE_SIZES
from world.training import data, tokenizer
from world.training.clip_io import EMBEDDING, FOLDER, build, embed_pictures, export, load_clip, normalise
from world.training.common import (
    MODELS,
    SEED,
    Checkpoint,
    Progress,
    Report,
    batches,
    device,
    half_precision,
    learning_rate,
)
from world.training.judge import attribute_loss

STEPS, BATCH, PEAK = 700, 192, 1.6e-3
SHIPPED_PEAK = 6e-4
"""Peak rate when going on from the shipped weights: they shall move little, others were trained on them."""
CANONICAL_SHARE = 0.4
ATTRIBUTE_WEIGHT = 0.3


class AttributeHeads(nn.Module):
    """Linear readings of an embedding [B, 128]; the factor undoes its unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({k: nn.Linear(EMBEDDING, n) for k, n in ATTRIBUTE_SIZES.items()})

    def forward(self, embedding: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits per attribute."""
        return {name: head(12 * embedding) for name, head in self.heads.items()}


def caption_ids(drawings: data.Drawings, limit: int | None = None) -> torch.Tensor:
    """Token ids int16 [N, 1 + natural, 32], the canonical caption first, padded with the end mark."""
    encode = tokenizer.hf_tokenizer()
    pairs = zip(drawings.canonical[:limit], drawings.natural[:limit], strict=True)
    flat = [caption for system, user in pairs for caption in (system, *user)]
    ids = encode(flat, padding="max_length", max_length=tokenizer.CONTEXT, truncation=True, return_tensors="pt")
    return ids["input_ids"].short().view(-1, 1 + data.NATURAL_CAPTIONS, tokenizer.CONTEXT)


def pick_captions(ids: torch.Tensor, index: torch.Tensor, canonical_share: float) -> torch.Tensor:
    """One caption [B, 32] per picture, canonical with the given probability, else a natural one."""
    choice = torch.randint(1, ids.shape[1], (len(index),))
    choice[torch.rand(len(index)) < canonical_share] = 0
    return ids[index, choice].long()


def contrastive_loss(pictures: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Symmetric cross-entropy of the similarities of unit vectors [B, D]."""
    logits = scale.clamp(max=100) * pictures @ texts.T
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


@torch.no_grad()
def retrieval(model: open_clip.CLIP, drawings: data.Drawings, groups: int = 4, size: int = 256) -> dict[str, float]:
    """Recall at 1 among ``size``, mean over ``groups`` disjoint groups, with canonical and natural captions."""
    encode = tokenizer.hf_tokenizer()
    hits: dict[str, list[float]] = {}
    for group in range(groups):
        index = torch.arange(group * size, (group + 1) * size)
        pictures = embed_pictures(model, drawings.batch(index))
        captions = {
            "canonical": [drawings.canonical[i] for i in index],
            "natural": [drawings.natural[i][0] for i in index],
        }
        for name, texts in captions.items():
            ids = encode(texts, padding="max_length", max_length=tokenizer.CONTEXT, return_tensors="pt").input_ids
            similarity = pictures @ model.encode_text(ids, normalize=True).T
            target = torch.arange(size)
            for way, scores in (("picture_to_text", similarity), ("text_to_picture", similarity.T)):
                right = (scores.argmax(1) == target).float().mean().item()
                hits.setdefault(f"{name}_{way}", []).append(right)
    return {name: round(sum(values) / len(values), 4) for name, values in hits.items()}


def train(steps: int = STEPS, shipped: bool = False) -> open_clip.CLIP:
    """Train on the seen drawings; resumes. With ``shipped`` it goes on from the weights in ``models/``."""
    on = device()
    torch.manual_seed(SEED)
    drawings = data.load("train")
    if shipped:
        tokenizer.take_shipped(MODELS / FOLDER)
    vocabulary = len(tokenizer.hf_tokenizer())
    ids = caption_ids(drawings)
    model = (load_clip()[0].train() if shipped else build(vocabulary)).to(on, memory_format=torch.channels_last)
    peak = SHIPPED_PEAK if shipped else PEAK
    heads = AttributeHeads().to(on)
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, peak, weight_decay=0.05, betas=(0.9, 0.98), fused=True)
    checkpoint, step = Checkpoint("clip"), 0
    if state := checkpoint.load():
        model.load_state_dict(state["model"])
        heads.load_state_dict(state["heads"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    progress, started = Progress("clip", steps, BATCH), time.monotonic()
    for index in batches(len(drawings), BATCH, step, SEED):
        if step >= steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(peak, step, steps, 60)
        pictures = normalise(drawings.batch(index)).to(on, memory_format=torch.channels_last)
        texts = pick_captions(ids, index, CANONICAL_SHARE).to(on)
        with half_precision(on):
            seen, read, scale = model(pictures, texts)
        seen, read = seen.float(), read.float()
        match = contrastive_loss(seen, read, scale.float())
        attributes = drawings.attribute_batch(index).to(on)
        told = sum(attribute_loss(heads(embedding), attributes) for embedding in (seen, read))
        (match + ATTRIBUTE_WEIGHT * told).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        progress.tick(step, match=match.item(), told=float(told.detach()))
        if checkpoint.due():
            checkpoint.save(
                {
                    "model": model.state_dict(),
                    "heads": heads.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                }
            )
    model = model.cpu().eval()
    export(model, vocabulary)
    metrics = {split: retrieval(model, data.load(split)) for split in ("seen", "held_out")}
    print(f"[clip] {metrics}", flush=True)
    checkpoint.done()
    Report("clip", steps, BATCH, time.monotonic() - started, SEED, metrics, shipped).save()
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--shipped", action="store_true", help="go on from the weights in models/")
    arguments = parser.parse_args()
    train(arguments.steps, arguments.shipped)
