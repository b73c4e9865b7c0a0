"""Published checkpoints: where a file lies, what it holds, and that this is all a network needs and nothing more.

A checkpoint is loaded strictly. Names that are missing, not expected or of another shape make the metric absent with an
error that says which, in the names of the published file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torch import nn

from services.common.errors import Reason, UnavailableError
from services.scorer import compute

MOST_NAMES = 6
"""Names of each kind that an error spells out; a wrong file has hundreds."""

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class ModelSource:
    """A published model, as a profile names it."""

    id: str
    """Id of its metric, and of its embedder if it has one."""
    source: str
    """Hub id, or the path of a file or folder."""
    license: str = "unknown"
    revision: str | None = None
    """Revision of the hub repository; None means its main branch."""
    processor: str | None = None
    """Hub id or folder of tokenizer and preprocessing; None means the folder itself, or the one the authors name."""
    dtype: compute.DType = "float32"

    @property
    def name(self) -> str:
        """Hub id, or the last part of a path: what may be shown to others."""
        return Path(self.source).name if Path(self.source).exists() or Path(self.source).is_absolute() else self.source


def find(model: ModelSource, file: str) -> Path:
    """Path of a model's file: the source itself, a file in it, or one of the hub repository.

    Raises:
        UnavailableError: it is not there; says which file was looked for.
    """
    path = Path(model.source)
    if path.is_file():
        return path
    try:
        if path.is_dir() or path.is_absolute():
            return (path / file).resolve(strict=True)
        return Path(hf_hub_download(model.source, file, revision=model.revision))
    except Exception as error:  # the hub's client raises many kinds for networks, names and permissions
        raise unavailable(model, f"looked for {file} in {model.name!r}") from error


def read(model: ModelSource, path: Path) -> State:
    """Tensors of a checkpoint by name, of the `state_dict` inside it where a trainer wrapped it.

    Raises:
        UnavailableError: the file is broken or holds something else.
    """
    try:
        loaded: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        state: dict[str, torch.Tensor] = dict(loaded.get("state_dict", loaded))
    except Exception as error:  # both readers raise many kinds
        raise unavailable(model, f"{path.name} is broken; replace it") from error
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise unavailable(model, f"{path.name} holds more than weights")
    return state


def load_strictly(
    model: ModelSource,
    network: nn.Module,
    state: State,
    *,
    published: Callable[[str], str] = str,
    unused: Collection[str] = (),
) -> None:
    """Copies a checkpoint into a network.

    Args:
        model: Named in the error.
        network: Its own names are the ones that `published` translates.
        state: Tensors by their published names.
        published: Published name of a tensor of the network.
        unused: Published names that may be there and that no value depends on.

    Raises:
        UnavailableError: names or shapes differ; says which.
    """
    own = {published(name): (name, value.shape) for name, value in network.state_dict().items()}
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(shape)}"
        for name, (_, shape) in own.items()
        if name in state and state[name].shape != shape
    ]
    check_keys(model, own.keys() - state.keys(), state.keys() - own.keys() - set(unused), shapes)
    network.load_state_dict({name: state[source] for source, (name, _) in own.items()})


def load_pretrained(model: ModelSource, network_class: Any) -> Any:
    """A transformers network in float32 from a hub id or folder, with the same strictness.

    Names that transformers itself gave up, such as the index of positions that old releases saved, are no error.

    Raises:
        UnavailableError: it is not there, or names or shapes differ; says which.
    """
    try:
        network, info = network_class.from_pretrained(
            model.source,
            revision=model.revision,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many kinds for missing files, names and networks
        raise unavailable(model, f"looked for config.json and weights of {model.name!r}") from error
    shapes = [f"{name} {tuple(found)} for {tuple(wanted)}" for name, found, wanted in info["mismatched_keys"]]
    check_keys(model, info["missing_keys"], info["unexpected_keys"], shapes)
    return network


def load_processor(
    model: ModelSource, processor_class: Any, looked_for: str, default: str | None = None, **options: Any
) -> Any:
    """A tokenizer or image processor of transformers.

    Args:
        model: Its `processor` comes first.
        processor_class: Class with `from_pretrained`.
        looked_for: What the error says was looked for.
        default: Hub id that the authors name where their own repository has none; a model in a folder has it inside.
        **options: For `from_pretrained`.

    Raises:
        UnavailableError: it is not there; says what was looked for.
    """
    is_own = model.processor is None and (default is None or Path(model.source).is_dir())
    source = model.source if is_own else model.processor or default
    # The revision is one of the model's repository.
    revision = model.revision if is_own and model.revision else "main"
    try:
        return processor_class.from_pretrained(source, revision=revision, **options)
    except Exception as error:  # transformers raises many kinds for missing files, names and networks
        place = repr(model.name if is_own else Path(str(source)).name)
        raise unavailable(model, f"looked for {looked_for} in {place}") from error


def check_vocabulary(model: ModelSource, tokenizer: Any, size: int, marks: int = 0) -> None:
    """Refuses a tokenizer that is not the network's: transformers makes an empty one where files are missing.

    Args:
        model: Named in the error.
        tokenizer: As loaded.
        size: Entries of the network's table.
        marks: Entries at its end that the tokenizer may lack.
    """
    if not size - marks <= len(tokenizer) <= size:
        raise unavailable(model, f"the tokenizer beside it has {len(tokenizer)} entries, the network {size}")


def check_keys(
    model: ModelSource, missing: Collection[str], unexpected: Collection[str], shapes: Collection[str]
) -> None:
    """Refuses a checkpoint that is not the network's, with the names at fault."""
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    problems = [f"{len(names)} {kind}: {_first(names)}" for kind, names in kinds.items() if names]
    if problems:
        raise unavailable(model, f"the weights of {model.name!r} do not fit; " + "; ".join(problems))


def unavailable(model: ModelSource, problem: str) -> UnavailableError:
    """Error that makes a metric absent."""
    return UnavailableError(Reason.MODEL_UNAVAILABLE, f"{model.id} did not load: {problem}")


def revision(network: nn.Module, dtype: torch.dtype) -> str:
    """Digest of the weights as loaded, with the number type if values are not computed in float32."""
    digest = compute.weights_revision(network)
    return digest if dtype is torch.float32 else f"{digest}-{str(dtype).removeprefix('torch.')}"


def _first(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
