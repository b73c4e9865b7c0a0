"""CLIP by open_clip: `<embedder>` compares two pictures, `<embedder>-text` a text with a picture.

Raw value: cosine of the two embeddings (`cosine.py`). A text of more tokens than the model reads is cut by the
tokenizer, and the answer says so. Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural
Language Supervision"; pictures are preprocessed by the transform that the model's own configuration names.

Where the profile gives a `features_id`, the metric of that id compares the mean of the picture tower's last feature map
instead, as DINOv2's tokens are compared: what is seen at each place, before CLIP sums it up for texts. It has vectors
of its own from the same passes.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import nn

from services.common import profile as profiles
from services.common.errors import Reason, UnavailableError
from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics.base import (
    Embedder,
    EmbedderSpec,
    EmbeddingMetric,
    TextEmbedder,
    TextEmbedding,
    Vector,
)
from services.scorer.metrics.cosine import image_metric, text_metric
from services.scorer.pictures import Picture, made_once

PREPROCESSING = "open-clip-1"
CONFIG_FILE = "open_clip_config.json"
LOCAL_DIR = "local-dir:"
MOST_CHARACTERS = 200
"""Of each kind of problem with a checkpoint's keys: a wrong file has hundreds."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What one pass of the picture tower gives; unit vectors."""

    embedding: Vector
    features: Vector
    """Mean of the last feature map; empty unless the tower was told to keep it."""


class ClipEmbedder(TextEmbedder):
    """Both towers of a CLIP model; vectors are L2-normalized."""

    def __init__(
        self,
        spec: EmbedderSpec,
        model: nn.Module,
        preprocess: Callable[[Image.Image], torch.Tensor],
        tokenize: Callable[..., torch.Tensor],
        token_limit: int,
        dtype: torch.dtype,
        keeps_features: bool = False,
    ) -> None:
        super().__init__(spec)
        self.token_limit = token_limit
        self._model: Any = model
        self._preprocess = preprocess
        self._tokenize = tokenize
        self._dtype = dtype
        self._keeps_features = keeps_features
        self._device = next(model.parameters()).device
        # Fast tokenizers keep the last call's length as state.
        self._tokenizer_lock = threading.Lock()

    def embed(self, pictures: Sequence[Picture]) -> list[Vector]:
        """Unit vectors [D] of pictures."""
        return [seen.embedding for seen in self.see(pictures)]

    def see(self, pictures: Sequence[Picture]) -> list[Seen]:
        """One pass over the pictures that had none yet."""
        return made_once(("clip", self.spec.id, self.spec.revision), pictures, self._see)

    def _see(self, pictures: Sequence[Picture]) -> list[Seen]:
        # Models of one input size and scale, such as OpenAI's, share what their equal transforms make.
        inputs = made_once(
            ("input", repr(self._preprocess)), pictures, lambda some: [self._preprocess(one.rgb) for one in some]
        )
        pixels = torch.stack(inputs).to(self._device, self._dtype)
        with torch.inference_mode():
            if not self._keeps_features:
                vectors = _unit_vectors(self._model.encode_image(pixels))
                return [Seen(vector, vector[:0]) for vector in vectors]
            out = self._model.visual.forward_intermediates(pixels, indices=1, normalize_intermediates=True)
            features = _unit_vectors(out["image_intermediates"][-1].mean(dim=(2, 3)))  # [N, C, H, W] to [N, C]
            return [Seen(*pair) for pair in zip(_unit_vectors(out["image_features"]), features, strict=True)]

    def embed_text(self, text: str) -> TextEmbedding:
        """Unit vector [D] of a text; at most `token_limit` tokens, start and end mark included, are read."""
        with self._tokenizer_lock:
            tokens = self._tokenize([text], context_length=self.token_limit)
            longer = self._tokenize([text], context_length=self.token_limit + 1)
        # A cut text ends in an end mark where the longer reading still has a word; padding is the same in both.
        truncated = not torch.equal(tokens, longer[:, : self.token_limit])
        with torch.inference_mode():
            vectors = self._model.encode_text(tokens.to(self._device))
        return TextEmbedding(_unit_vectors(vectors)[0], truncated)


class FeaturesEmbedder(Embedder):
    """Mean of a picture tower's last feature map, L2-normalized."""

    def __init__(self, id_: str, tower: ClipEmbedder) -> None:
        self._tower = tower
        blank = Image.new("RGB", (64, 64))
        (seen,) = tower.see([Picture(blank, "")])
        super().__init__(replace(tower.spec, id=id_, dimensions=seen.features.size))

    def embed(self, pictures: Sequence[Picture]) -> list[Vector]:
        """Unit vectors [C] of pictures."""
        return [seen.features for seen in self._tower.see(pictures)]


def load(settings: Settings, embedder: profiles.Embedder) -> ClipEmbedder:
    """Loads a model: an embedded or local folder, a hub id, or one of open_clip's own names.

    Raises:
        UnavailableError: weights or configuration are not there, or do not fit; says what was looked for, or which.
    """
    source = profiles.resolve_source(settings, embedder.source, embedded=embedder.embedded)
    folder = Path(source.removeprefix(LOCAL_DIR))
    is_folder = embedder.embedded or source.startswith(LOCAL_DIR) or folder.is_dir()
    name = f"{LOCAL_DIR}{folder.resolve()}" if is_folder else source
    hub = f"{source}:{Path(embedder.pretrained).name}" if embedder.pretrained else source
    device = compute.device_of(settings)
    dtype = compute.dtype_on(device, embedder.dtype)
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(
            name,
            pretrained=None if is_folder else embedder.pretrained,
            # OpenAI trained its models with QuickGELU, which open_clip's plain names do not say.
            force_quick_gelu=embedder.pretrained == "openai",
            require_pretrained=True,
        )
        tokenize = open_clip.get_tokenizer(name, **_tokenizer_options(folder if is_folder else None))
    except Exception as error:  # open_clip raises many kinds for missing files, names and networks
        hint = f"{embedder.source!r} with {CONFIG_FILE} and its weights" if is_folder else f"hub source {hub!r}"
        message = f"embedder {embedder.id} did not load: looked for {hint}{_misfit(error)}"
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, message) from error
    revision = profiles.weights_digest(folder) if is_folder else compute.weights_revision(model)
    model = model.to(device, dtype).eval().requires_grad_(False)
    spec = EmbedderSpec(
        id=embedder.id,
        revision=revision if dtype is torch.float32 else f"{revision}-{str(dtype).removeprefix('torch.')}",
        preprocessing=PREPROCESSING,
        dimensions=int(open_clip.get_model_config(name)["embed_dim"]),
        source=folder.name if is_folder else hub,
        embedded=embedder.embedded,
        license=embedder.license,
    )
    keeps_features = embedder.features_id is not None
    return ClipEmbedder(spec, model, preprocess, tokenize, int(model.context_length), dtype, keeps_features)


def build(settings: Settings, embedder: profiles.Embedder) -> list[EmbeddingMetric]:
    """All metrics over one loaded model.

    Raises:
        UnavailableError: see `load`.
    """
    tower = load(settings, embedder)
    images, texts = (f"Cosine of the CLIP embeddings of {what}." for what in ("both pictures", "text and picture"))
    metrics = [image_metric(tower, images), text_metric(tower, text_metric_id(embedder.id), texts)]
    if embedder.features_id:
        features = FeaturesEmbedder(embedder.features_id, tower)
        metrics.append(image_metric(features, "Cosine of the mean last feature maps of CLIP's picture tower."))
    return metrics


def text_metric_id(embedder_id: str) -> str:
    """Id of an embedder's text-image metric."""
    return f"{embedder_id}-text"


def _unit_vectors(vectors: torch.Tensor) -> Any:
    return nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()


def _misfit(error: Exception) -> str:
    """Keys that torch's own strict loading found missing, left over or of another shape."""
    problems = re.findall(
        r"^\s*((?:Missing|Unexpected) key\(s\) in state_dict: .*|size mismatch for [^:]*)", str(error), re.M
    )
    return "".join(f"; {problem[:MOST_CHARACTERS].strip()}" for problem in problems)


def _tokenizer_options(folder: Path | None) -> dict[str, str]:
    """open_clip resolves a configured `bpe_path` against the working directory; it means the model's folder."""
    if folder is None:
        return {}
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    path = config.get("model_cfg", {}).get("text_cfg", {}).get("tokenizer_kwargs", {}).get("bpe_path")
    return {} if path is None else {"bpe_path": str(folder / Path(path).name)}
