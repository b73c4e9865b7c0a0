"""The embedded captioner: pictures to canonical captions, from a frozen CLIP's feature maps and a tiny GPT-2.

The vision tower of the embedded CLIP (a ModifiedResNet) gives maps with a place for every 8, 16 and 32 pixels of the
picture's side. The first two, joined at every 16 pixels, and the last one become prefix tokens of the language model:
the fine maps carry positions and sizes, the coarse one kinds. A picture of 96 pixels has 6 x 6 + 3 x 3 of them, one of
128 has 8 x 8 + 4 x 4. `config.json` says the side.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import CLIPTokenizer, GPT2LMHeadModel

_BATCH = 32


@dataclass(frozen=True)
class Caption:
    """A caption and the natural logarithm of its probability given the picture."""

    text: str
    log_probability: float


class FeatureMaps(nn.Module):
    """The frozen trunk: normalised pictures [B, 3, S, S] -> tokens [B, (S/16)^2, C2 + C3] and [B, (S/32)^2, C4]."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Tokens of layers 2 and 3 together, and of layer 4."""
        fine = self.visual.layer2(self.visual.layer1(self.visual.stem(pictures)))
        middle = self.visual.layer3(fine)
        coarse = self.visual.layer4(middle)
        # Four fine places beside each other in the channels of one middle place: detail without more tokens.
        joined = torch.cat([functional.pixel_unshuffle(fine, 2), middle], 1)
        return [tokens.flatten(2).transpose(1, 2) for tokens in (joined, coarse)]


class CaptionNetwork(nn.Module):
    """Feature maps as a prefix, then the caption's tokens, through a GPT-2."""

    def __init__(self, channels: Sequence[int], language_model: GPT2LMHeadModel) -> None:
        super().__init__()
        width = language_model.config.n_embd
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in channels)
        self.projections = nn.ModuleList(nn.Linear(size, width) for size in channels)
        self.lm = language_model

    def prefix(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """All places of all maps as tokens [B, P, width]."""
        layers = zip(self.norms, self.projections, maps, strict=True)
        return torch.cat([project(norm(tokens)) for norm, project, tokens in layers], 1)

    def forward(self, maps: Sequence[torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
        """Logits [B, T, vocabulary] of the token after each of ``ids`` [B, T]."""
        prefix = self.prefix(maps)
        embedded = torch.cat([prefix, self.lm.transformer.wte(ids)], 1)
        hidden = self.lm.transformer(inputs_embeds=embedded).last_hidden_state
        logits: torch.Tensor = self.lm.lm_head(hidden[:, prefix.shape[1] :])
        return logits

    def prefix_state(self) -> dict[str, torch.Tensor]:
        """The weights outside the language model."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("lm.")}


def prepare_picture(image: Image.Image, size: int) -> torch.Tensor:
    """RGB, centre-cropped to a square, resized bicubically: float32 [3, size, size] in 0..1."""
    image = image.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side != size:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


class EmbeddedCaptioner:
    """Captions pictures on the CPU; build it with :meth:`load`."""

    def __init__(
        self, trunk: FeatureMaps, network: CaptionNetwork, tokenizer: CLIPTokenizer, config: dict[str, Any]
    ) -> None:
        self._trunk = trunk.eval()
        self._network = network.eval()
        self._tokenizer = tokenizer
        self._config = config

    @classmethod
    def load(cls, captioner_dir: Path | str, clip_dir: Path | str) -> EmbeddedCaptioner:
        """Read ``models/captioner-embedded`` and the vision tower of ``models/clip-embedded``."""
        folder = Path(captioner_dir).resolve()
        config = json.loads((folder / "config.json").read_text())
        clip, _, _ = open_clip.create_model_and_transforms(f"local-dir:{Path(clip_dir).resolve()}")
        language_model = GPT2LMHeadModel.from_pretrained(folder / "lm", torch_dtype=torch.float32)
        network = CaptionNetwork(config["channels"], language_model)
        missing, unexpected = network.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
        if unexpected or any(not name.startswith("lm.") for name in missing):
            raise ValueError(f"{folder} does not fit: missing {missing}, unexpected {unexpected}")
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        return cls(FeatureMaps(clip.visual.float()), network.float(), tokenizer, config)

    def caption(self, images: Sequence[Image.Image]) -> list[Caption]:
        """The most probable words, one after the other, for each picture."""
        captions: list[Caption] = []
        for start in range(0, len(images), _BATCH):
            maps = self._maps(images[start : start + _BATCH])
            captions += self._decode(maps, None, 1.0)
        return captions

    def captions(self, image: Image.Image, count: int, temperature: float, seed: int) -> list[Caption]:
        """``count`` sampled captions of one picture, best first, doubles left out."""
        maps = [tokens.expand(count, -1, -1) for tokens in self._maps([image])]
        generator = torch.Generator().manual_seed(seed)
        drawn = self._decode(maps, generator, temperature)
        best = {caption.text: caption for caption in drawn}
        return sorted(best.values(), key=lambda caption: -caption.log_probability)

    def _maps(self, images: Sequence[Image.Image]) -> list[torch.Tensor]:
        size = self._config["image_size"]
        pictures = torch.stack([prepare_picture(image, size) for image in images])
        maps: list[torch.Tensor] = self._trunk((pictures - self._config["mean"]) / self._config["std"])
        return maps

    @torch.no_grad()
    def _decode(
        self, maps: Sequence[torch.Tensor], generator: torch.Generator | None, temperature: float
    ) -> list[Caption]:
        """Token by token with a cache; sampled when there is a generator, else the most probable ones."""
        rows = len(maps[0])
        start, end = self._config["start_id"], self._config["end_id"]
        embed = self._network.lm.transformer.wte
        step_input = torch.cat([self._network.prefix(maps), embed(torch.full((rows, 1), start))], 1)
        cache = None
        ids = torch.zeros((rows, 0), dtype=torch.long)
        total = torch.zeros(rows)
        running = torch.ones(rows, dtype=torch.bool)
        for _ in range(self._config["max_tokens"]):
            output = self._network.lm(inputs_embeds=step_input, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            log_probabilities = output.logits[:, -1].log_softmax(-1)
            if generator is None:
                chosen = log_probabilities.argmax(-1, keepdim=True)
            else:
                weights = (log_probabilities / max(temperature, 1e-3)).softmax(-1)
                chosen = torch.multinomial(weights, 1, generator=generator)
            total += log_probabilities.gather(1, chosen)[:, 0] * running
            ids = torch.cat([ids, chosen.masked_fill(~running[:, None], end)], 1)
            running &= chosen[:, 0] != end
            if not running.any():
                break
            step_input = embed(chosen)
        texts = self._texts(ids, end)
        return [Caption(text, value) for text, value in zip(texts, total.tolist(), strict=True)]

    def _texts(self, ids: torch.Tensor, end: int) -> Iterator[str]:
        for row in ids.tolist():
            words = row[: row.index(end)] if end in row else row
            yield str(self._tokenizer.decode(words)).replace(" ,", ",").strip()
