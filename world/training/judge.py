"""The judge: a classifier of all scene attributes, trained on drawings only (held-out ones included).

It never sees a generated picture or a reconstruction, shares nothing with the CLIP, and is used by evaluations
only.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from world.imaging import SIZE
from world.scene import ATTRIBUTE_SIZES, ATTRIBUTES
from world.training import data
from world.training.common import (
    MODELS,
    SEED,
    Checkpoint,
    Progress,
    Report,
    device,
    half_precision,
    learning_rate,
    replaced_folder,
)
from world.training.scores import summary

STEPS, BATCH, PEAK = 2500, 128, 4e-3
SHIPPED_PEAK = 2e-3
"""Peak rate when going on from the shipped weights."""
FOLDER = "judge"


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Judge(nn.Module):
    """Pictures [B, 3, 128, 128] in 0..1 -> dict of logits, one [B, classes] per attribute."""

    def __init__(self, width: int = 24, squeeze: int = 64, hidden: int = 256) -> None:
        super().__init__()
        self.settings = {"width": width, "squeeze": squeeze, "hidden": hidden}
        w = width
        self.trunk = nn.Sequential(
            _block(3, w, 2),
            _block(w, 2 * w, 2),
            _block(2 * w, 3 * w, 1),
            _block(3 * w, 5 * w, 2),
            _block(5 * w, 5 * w, 1),
            _block(5 * w, 6 * w, 2),
            _block(6 * w, 5 * w, 1),
            nn.Conv2d(5 * w, squeeze, 1),
            nn.ReLU(inplace=True),
            nn.Flatten(),  # keeps the 8 x 8 places: positions are attributes
            nn.Dropout(0.1),
            nn.Linear(squeeze * 64, hidden),
            nn.ReLU(inplace=True),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, size) for name, size in ATTRIBUTE_SIZES.items()})

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits of every attribute."""
        hidden = self.trunk(pictures * 2 - 1)
        return {name: head(hidden) for name, head in self.heads.items()}


def attribute_loss(logits: dict[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy summed over attributes; targets [B, A] with -1 for undefined."""
    losses = []
    for column, name in enumerate(ATTRIBUTES):
        target = targets[:, column]
        if (target >= 0).any():
            losses.append(functional.cross_entropy(logits[name].float(), target, ignore_index=-1))
    return torch.stack(losses).sum()


@torch.no_grad()
def predict(judge: Judge, pictures: torch.Tensor, batch: int = 250) -> torch.Tensor:
    """Predicted class indices [N, A] of pictures [N, 3, 128, 128] in 0..1 (undefined attributes included)."""
    rows = []
    for start in range(0, len(pictures), batch):
        logits = judge(pictures[start : start + batch])
        rows.append(torch.stack([logits[name].argmax(1) for name in ATTRIBUTES], 1))
    return torch.cat(rows)


@torch.no_grad()
def features(judge: Judge, pictures: torch.Tensor, batch: int = 250) -> torch.Tensor:
    """Features [N, 256] of pictures [N, 3, 128, 128] in 0..1: the hidden layer from which attributes are read."""
    return torch.cat([judge.trunk(part * 2 - 1) for part in pictures.split(batch)])


def train(steps: int = STEPS, shipped: bool = False) -> Judge:
    """Train on seen and held-out drawings, with shifts of up to four pixels; resumes.

    With ``shipped`` it goes on from the weights in ``models/``.
    """
    on = device()
    torch.manual_seed(SEED)
    sets = [data.load("train"), data.load("judge")]
    total = sum(len(part) for part in sets)
    judge = (load().train() if shipped else Judge()).to(on, memory_format=torch.channels_last)
    peak = SHIPPED_PEAK if shipped else PEAK
    optimizer = torch.optim.AdamW(judge.parameters(), peak, weight_decay=0.05)
    checkpoint, step = Checkpoint("judge"), 0
    if state := checkpoint.load():
        judge.load_state_dict(state["judge"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    progress, started = Progress("judge", steps, BATCH), time.monotonic()
    draw = torch.Generator().manual_seed(SEED + step + (1000 if shipped else 0))
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(peak, step, steps, 200)
        from_train = int((torch.rand(BATCH, generator=draw) < len(sets[0]) / total).sum())
        parts = zip(sets, (from_train, BATCH - from_train), strict=True)
        picks = [(part, torch.randint(len(part), (count,), generator=draw)) for part, count in parts]
        pictures = torch.cat([part.batch(index) for part, index in picks]).to(on)
        targets = torch.cat([part.attribute_batch(index) for part, index in picks]).to(on)
        shift = torch.randint(-4, 5, (2,), generator=draw).tolist()
        with half_precision(on):
            logits = judge(torch.roll(pictures, shift, (2, 3)))
        loss = attribute_loss(logits, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        progress.tick(step, loss=loss.item())
        if checkpoint.due():
            checkpoint.save({"judge": judge.state_dict(), "optimizer": optimizer.state_dict(), "step": step})
    judge = judge.cpu().eval()
    export(judge)
    metrics = {}
    for split in ("seen", "held_out"):
        drawings, index = data.load(split), torch.arange(2000)
        found = predict(judge, drawings.batch(index))
        metrics[split] = summary(found, drawings.attribute_batch(index))
    print(f"[judge] {metrics}", flush=True)
    checkpoint.done()
    Report("judge", steps, BATCH, time.monotonic() - started, SEED, metrics, shipped).save()
    return judge


def export(judge: Judge) -> None:
    """Write ``models/judge`` in half precision."""
    with replaced_folder(MODELS / FOLDER) as folder:
        weights = {
            name: (value.half() if value.is_floating_point() else value).contiguous()
            for name, value in judge.state_dict().items()
        }
        save_file(weights, folder / "model.safetensors")
        config = judge.settings | {"attributes": ATTRIBUTE_SIZES, "image_size": SIZE}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def load(folder: Path | None = None) -> Judge:
    """The shipped judge in float32, ready to predict."""
    folder = folder or MODELS / FOLDER
    config = json.loads((folder / "config.json").read_text())
    judge = Judge(config["width"], config["squeeze"], config["hidden"])
    judge.load_state_dict(load_file(folder / "model.safetensors"))
    return judge.float().eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--shipped", action="store_true", help="go on from the weights in models/")
    arguments = parser.parse_args()
    train(arguments.steps, arguments.shipped)
