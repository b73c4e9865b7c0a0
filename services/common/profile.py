"""Profiles: which model serves which role. A YAML file in profiles/, checked on load."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.common.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
"""Folder that holds profiles/ and models/ in a checkout and in the images."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Adapter(_Frozen):
    """A LoRA for a generator model: a .safetensors file, a folder that holds one, or a hub id."""

    id: str = Field(min_length=1)
    source: str
    file: str | None = None
    """Name of the file in the folder or repository; None means that there is only one."""
    revision: str | None = None
    license: str = "unknown"


class GeneratorModel(_Frozen):
    """A diffusers pipeline: a folder under the models folder (`embedded: true`) or a hub id."""

    id: str
    source: str
    embedded: bool = False
    revision: str | None = None
    license: str = "unknown"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    variant: str | None = None
    default_steps: int = Field(default=20, ge=1, le=1000)
    max_steps: int = Field(default=100, ge=1, le=1000)
    default_guidance_scale: float = Field(default=3.0, ge=0, le=50)
    width_pixels: int = 64
    height_pixels: int = 64
    size_multiple_pixels: int = 8
    max_side_pixels: int = 1024
    max_batch: int = Field(default=8, ge=1, le=256)
    max_decode_pixels: int = Field(default=2 * 1024 * 1024, ge=64 * 64)
    """Pixels in one call of the decoder. Batches above it are decoded in parts, and a picture above it in tiles if the
    autoencoder can. The default leaves the sizes that stock models are made for whole."""
    adapters: tuple[Adapter, ...] = ()
    """A picture is made with one of them or none."""
    max_loaded_adapters: int | None = Field(default=None, ge=1)
    """Adapters that stay loaded when no picture uses them, least recently used out first; None: all."""

    @model_validator(mode="after")
    def _adapters_with_ids_of_their_own(self) -> Self:
        ids = [adapter.id for adapter in self.adapters]
        if len(set(ids)) < len(ids):
            raise ValueError("adapters: each id of a model's adapters comes once")
        return self


class Embedder(_Frozen):
    """A model that turns pictures (and texts) into vectors; the metric of its id compares two pictures by them."""

    id: str
    kind: Literal["open_clip", "dinov2", "dreamsim"]
    source: str
    embedded: bool = False
    pretrained: str | None = None
    """open_clip: tag or file of the weights of a model by name; dreamsim: which of the published trainings."""
    features_id: str | None = None
    """Id of a second metric from the same passes. open_clip: mean of the last feature map; dinov2: the CLS token."""
    revision: str | None = None
    license: str = "unknown"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    @model_validator(mode="after")
    def _features_of_a_kind_that_has_them(self) -> Self:
        if self.features_id and self.kind == "dreamsim":
            raise ValueError("features_id: embedders of kind dreamsim have no second metric")
        return self


class PublishedMetric(_Frozen):
    """A text-image or preference model, or a rating of the picture alone; published, or the embedded one."""

    id: str
    kind: Literal[
        "blip_itm", "image_reward", "hps-v2", "hps-v2.1", "pickscore", "aesthetic", "clip_score", "reward_embedded"
    ]
    source: str = ""
    """Hub id, or the path of a file or folder; for reward_embedded a folder under the models folder; of no use to
    clip_score."""
    processor: str | None = None
    """Hub id or folder of tokenizer and preprocessing; None means the folder itself, or the one the authors name."""
    embedder: str | None = None
    """aesthetic, clip_score and reward_embedded: id of the profile's embedder that they stand on."""
    revision: str | None = None
    license: str = "unknown"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    @model_validator(mode="after")
    def _embedder_of_a_kind_that_stands_on_one(self) -> Self:
        if (self.embedder is not None) != (self.kind in ("aesthetic", "clip_score", "reward_embedded")):
            raise ValueError("embedder: aesthetic, clip_score and reward_embedded need one, other kinds have none")
        return self


class Perceptual(_Frozen):
    """Backbones of LPIPS and DISTS; each metric is there when its weights are found."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


class Captioner(_Frozen):
    """A model that describes a picture: the embedded one, or any transformers image-to-text model."""

    id: str
    kind: Literal["embedded", "image_to_text"]
    source: str
    embedded: bool = False
    clip_source: str | None = None
    revision: str | None = None
    license: str = "unknown"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


class Defaults(_Frozen):
    """What a request gets when it names nothing."""

    metrics: tuple[str, ...]
    selection_metrics: tuple[str, ...]
    strategy: str = "repainter"
    rounds: int = Field(default=4, ge=1, le=100)
    candidates: int = Field(default=4, ge=1, le=64)


class Profile(_Frozen):
    """A whole deployment's models."""

    name: str
    description: str
    generators: tuple[GeneratorModel, ...] = Field(min_length=1)
    embedders: tuple[Embedder, ...] = ()
    perceptual: Perceptual = Perceptual()
    published: tuple[PublishedMetric, ...] = ()
    captioner: Captioner | None = None
    strategies: tuple[str, ...] = ("repainter",)
    defaults: Defaults


@lru_cache(maxsize=8)
def load_profile(name: str) -> Profile:
    """Reads profiles/<name>.yaml, or the file at the path `name`.

    Raises:
        InvalidInputError: the profile does not exist or does not follow the schema.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else ROOT / "profiles" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (ROOT / "profiles").glob("*.yaml")))
        raise InvalidInputError("LIKENESS_PROFILE", f"there is no profile {name!r}", allowed=f"{known}, or a path")
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Profile.model_validate(raw)
    except (yaml.YAMLError, ValidationError) as error:
        raise InvalidInputError("LIKENESS_PROFILE", f"{path.name} is not a valid profile: {error}") from error


def models_dir(settings: Settings) -> Path:
    """Folder of the embedded models."""
    return settings.models_dir or ROOT / "models"


def resolve_source(settings: Settings, source: str, *, embedded: bool) -> str:
    """Path of an embedded model or local folder, or the hub id unchanged.

    Raises:
        UnavailableError: an embedded model's folder is missing; says which and what to do.
    """
    if embedded:
        folder = models_dir(settings) / source
        if not folder.is_dir():
            raise UnavailableError(
                Reason.MODEL_UNAVAILABLE,
                f"the embedded model folder models/{source} is missing; run 'make models' or set LIKENESS_MODELS_DIR",
            )
        return str(folder)
    return source


def is_path(source: str) -> bool:
    """Whether a source that does not ship with Likeness is a path of this machine; otherwise it is a hub id."""
    return Path(source).is_absolute() or source.startswith(".")


def public_source(source: str) -> str:
    """What may be shown of a source: a hub id, or the last name of a path."""
    return Path(source).name if is_path(source) else source


def weights_digest(folder: Path) -> str:
    """Short SHA-256 over names and bytes of every weight and config file below a folder: a model's revision."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".safetensors", ".json", ".bin", ".gz", ".txt"} and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
