"""What a generator draws of the captions of a split, seen by judge and embedded CLIP, and its contact sheet."""

from __future__ import annotations

from typing import Any

import torch

from world.training import data, generator_io, judge
from world.training.builds import Build
from world.training.clip_io import embed_pictures, load_clip
from world.training.common import MODELS, SEED
from world.training.distance import Distance, kernel_distance
from world.training.scores import per_kind, summary
from world.training.sheet import save_sheet

REFERENCES = 1000
"""Drawings that generated pictures are compared with as a whole; none is of a caption that is drawn."""
_ON_SHEET = {"seen": 32, "held_out": 16}


def evaluate(build: Build, split: str, count: int) -> dict[str, Any]:
    """Judged pictures from canonical captions, and from natural ones, whose gaps cost accuracy by nature.

    ``kernel_distance`` is that of the judge's features from those of other drawings of the split, with its standard
    error beside it, and for the captions' own drawings, which are as far away as chance puts them.
    """
    drawings, index = data.load(split), torch.arange(count)
    truth, critic = drawings.attribute_batch(index), judge.load()
    pipeline = generator_io.load(MODELS / build.folder)
    captions = [drawings.canonical[i] for i in index]
    pictures, own = generator_io.generate(pipeline, captions, SEED * 1000), drawings.batch(index)
    found = judge.predict(critic, pictures)
    scores: dict[str, Any] = summary(found, truth)
    scores["per_kind"] = per_kind(found, truth)
    scores |= _fit(captions, pictures, own)
    others = drawings.batch(torch.arange(count, count + REFERENCES))
    scores |= _distances(critic, pictures, own, others)
    natural = generator_io.generate(pipeline, [drawings.natural[i][0] for i in index], SEED * 1000)
    scores["natural_captions"] = summary(judge.predict(critic, natural), truth)
    return scores


def draw_sheet(build: Build) -> None:
    """Write the contact sheet in the build's folder."""
    pipeline, captions, parts = generator_io.load(MODELS / build.folder), [], []
    for split, count in _ON_SHEET.items():
        own = data.load(split).canonical[:count]
        parts.append(generator_io.generate(pipeline, own, SEED * 1000))
        captions += own
    save_sheet(torch.cat(parts), captions, MODELS / build.folder / "contact_sheet.png")


@torch.no_grad()
def _fit(captions: list[str], pictures: torch.Tensor, drawn: torch.Tensor) -> dict[str, float]:
    """Mean cosine of captions with the pictures made of them, and with the drawings they describe."""
    model, _, tokenizer = load_clip()
    words = model.encode_text(tokenizer(captions), normalize=True)
    return {
        name: round((embed_pictures(model, some) * words).sum(1).mean().item(), 4)
        for name, some in (("clip_similarity", pictures), ("clip_similarity_of_drawings", drawn))
    }


def _distances(
    critic: judge.Judge, pictures: torch.Tensor, drawn: torch.Tensor, others: torch.Tensor
) -> dict[str, float]:
    reference = judge.features(critic, others)
    # The kernel adds 1 to a mean product of features, so these must be of that size.
    scale = reference.pow(2).mean().sqrt()

    def distance(some: torch.Tensor) -> Distance:
        return kernel_distance(judge.features(critic, some) / scale, reference / scale)

    found, own = distance(pictures), distance(drawn)
    return {
        "kernel_distance": round(found.value, 4),
        "kernel_distance_error": round(found.standard_error, 4),
        "kernel_distance_of_drawings": round(own.value, 4),
    }
