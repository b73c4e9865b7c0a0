"""The generator models of a deployment: loaded ones, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.common.errors import LikenessError, NotFoundError, Reason, UnavailableError
from services.common.profile import Profile
from services.common.settings import Settings
from services.common.telemetry import get_logger
from services.generator.domain import ModelCard
from services.generator.engine.warm_up import warm_up
from services.generator.pipelines import LoadedModel, load_model

log = get_logger(__name__)


class Catalog:
    """Models by id. One that cannot be loaded leaves the others usable; asking for it says why."""

    def __init__(self, ids: Sequence[str], loaded: Mapping[str, LoadedModel], problems: Mapping[str, UnavailableError]):
        self._ids = tuple(ids)
        self._loaded = dict(loaded)
        self._problems = dict(problems)

    @property
    def loaded(self) -> dict[str, LoadedModel]:
        """Loaded models by id."""
        return dict(self._loaded)

    def get(self, model_id: str) -> LoadedModel:
        """A model, or the profile's default for an empty id.

        Raises:
            NotFoundError: MODEL_NOT_FOUND, with the known ids.
            UnavailableError: MODEL_UNAVAILABLE, with what was looked for and what to do.
        """
        model_id = model_id or self._ids[0]
        if model_id not in self._ids:
            raise NotFoundError(Reason.MODEL_NOT_FOUND, "generator model", model_id, field="model", known=self._ids)
        if model_id in self._problems:
            problem = self._problems[model_id]
            raise UnavailableError(problem.reason, problem.message)
        return self._loaded[model_id]

    def cards(self) -> list[ModelCard]:
        """Cards of the loaded models, the default first.

        Raises:
            UnavailableError: no model is loaded.
        """
        if not self._loaded:
            self.get(self._ids[0])
        return [self._loaded[model_id].card for model_id in self._ids if model_id in self._loaded]


def load_catalog(profile: Profile, settings: Settings) -> Catalog:
    """Loads every generator model of a profile and makes a first picture with each."""
    loaded: dict[str, LoadedModel] = {}
    problems: dict[str, UnavailableError] = {}
    for model in profile.generators:
        try:
            candidate = load_model(model, settings)
            warm_up(candidate)
            loaded[model.id] = candidate
        except UnavailableError as error:
            problems[model.id] = error
        except Exception as error:  # whatever a pipeline may raise; the other models must stay usable
            log.exception("warm_up_failed", model=model.id)
            why = error.message if isinstance(error, LikenessError) else "the server's log says why"
            message = f"generator model {model.id!r}: its first picture failed; {why}"
            problems[model.id] = UnavailableError(Reason.MODEL_UNAVAILABLE, message)
    return Catalog([model.id for model in profile.generators], loaded, problems)
