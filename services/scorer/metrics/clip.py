"""CLIP by open_clip: `<embedder>` compares two pictures, `<embedder>-text` a text with a picture.

Raw value: cosine of the two embeddings, -1..1; normalized = (1 + cosine) / 2, so that order is kept below 0 too. Both
are symmetric in their embeddings and 1 for identical pictures. A text of more tokens than the model reads is cut by the
tokenizer, and the answer says so. Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural
Language Supervision"; pictures are preprocessed by the transform that the model's own configuration names.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import nn

from services.common import profile as profiles
from services.common.errors import Reason, UnavailableError
from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics.base import (
    EmbedderSpec,
    EmbeddingMetric,
    MetricInput,
    MetricSpec,
    TextEmbedder,
    TextEmbedding,
    Value,
    Vector,
)
from services.scorer.pictures import Picture

PREPROCESSING = "open-clip-1"
CONFIG_FILE = "open_clip_config.json"
LOCAL_DIR = "local-dir:"


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
    ) -> None:
        super().__init__(spec)
        self.token_limit = token_limit
        self._model: Any = model
        self._preprocess = preprocess
        self._tokenize = tokenize
        self._dtype = dtype
        self._device = next(model.parameters()).device
        # Fast tokenizers keep the last call's length as state.
        self._tokenizer_lock = threading.Lock()

    def embed(self, pictures: Sequence[Picture]) -> list[Vector]:
        """Unit vectors [D] of pictures."""
        pixels = torch.stack([self._preprocess(picture.rgb) for picture in pictures])
        with torch.inference_mode():
            vectors = self._model.encode_image(pixels.to(self._device, self._dtype))
        return list(_unit_vectors(vectors))

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


def load(settings: Settings, embedder: profiles.Embedder) -> ClipEmbedder:
    """Loads a model of kind open_clip: an embedded or local folder, a hub id, or one of open_clip's own names.

    Raises:
        UnavailableError: weights or configuration are not there; says what was looked for.
    """
    source = profiles.resolve_source(settings, embedder.source, embedded=embedder.embedded)
    folder = Path(source.removeprefix(LOCAL_DIR))
    is_folder = embedder.embedded or source.startswith(LOCAL_DIR) or folder.is_dir()
    name = f"{LOCAL_DIR}{folder.resolve()}" if is_folder else source
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
        hint = f"{embedder.source!r} with {CONFIG_FILE} and its weights" if is_folder else f"hub source {source!r}"
        message = f"embedder {embedder.id} did not load: looked for {hint}"
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, message) from error
    revision = profiles.weights_digest(folder) if is_folder else compute.weights_revision(model)
    model = model.to(device, dtype).eval().requires_grad_(False)
    spec = EmbedderSpec(
        id=embedder.id,
        revision=revision if dtype is torch.float32 else f"{revision}-{str(dtype).removeprefix('torch.')}",
        preprocessing=PREPROCESSING,
        dimensions=int(open_clip.get_model_config(name)["embed_dim"]),
        source=Path(source).name if is_folder else f"{source}:{embedder.pretrained}",
        embedded=embedder.embedded,
        license=embedder.license,
    )
    return ClipEmbedder(spec, model, preprocess, tokenize, int(model.context_length), dtype)


def build(settings: Settings, embedder: profiles.Embedder) -> list[EmbeddingMetric]:
    """The image-image and the text-image metric over one loaded model."""
    loaded = load(settings, embedder)
    images, texts = (f"Cosine of the CLIP embeddings of {what}." for what in ("both pictures", "text and picture"))
    return [
        _metric(loaded, embedder.id, MetricInput.IMAGE_IMAGE, images),
        _metric(loaded, text_metric_id(embedder.id), MetricInput.TEXT_IMAGE, texts),
    ]


def text_metric_id(embedder_id: str) -> str:
    """Id of an embedder's text-image metric."""
    return f"{embedder_id}-text"


def _metric(embedder: ClipEmbedder, id_: str, input_: MetricInput, description: str) -> EmbeddingMetric:
    spec = MetricSpec(
        id=id_,
        revision=embedder.spec.revision,
        description=description,
        input=input_,
        higher_is_better=True,
        minimum=-1.0,
        maximum=1.0,
        preprocessing=embedder.spec.preprocessing,
        license=embedder.spec.license,
        embedding_model=embedder.spec.id,
        token_limit=embedder.token_limit if input_ is MetricInput.TEXT_IMAGE else None,
        embedded=embedder.spec.embedded,
    )
    return EmbeddingMetric(spec, embedder, cosine)


def cosine(a: Vector, b: Vector) -> Value:
    """Cosine of two vectors, whatever their lengths; not a number if one is zero."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        raw = float(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1.0, 1.0))
    return Value(raw, (1.0 + raw) / 2.0)


def _unit_vectors(vectors: torch.Tensor) -> Any:
    return nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()


def _tokenizer_options(folder: Path | None) -> dict[str, str]:
    """open_clip resolves a configured `bpe_path` against the working directory; it means the model's folder."""
    if folder is None:
        return {}
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    path = config.get("model_cfg", {}).get("text_cfg", {}).get("tokenizer_kwargs", {}).get("bpe_path")
    return {} if path is None else {"bpe_path": str(folder / Path(path).name)}
