"""The adapters of a pipeline, and which one of them is active."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from peft.tuners.lora import LoraLayer

from services.generator.adapters import fit
from services.generator.adapters.files import unavailable
from services.generator.domain import GenerationRecord


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
class _Loaded:
    name: str
    """In the pipeline. Not the id: PEFT takes no dots, nor names of a dictionary's methods."""
    changes_text: bool
    layers: Sequence[LoraLayer]
    """Those that it changes."""


class Adapters:
    """Adapters in the layers of one pipeline, at most one of them active. The engine's thread is its only user.

    All stay loaded, and switching copies no weights: it visits the layers on the host, which took 3 ms for adapters of
    all attention and feed-forward layers of SDXL and its text encoders (986 layers, one busy core). The pipeline's own
    `set_adapters` took 94 ms with two of them loaded: it visits every module and changes what training needs.
    """

    def __init__(self, pipeline: Any) -> None:
        """Takes a pipeline without adapters."""
        self._pipeline = pipeline
        self._loaded: dict[str, _Loaded] = {}
        self._layers: Sequence[LoraLayer] = ()
        self.active: Selection | None = None
        """What the layers are switched to."""

    def load(self, adapter_id: str, file: Path) -> None:
        """Adds an adapter, which is not active at first.

        Args:
            adapter_id: Unlike that of any other.
            file: .safetensors in a layout that diffusers reads for this pipeline: its own, kohya's or PEFT's.

        Raises:
            UnavailableError: MODEL_UNAVAILABLE; the pipeline takes no adapters, or not this one. It is as it was.
        """
        if not hasattr(self._pipeline, "load_lora_weights"):
            raise unavailable(adapter_id, f"a {type(self._pipeline).__name__} takes no adapters")
        parts = fit.changed_parts(self._pipeline, adapter_id, file)
        # Of one length: diffusers and PEFT look for names in longer ones.
        name = f"adapter_{len(self._loaded):04d}"
        try:
            with warnings.catch_warnings():
                # PEFT warns of every adapter but the first; it is what is meant.
                warnings.filterwarnings("ignore", "Already found a `peft_config`")
                self._pipeline.load_lora_weights(str(file), adapter_name=name, use_safetensors=True)
        except BaseException:
            self._rest()
            self._pipeline.delete_adapters(name)
            raise
        self._rest()
        own = [layer for layer in self._layers if name in layer.scaling]
        self._loaded[adapter_id] = _Loaded(name, fit.changes_text(parts), own)

    def use(self, record: GenerationRecord) -> None:
        """Makes the pipeline's parts what a picture is made with."""
        wanted = selection(record)
        if wanted == self.active:
            return
        # So that a switch which fails is done again by the next picture, whichever that is.
        self.active = _NEITHER
        if wanted is None:
            self._activate()
        else:
            loaded = self._loaded[wanted.adapter]
            for layer in loaded.layers:
                layer.set_scale(loaded.name, wanted.scale)
            self._activate(loaded.name)
        self.active = wanted

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
        return wanted if wanted is not None and self._loaded[wanted.adapter].changes_text else None
