"""The adapters of a pipeline, and which one of them is active."""

from __future__ import annotations

import itertools
import warnings
from collections import OrderedDict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import LoraLayer

from services.generator.adapters import fit
from services.generator.adapters.files import digest, unavailable
from services.generator.domain import GenerationRecord
from services.generator.reading import building


class Selection(NamedTuple):
    """An adapter and how much of it; pictures that differ in it cannot share a denoiser call."""

    adapter: str
    scale: float


def selection(record: GenerationRecord) -> Selection | None:
    """What a picture is made with; None if that is the model as it is."""
    return Selection(record.adapter, record.adapter_scale) if record.adapter and record.adapter_scale else None


_NEITHER = Selection("", 0.0)
"""Of layers that are being switched."""


@dataclass(frozen=True)
class _Known:
    file: Path
    revision: str
    changes_text: bool


@dataclass(frozen=True)
class _Loaded:
    name: str
    """In the pipeline. Not the id: PEFT takes no dots, nor names of a dictionary's methods."""
    layers: Sequence[LoraLayer]
    """Those that it changes."""


class Adapters:
    """Adapters in the layers of one pipeline, at most one of them active. The engine's thread is its only user.

    Switching copies no weights: it visits the layers on the host, which took 3 ms for adapters of all attention and
    feed-forward layers of SDXL and its text encoders (986 layers, one busy core). The pipeline's own `set_adapters`
    took 94 ms with two of them loaded: it visits every module and changes what training needs.

    All stay loaded unless there is a limit. Under one, those that no picture uses leave, least recently used first, and
    are read from their files again when a picture asks for them; the engine's thread reads them, so all pictures wait.
    """

    def __init__(self, pipeline: Any) -> None:
        """Takes a pipeline without adapters."""
        self._pipeline = pipeline
        self._known: dict[str, _Known] = {}
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        """Least recently used first."""
        self._names = itertools.count()
        self._layers: Sequence[LoraLayer] = ()
        self.max_loaded: int | None = None
        """Adapters that stay loaded when no picture uses them; None: all."""
        self.active: Selection | None = None
        """What the layers are switched to."""

    @property
    def loaded(self) -> list[str]:
        """Ids of the adapters that are loaded, least recently used first."""
        return [*self._loaded]

    def load(self, adapter_id: str, file: Path) -> str:
        """Adds an adapter, which is not active at first; returns its revision.

        Args:
            adapter_id: Unlike that of any other.
            file: .safetensors in a layout that diffusers reads for this pipeline: its own, kohya's or PEFT's.

        Raises:
            UnavailableError: MODEL_UNAVAILABLE; the pipeline takes no adapters, or not this one. It is as it was.
        """
        if not hasattr(self._pipeline, "load_lora_weights"):
            raise unavailable(adapter_id, f"a {type(self._pipeline).__name__} takes no adapters")
        revision = digest(file)
        parts = fit.changed_parts(self._pipeline, adapter_id, file)
        self._put_in(adapter_id, file)
        self._known[adapter_id] = _Known(file, revision, fit.changes_text(parts))
        return revision

    def unload_unused(self, used: Collection[str] = ()) -> None:
        """Takes the least recently used adapters out until no more than `max_loaded` are left, or none but the used."""
        excess = 0 if self.max_loaded is None else max(len(self._loaded) - self.max_loaded, 0)
        leavers = [adapter_id for adapter_id in self._loaded if adapter_id not in used][:excess]
        if not leavers:
            return
        self._activate()  # PEFT would make another adapter active in place of a deleted one, with a warning
        for adapter_id in leavers:
            self._pipeline.delete_adapters(self._loaded.pop(adapter_id).name)
        self._rest()

    def use(self, record: GenerationRecord) -> None:
        """Makes the pipeline's parts what a picture is made with.

        Raises:
            UnavailableError: MODEL_UNAVAILABLE; the adapter is not loaded and its file is not what it was.
        """
        wanted = selection(record)
        if wanted == self.active:
            return
        if wanted is not None and wanted.adapter not in self._loaded:
            self._put_in_again(wanted.adapter)
        # So that a switch which fails is done again by the next picture, whichever that is.
        self.active = _NEITHER
        if wanted is None:
            self._activate()
        else:
            self._loaded.move_to_end(wanted.adapter)
            loaded = self._loaded[wanted.adapter]
            for layer in loaded.layers:
                layer.set_scale(loaded.name, wanted.scale)
            self._activate(loaded.name)
        self.active = wanted

    def _put_in_again(self, adapter_id: str) -> None:
        known = self._known[adapter_id]
        if not known.file.is_file() or digest(known.file) != known.revision:
            raise unavailable(adapter_id, f"{known.file.name} has changed or gone; start the replica again")
        # Parameters that were made in inference mode could not be changed outside of it.
        with torch.inference_mode(False):
            self._put_in(adapter_id, known.file)

    def _put_in(self, adapter_id: str, file: Path) -> None:
        # Of one length: diffusers and PEFT look for names in longer ones.
        name = f"adapter_{next(self._names):08d}"
        try:
            with building(), warnings.catch_warnings():
                # PEFT warns of every adapter but the first; it is what is meant.
                warnings.filterwarnings("ignore", "Already found a `peft_config`")
                self._pipeline.load_lora_weights(str(file), adapter_name=name, use_safetensors=True)
        except BaseException:
            self._rest()
            self._pipeline.delete_adapters(name)
            raise
        self._rest()
        self._loaded[adapter_id] = _Loaded(name, [layer for layer in self._layers if name in layer.scaling])

    def _rest(self) -> None:
        """Takes note of all layers and makes none of their adapters active, as loading does."""
        models = (getattr(self._pipeline, part) for part in self._pipeline._lora_loadable_modules)
        modules = (module for model in models if model is not None for module in model.modules())
        self._layers = [module for module in modules if isinstance(module, LoraLayer)]
        self._activate()
        self.active = None

    def _activate(self, *names: str) -> None:
        active = list(names)
        for layer in self._layers:
            # `set_adapter` would first tell every adapter of the layer whether it is to be trained.
            layer._active_adapter = active

    def text_selection(self, record: GenerationRecord) -> Hashable:
        """What a picture's encoded prompts depend on besides their texts."""
        wanted = selection(record)
        return wanted if wanted is not None and self._known[wanted.adapter].changes_text else None
