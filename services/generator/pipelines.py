"""Loading diffusers pipelines as the profile names them, and the settings that go with each."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from services.common.errors import LikenessError, Reason, UnavailableError
from services.common.profile import GeneratorModel, is_path, public_source, resolve_source, weights_digest
from services.common.settings import MEBIBYTE, Settings
from services.common.telemetry import get_logger
from services.generator import schedulers
from services.generator.adapters.loading import load_adapters
from services.generator.batch_memory import BatchMemory
from services.generator.domain import GenerationLimits, ModelCard
from services.generator.families import family_of
from services.generator.families.base import Family
from services.generator.reading import reading

log = get_logger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class PromptReader:
    """Counts tokens as the text encoder does that reads the longest prompts.

    It owns a copy of the tokenizer: the fast tokenizers are not safe to use from the engine's thread and the event
    loop's at once.
    """

    def __init__(self, family: Family) -> None:
        self._tokenizer = copy.deepcopy(family.tokenizer)
        self._context = family.context_tokens
        self.token_limit = self._context - int(family.tokenizer.num_special_tokens_to_add())
        """Tokens of a prompt that are read, without start and end marks."""

    def is_truncated(self, prompt: str) -> bool:
        """Whether the end of the prompt is left out."""
        return len(self._tokenizer(prompt, truncation=False, verbose=False).input_ids) > self._context


@dataclass(frozen=True)
class KnownModel:
    """What is known of a model that was loaded once, whether or not it still is."""

    card: ModelCard
    prompts: PromptReader
    size_bytes: int
    """Of its parameters and buffers, without adapters."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run. Only the engine's thread may call `family`: models are not safe for concurrent calls."""

    card: ModelCard
    family: Family
    device: torch.device
    max_batch: int
    """Pictures in one denoiser call at most."""
    prompts: PromptReader
    size_bytes: int
    """Of its parameters and buffers, without adapters."""
    memory: BatchMemory | None = None
    """What its calls take; None where that was not measured, and `max_batch` alone holds."""

    @property
    def known(self) -> KnownModel:
        """What stays known of it when it leaves."""
        return KnownModel(self.card, self.prompts, self.size_bytes)


@dataclass(frozen=True)
class ReadModel:
    """A pipeline in the memory of the host, as its files have it."""

    model: GeneratorModel
    pipeline: Any
    revision: str

    @property
    def size_bytes(self) -> int:
        """Of its parameters and buffers."""
        parts = [part for part in self.pipeline.components.values() if isinstance(part, torch.nn.Module)]
        # By identity: parts may share tensors.
        tensors = {id(tensor): tensor for part in parts for tensor in chain(part.parameters(), part.buffers())}
        return sum(tensor.nbytes for tensor in tensors.values())


def pick_device(setting: str) -> torch.device:
    """Device of a setting; "auto" is the first GPU, or the CPU where there is none."""
    if setting == "auto":
        setting = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(setting)


def load_model(model: GeneratorModel, settings: Settings) -> LoadedModel:
    """Loads a model of the profile onto the device of the settings.

    Raises:
        UnavailableError: MODEL_UNAVAILABLE, with what was looked for and what to do; never a path of this machine.
    """
    return place(read_model(model, settings), pick_device(settings.device))


def read_model(model: GeneratorModel, settings: Settings) -> ReadModel:
    """Reads a model of the profile from its files, in the precision that the device of the settings computes in.

    Raises:
        UnavailableError: MODEL_UNAVAILABLE, with what was looked for and what to do; never a path of this machine.
    """
    # Half precision is for GPUs: on CPUs it is slow and not every kernel exists, so float16 files are widened.
    dtype = torch.float32 if pick_device(settings.device).type == "cpu" else _DTYPES[model.dtype]
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        folder = local_folder(model, settings)
        with reading():
            pipeline: Any = DiffusionPipeline.from_pretrained(  # type: ignore[no-untyped-call]
                folder, dtype=dtype, variant=model.variant, local_files_only=True, use_safetensors=True
            )
    except LikenessError:
        raise
    except Exception as error:  # diffusers, transformers, the hub client and safetensors each raise their own kinds
        log.exception("model_not_loaded", model=model.id)
        raise _unavailable(model) from error
    return ReadModel(model, pipeline, _revision(folder))


def place(read: ReadModel, device: torch.device) -> LoadedModel:
    """Brings a model to a device and takes it apart.

    Raises:
        UnavailableError: MODEL_UNAVAILABLE; there is no family for it, it lacks a part, or the device has no room.
    """
    model, size_bytes = read.model, read.size_bytes
    try:
        pipeline = read.pipeline.to(device)
    except torch.OutOfMemoryError as error:
        message = f"generator model {model.id!r}: its {mebibytes(size_bytes)} do not fit into the device's memory"
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, message) from error
    pipeline.set_progress_bar_config(disable=True)
    family = _family(model, pipeline)
    prompts = PromptReader(family)
    limits = GenerationLimits(
        default_steps=model.default_steps,
        max_steps=model.max_steps,
        default_guidance_scale=model.default_guidance_scale,
        width_pixels=model.width_pixels,
        height_pixels=model.height_pixels,
        size_multiple_pixels=model.size_multiple_pixels,
        max_side_pixels=model.max_side_pixels,
        schedulers=schedulers.names_for(pipeline.scheduler),
        token_limit=prompts.token_limit,
        mixes_noise=family.mixes_noise,
        takes_initial_image=family.takes_initial_image,
        takes_negative_prompt=family.takes_negative_prompt,
        takes_guidance_scale=family.takes_guidance_scale,
    )
    card = ModelCard(
        id=model.id,
        revision=read.revision,
        source=public_source(model.source),
        embedded=model.embedded,
        license=model.license,
        limits=limits,
        adapters=load_adapters(model, family.adapters),
    )
    log.info("model_loaded", model=card.id, revision=card.revision, device=str(device), bytes=size_bytes)
    return LoadedModel(card, family, device, model.max_batch, prompts, size_bytes)


def mebibytes(size_bytes: int) -> str:
    """A size for people."""
    return f"{size_bytes / MEBIBYTE:,.1f} MiB"


def local_folder(model: GeneratorModel, settings: Settings) -> Path:
    """Where a model lies; fetched first if it lies on a hub.

    Raises:
        UnavailableError: MODEL_UNAVAILABLE; the path that the profile names is no folder.
    """
    source = resolve_source(settings, model.source, embedded=model.embedded)
    if Path(source).is_dir():
        return Path(source)
    if is_path(source):
        raise _unavailable(model)
    downloaded = DiffusionPipeline.download(
        source, revision=model.revision, variant=model.variant, use_safetensors=True
    )
    return Path(downloaded)


def _revision(folder: Path) -> str:
    # The hub's cache names a snapshot by its commit; any other folder is known by its bytes.
    return folder.name[:16] if folder.parent.name == "snapshots" else weights_digest(folder)


def _unavailable(model: GeneratorModel) -> UnavailableError:
    source = public_source(model.source)
    if model.embedded:
        looked_for, todo = f"folder models/{source}", "run 'make models' or set LIKENESS_MODELS_DIR"
    elif source != model.source:
        looked_for, todo = f"folder {source}", "check the path in the profile; it must be a diffusers pipeline folder"
    else:
        looked_for = f"hub id {source}"
        todo = f"check the id and the network, or run 'hf download {source}' where there is one"
    message = f"generator model {model.id!r}: {looked_for} could not be loaded; {todo}"
    return UnavailableError(Reason.MODEL_UNAVAILABLE, message)


def _family(model: GeneratorModel, pipeline: Any) -> Family:
    try:
        return family_of(pipeline)(pipeline, max_decode_pixels=model.max_decode_pixels)
    except UnavailableError as error:
        raise UnavailableError(error.reason, f"generator model {model.id!r}: {error.message}") from error
