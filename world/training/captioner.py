"""The embedded captioner: a tiny GPT-2 on the frozen CLIP's feature maps, trained on canonical captions."""

from __future__ import annotations

import json
import time

import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional
from transformers import CLIPTokenizer, GPT2Config, GPT2LMHeadModel

from services.refiner.understanding.embedded_captioner import CaptionNetwork, EmbeddedCaptioner, FeatureMaps
from world import vocabulary as v
from world.captions import parse
from world.scene import attribute_indices
from world.training import data, tokenizer
from world.training.clip_io import FOLDER as CLIP_FOLDER
from world.training.clip_io import IMAGE_SIZE, MEAN, STD, load_clip, normalise
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
    replaced_folder,
)
from world.training.scores import summary

STEPS, BATCH, PEAK = 1400, 96, 2e-3
PICTURES = 36_000
"""Drawings used; their feature maps are kept in memory (about 97 kB each)."""
FOLDER = "captioner-embedded"
WIDTH, LAYERS, HEADS, MAX_TOKENS = 128, 2, 4, 31


def _language_model(vocabulary: int, end: int) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=128,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        bos_token_id=end - 1,
        eos_token_id=end,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return GPT2LMHeadModel(config)


def _feature_maps(trunk: FeatureMaps, drawings: data.Drawings, count: int) -> list[torch.Tensor]:
    parts: list[list[torch.Tensor]] = []
    for start in range(0, count, 250):
        pictures = drawings.batch(torch.arange(start, min(start + 250, count)))
        parts.append([tokens.half() for tokens in trunk(normalise(pictures))])
    return [torch.cat(tokens) for tokens in zip(*parts, strict=True)]


class WordShuffle:
    """Replaces content words of the input by random ones of the same class (sizes, colours, kinds, places).

    What comes next is then told by the picture and by the sentence's structure only, so that the language model
    cannot learn from the words which combinations training never shows (the held-out ones).
    """

    def __init__(self, encode: CLIPTokenizer) -> None:
        self._classes = []
        places = [background.phrase.split()[-1] for background in v.BACKGROUNDS]
        for words in (v.SIZE_NAMES, v.COLOUR_NAMES, v.KIND_NAMES, places):
            ids = [encode(word, add_special_tokens=False)["input_ids"] for word in words]
            if any(len(pieces) != 1 for pieces in ids):
                raise ValueError(f"not one token each: {words}")
            self._classes.append(torch.tensor([pieces[0] for pieces in ids]))

    def __call__(self, ids: torch.Tensor, share: float = 0.9) -> torch.Tensor:
        """``ids`` [B, T] with that share of the content words replaced."""
        ids = ids.clone()
        for members in self._classes:
            chosen = torch.isin(ids, members) & (torch.rand(ids.shape) < share)
            ids[chosen] = members[torch.randint(len(members), (int(chosen.sum()),))]
        return ids


def train(steps: int = STEPS) -> None:
    """Train on seen drawings; resumes."""
    on = device()
    torch.manual_seed(SEED)
    drawings = data.load("train")
    encode = tokenizer.hf_tokenizer()
    trunk = FeatureMaps(load_clip()[0].visual)
    started = time.monotonic()
    count = min(PICTURES, len(drawings))
    maps = _feature_maps(trunk, drawings, count)
    print(f"[captioner] feature maps of {count} drawings in {time.monotonic() - started:.0f} s", flush=True)
    end = encode.eos_token_id
    ids = encode(
        drawings.canonical[:count],
        padding="max_length",
        max_length=tokenizer.CONTEXT,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    network = CaptionNetwork([m.shape[-1] for m in maps], _language_model(len(encode), end)).to(on)
    optimizer = torch.optim.AdamW(network.parameters(), PEAK, weight_decay=0.05, betas=(0.9, 0.98), fused=True)
    checkpoint, step = Checkpoint("captioner"), 0
    if state := checkpoint.load():
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    shuffle = WordShuffle(encode)
    progress = Progress("captioner", steps, BATCH)
    for index in batches(count, BATCH, step, SEED):
        if step >= steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(PEAK, step, steps)
        inputs, target = ids[index, :-1], ids[index, 1:].clone()
        target[inputs == end] = -100  # nothing to learn after the first end mark
        with half_precision(on):
            logits = network([m[index].float().to(on) for m in maps], shuffle(inputs).to(on))
        loss = functional.cross_entropy(logits.float().flatten(0, 1), target.flatten().to(on), ignore_index=-100)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        progress.tick(step, loss=loss.item())
        if checkpoint.due():
            checkpoint.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step})
    export(network.cpu().eval(), [m.shape[-1] for m in maps])
    metrics = {split: evaluate(data.load(split)) for split in ("seen", "held_out")}
    print(f"[captioner] {metrics}", flush=True)
    checkpoint.done()
    Report("captioner", steps, BATCH, time.monotonic() - started, SEED, metrics).save()


def export(network: CaptionNetwork, channels: list[int]) -> None:
    """Write ``models/captioner-embedded`` in half precision."""
    encode = tokenizer.hf_tokenizer()
    config = {
        "channels": channels,
        "image_size": IMAGE_SIZE,
        "mean": MEAN,
        "std": STD,
        "start_id": encode.bos_token_id,
        "end_id": encode.eos_token_id,
        "max_tokens": MAX_TOKENS,
        "clip": CLIP_FOLDER,
    }
    with replaced_folder(MODELS / FOLDER) as folder:
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        weights = {name: value.half().contiguous() for name, value in network.prefix_state().items()}
        save_file(weights, folder / "model.safetensors")
        network.lm.half().save_pretrained(folder / "lm")
        network.lm.float()
        encode.save_pretrained(folder / "tokenizer")


def evaluate(drawings: data.Drawings, count: int = 500) -> dict[str, float | None]:
    """Shares of right attributes in the captions of drawings; a caption that is none counts as all wrong."""
    captioner = EmbeddedCaptioner.load(MODELS / FOLDER, MODELS / CLIP_FOLDER)
    captions = captioner.caption([Image.fromarray(picture) for picture in drawings.images[:count]])
    scenes = [parse(caption.text) for caption in captions]
    wrong = (-9,) * drawings.attributes.shape[1]
    found = torch.tensor([attribute_indices(scene) if scene else wrong for scene in scenes])
    scores = summary(found, drawings.attributes[:count].long())
    return scores | {"exact": scores["all"], "canonical": sum(s is not None for s in scenes) / count}


if __name__ == "__main__":
    train()
