"""Profiles: which model serves which role. A YAML file in profiles/, checked on load."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.common.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
"""Folder that holds profiles/ and models/ in a checkout and in the images."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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


class Embedder(_Frozen):
    """A model that turns pictures (and texts) into vectors."""

    id: str
    kind: Literal["open_clip", "dinov2"]
    source: str
    embedded: bool = False
    pretrained: str | None = None
    revision: str | None = None
    license: str = "unknown"
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


def weights_digest(folder: Path) -> str:
    """Short SHA-256 over names and bytes of every weight and config file below a folder: a model's revision."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".safetensors", ".json", ".bin", ".gz", ".txt"} and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
