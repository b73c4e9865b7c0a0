"""A small byte-pair tokenizer of the world's language, the same ids in transformers and open_clip."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode
from transformers import CLIPTokenizer

from world.captions import canonical, natural
from world.scene import sample_scene
from world.training.common import SEED, WORK, replaced_folder

CONTEXT = 32
"""Tokens of a caption with its start and end marks."""
START, END = "<|startoftext|>", "<|endoftext|>"
_SCENES = 8000
_EXTRA = (
    "a an the and or with without of in on at by to from image picture photo drawing style object shape background "
    "foreground color colour small large big tiny left right above below center high low quality blurry detailed "
    "bright dark simple object thing animal vehicle building plant food people sky more less very not no"
)


def folder() -> Path:
    """The trained tokenizer in the scratch folder (HF files and ``bpe.txt.gz``)."""
    return WORK / "tokenizer"


def _word_counts() -> Counter[str]:
    rng = random.Random(SEED)
    counts: Counter[str] = Counter(_EXTRA.split())
    for _ in range(_SCENES):
        scene = sample_scene(rng, "any")
        for caption in (canonical(scene), natural(scene, rng)):
            counts.update(caption.replace(",", " ,").split())
    return counts


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    at = 0
    while at < len(word):
        if word[at : at + 2] == pair:
            merged.append(word[at] + word[at + 1])
            at += 2
        else:
            merged.append(word[at])
            at += 1
    return tuple(merged)


def learn_merges() -> list[tuple[str, str]]:
    """Merges until every word of the world is one token; ties break by text, so the result is fixed."""
    counts = _word_counts()
    words = {word: (*word[:-1], word[-1] + "</w>") for word in counts}
    merges = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, pieces in words.items():
            for pair in pairwise(pieces):
                pairs[pair] += 1_000_000 + counts[word]
        if not pairs:
            return merges
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = {word: _merge(pieces, best) for word, pieces in words.items()}


def train() -> None:
    """Learn and write the tokenizer, then check that both libraries read it alike."""
    merges = learn_merges()
    base = list(bytes_to_unicode().values())
    tokens = [*base, *(b + "</w>" for b in base), *("".join(pair) for pair in merges), START, END]
    lines = "\n".join(" ".join(pair) for pair in merges)
    with replaced_folder(folder()) as target:
        vocabulary, merge_file = target / "vocab.json", target / "merges.txt"
        vocabulary.write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
        merge_file.write_text(f"#version: 0.2\n{lines}\n")
        hf = CLIPTokenizer(str(vocabulary), str(merge_file), model_max_length=CONTEXT, pad_token=END)
        hf.save_pretrained(target)
        with (
            (target / "bpe.txt.gz").open("wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        ):
            packed.write(f"#version: 0.2\n{lines}".encode())
    check()
    print(f"[tokenizer] {len(tokens)} tokens, {len(merges)} merges", flush=True)


def take_shipped(model: Path) -> None:
    """Use the tokenizer of a shipped model folder, for trainings that go on from its weights."""
    if not folder().is_dir():
        with replaced_folder(folder()) as target:
            for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "bpe.txt.gz"):
                shutil.copyfile(model / name, target / name)


def hf_tokenizer() -> CLIPTokenizer:
    """The tokenizer as transformers reads it."""
    return CLIPTokenizer.from_pretrained(folder())


def open_clip_tokenizer() -> SimpleTokenizer:
    """The tokenizer as open_clip reads it."""
    return SimpleTokenizer(str(folder() / "bpe.txt.gz"), context_length=CONTEXT)


def check(count: int = 200) -> None:
    """Raise unless both libraries give the same ids (up to their padding)."""
    hf, clip, rng = hf_tokenizer(), open_clip_tokenizer(), random.Random(SEED + 1)
    for _ in range(count):
        caption = natural(sample_scene(rng, "any"), rng)
        ids = hf(caption)["input_ids"]
        row = clip([caption])[0].tolist()
        if row[: len(ids)] != ids or any(row[len(ids) :]) or len(ids) > CONTEXT:
            raise ValueError(f"tokenizers disagree on {caption!r}")


if __name__ == "__main__":
    train()
