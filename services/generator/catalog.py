"""The generator models of a deployment: what is known of each, whether it is loaded, and why it is not."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from services.common.errors import InvalidInputError, LikenessError, NotFoundError, Reason, UnavailableError
from services.common.profile import GeneratorModel, Profile, public_source
from services.common.settings import MEBIBYTE, Settings
from services.common.telemetry import get_logger
from services.generator import metrics
from services.generator.batch_memory import meter_of
from services.generator.domain import LoadState, ModelStatus
from services.generator.engine.measuring import measured
from services.generator.engine.warm_up import warm_up
from services.generator.pipelines import KnownModel, LoadedModel, load_model, mebibytes, pick_device, place, read_model

log = get_logger(__name__)

BUDGET = "LIKENESS_GENERATOR_MEMORY_MIB"


@dataclass(frozen=True)
class Memory:
    """How much there is for parameters of models, and how a model that is not there is loaded."""

    budget_bytes: int
    load: Callable[[GeneratorModel], LoadedModel]


class Catalog:
    """Models by id. One that cannot be loaded leaves the others usable; asking for it says why.

    Any thread may ask; only `residency.py` says that a model's state has changed.
    """

    def __init__(
        self,
        models: Sequence[GeneratorModel],
        known: Mapping[str, KnownModel],
        problems: Mapping[str, UnavailableError],
        loaded: Sequence[str],
    ) -> None:
        """Takes the models of a profile, the default first.

        Args:
            models: All of them.
            known: What is known of those that could be loaded.
            problems: Why the others could not.
            loaded: Ids of those that are loaded now.
        """
        self._models = {model.id: model for model in models}
        self._known = dict(known)
        self._problems = dict(problems)
        self._states: dict[str, tuple[LoadState, str]] = {}
        for model_id in self._models:
            if model_id in problems:
                self.note(model_id, LoadState.FAILED, problems[model_id].message)
            else:
                self.note(model_id, LoadState.LOADED if model_id in loaded else LoadState.NOT_LOADED)

    @property
    def loaded(self) -> list[str]:
        """Ids of the models that are loaded."""
        return [model_id for model_id, (state, _) in self._states.items() if state is LoadState.LOADED]

    def get(self, model_id: str) -> KnownModel:
        """What is known of a model, or of the profile's default for an empty id; it may have to be loaded first.

        Raises:
            NotFoundError: MODEL_NOT_FOUND, with the known ids.
            UnavailableError: MODEL_UNAVAILABLE, with what was looked for and what to do.
        """
        model_id = model_id or next(iter(self._models))
        if model_id not in self._models:
            raise NotFoundError(Reason.MODEL_NOT_FOUND, "generator model", model_id, field="model", known=self._models)
        if model_id in self._problems:
            problem = self._problems[model_id]
            raise UnavailableError(problem.reason, problem.message)
        return self._known[model_id]

    def model(self, model_id: str) -> GeneratorModel:
        """What the profile says of a model."""
        return self._models[model_id]

    def note(self, model_id: str, state: LoadState, problem: str = "") -> None:
        """Notes the state of a model, and why it could not be loaded."""
        self._states[model_id] = state, problem
        held = self._known[model_id].size_bytes if state is LoadState.LOADED else 0
        metrics.MODEL_BYTES.labels(model_id).set(held)

    def statuses(self) -> list[ModelStatus]:
        """All models, the default first.

        Raises:
            UnavailableError: none can be used.
        """
        if not self._known:
            self.get("")
        return [self._status(model) for model in self._models.values()]

    def _status(self, model: GeneratorModel) -> ModelStatus:
        state, problem = self._states[model.id]
        known = self._known.get(model.id)
        return ModelStatus(
            id=model.id,
            source=public_source(model.source),
            embedded=model.embedded,
            license=model.license,
            state=state,
            problem=problem,
            size_bytes=known.size_bytes if known else 0,
            card=known.card if known else None,
        )


@dataclass(frozen=True)
class StartedModels:
    """A catalog, and the models of it that are loaded."""

    catalog: Catalog
    loaded: Mapping[str, LoadedModel]
    memory: Memory | None


def load_catalog(profile: Profile, settings: Settings) -> StartedModels:
    """Loads every generator model of a profile and makes a first picture with each that stays.

    Under a memory budget the models stay for which there is room, the default first. The others are read and measured
    in the host's memory and dropped again.

    Raises:
        InvalidInputError: a model is larger than the whole budget; names the setting and the sizes.
    """
    budget = None if settings.generator_memory_mib is None else settings.generator_memory_mib * MEBIBYTE
    loaded: dict[str, LoadedModel] = {}
    known: dict[str, KnownModel] = {}
    problems: dict[str, UnavailableError] = {}
    for model in profile.generators:
        try:
            read = read_model(model, settings)
            fits = budget is None or sum(one.size_bytes for one in loaded.values()) + read.size_bytes <= budget
            candidate = place(read, pick_device(settings.device) if fits else torch.device("cpu"))
            if fits:
                warm_up(candidate)
                loaded[model.id] = candidate = measured(candidate, meter_of(candidate.device))
            known[model.id] = candidate.known
            del read, candidate
        except UnavailableError as error:
            # Not the error itself: its traceback would keep what was loaded of the model.
            problems[model.id] = UnavailableError(error.reason, error.message)
        except Exception as error:  # whatever a pipeline may raise; the other models must stay usable
            log.exception("warm_up_failed", model=model.id)
            problems[model.id] = _warm_up_failed(model, error)
        if len(loaded) < len(known):
            release_memory()
    memory = None
    if budget is not None:
        _check_sizes(known, budget)
        memory = Memory(budget, lambda model: load_again(model, settings))
    return StartedModels(Catalog(profile.generators, known, problems, [*loaded]), loaded, memory)


def load_again(model: GeneratorModel, settings: Settings) -> LoadedModel:
    """Loads a model and makes a first picture with it.

    Raises:
        UnavailableError: MODEL_UNAVAILABLE, with what is wrong and what to do.
    """
    loaded = load_model(model, settings)
    try:
        warm_up(loaded)
        return measured(loaded, meter_of(loaded.device))
    except Exception as error:  # whatever a pipeline may raise
        log.exception("warm_up_failed", model=model.id)
        raise _warm_up_failed(model, error) from error


def release_memory() -> None:
    """Gives memory back that was a model's: pipelines are full of references to themselves."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _warm_up_failed(model: GeneratorModel, error: Exception) -> UnavailableError:
    why = error.message if isinstance(error, LikenessError) else "the server's log says why"
    message = f"generator model {model.id!r}: its first picture failed; {why}"
    return UnavailableError(Reason.MODEL_UNAVAILABLE, message)


def _check_sizes(known: Mapping[str, KnownModel], budget: int) -> None:
    too_large = {model_id: model.size_bytes for model_id, model in known.items() if model.size_bytes > budget}
    if not too_large:
        return
    sizes = ", ".join(f"{model_id!r} takes {mebibytes(size)}" for model_id, size in too_large.items())
    least = -(-max(too_large.values()) // MEBIBYTE)
    raise InvalidInputError(
        BUDGET, f"is {budget // MEBIBYTE}, too little for the profile's models: {sizes}", allowed=f"at least {least}"
    )
