"""Pre-rendered drawings: pictures as a uint8 memmap, attributes and captions beside them.

Splits: ``train`` (seen combinations), ``judge`` (held-out drawings, shown to the judge classifier only),
``seen`` and ``held_out`` (validation), each drawn with its own seeds.
"""

from __future__ import annotations

import json
import multiprocessing
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from world.captions import canonical, natural
from world.draw import render_one
from world.imaging import SIZE
from world.scene import ATTRIBUTES, Split, attribute_indices, sample_scene
from world.training.common import WORK

NATURAL_CAPTIONS = 5
"""Natural captions kept per training picture; the canonical one comes on top."""
_CHUNK = 2_000

SPLITS: dict[str, tuple[int, Split, int]] = {
    "train": (120_000, "train", 1),
    "judge": (12_000, "held_out", 2),
    "seen": (4_000, "train", 3),
    "held_out": (4_000, "held_out", 4),
}
"""Name -> (pictures, kind of scenes, seed)."""


@dataclass(frozen=True)
class Drawings:
    """``images`` uint8 [N, 128, 128, 3] (memmap), ``attributes`` int8 [N, A], captions as lists of N."""

    images: np.ndarray
    attributes: torch.Tensor
    canonical: list[str]
    natural: list[list[str]]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: torch.Tensor) -> torch.Tensor:
        """Pictures of the index as float32 [B, 3, 128, 128] in 0..1."""
        return torch.from_numpy(self.images[index.numpy()]).permute(0, 3, 1, 2).float() / 255

    def attribute_batch(self, index: torch.Tensor) -> torch.Tensor:
        """Class indices [B, A] in the order of ``ATTRIBUTES``, -1 where undefined."""
        return self.attributes[index].long()


def _chunk(job: tuple[Path, int, int, Split, int]) -> tuple[np.ndarray, list[str], list[list[str]]]:
    path, start, count, kind, seed = job
    rng = random.Random(f"{seed}-{start}")
    images = np.load(path, mmap_mode="r+")
    attributes = np.zeros((count, len(ATTRIBUTES)), np.int8)
    system, user = [], []
    for offset in range(count):
        scene = sample_scene(rng, kind)
        images[start + offset] = render_one(scene, seed * 10_000_000 + start + offset)
        attributes[offset] = attribute_indices(scene)
        system.append(canonical(scene))
        user.append([natural(scene, rng) for _ in range(NATURAL_CAPTIONS)])
    return attributes, system, user


def prepare(name: str) -> None:
    """Draw a split into the scratch folder unless it is there."""
    count, kind, seed = SPLITS[name]
    target = WORK / f"{name}.json"
    if target.is_file():
        return
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"{name}.images.npy"
    shape = (count, SIZE, SIZE, 3)
    np.lib.format.open_memmap(path, "w+", np.uint8, shape).flush()
    jobs = [(path, start, min(_CHUNK, count - start), kind, seed) for start in range(0, count, _CHUNK)]
    # One thread a process: blurs are small products, whose threads would only wait for one another.
    with multiprocessing.Pool(initializer=threadpool_limits, initargs=(1,)) as pool:
        results = pool.map(_chunk, jobs, chunksize=1)
    np.save(WORK / f"{name}.attributes.npy", np.concatenate([result[0] for result in results]))
    captions = {
        "canonical": [caption for result in results for caption in result[1]],
        "natural": [captions for result in results for captions in result[2]],
    }
    target.write_text(json.dumps(captions))
    print(f"[data] {name}: {count} drawings", flush=True)


def load(name: str) -> Drawings:
    """A prepared split."""
    captions = json.loads((WORK / f"{name}.json").read_text())
    return Drawings(
        images=np.load(WORK / f"{name}.images.npy", mmap_mode="r"),
        attributes=torch.from_numpy(np.load(WORK / f"{name}.attributes.npy")),
        canonical=captions["canonical"],
        natural=captions["natural"],
    )


if __name__ == "__main__":
    for split in SPLITS:
        prepare(split)
