"""What an evaluation and its items may say, and what is filled in where they say nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.common.errors import InvalidInputError
from services.common.profile import Defaults
from services.gateway.evaluations.model import EvaluationItem, EvaluationSettings, GenerationSettings, Prompts
from services.gateway.generation import MAX_IMAGES, MAX_SEED
from services.gateway.ports import MetricCatalog, MetricInfo, ModelInfo
from services.gateway.profiles.model import METRIC_PREFIX, PictureInput
from services.gateway.sessions import validation

MAX_LABEL_CHARACTERS = 200
MAX_PROMPTS = 16
MAX_OFFSET = 2**53
"""So that an offset is exact in every client's numbers."""

_NAME = re.compile(r"evaluations/([A-Za-z0-9_-]{1,64})")


@dataclass(frozen=True)
class SettingsInput:
    """Settings as asked for; empty or None means the default, no generation that no item has prompts."""

    metrics: tuple[str, ...] = ()
    generation: GenerationInput | None = None


@dataclass(frozen=True)
class GenerationInput:
    """How to make pictures, as asked for."""

    settings: GenerationSettings
    count: int | None = None


def evaluation_id(field: str, name: str) -> str:
    """Id in a resource name "evaluations/{evaluation}"."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise InvalidInputError(field, "is not the name of an evaluation", allowed="evaluations/{evaluation}")
    return match[1]


def evaluation_settings(
    asked: SettingsInput, defaults: Defaults, metrics: MetricCatalog, models: Sequence[ModelInfo]
) -> EvaluationSettings:
    """Settings with metrics, model and numbers filled in; `models` are needed only with generation.

    Raises:
        InvalidInputError: a value is not allowed.
        NotFoundError: METRIC_NOT_FOUND or MODEL_NOT_FOUND.
        UnavailableError: the scorer offers no default metric, or no generator model is loaded.
    """
    chosen = validation.metric_ids("settings.metrics", asked.metrics, metrics)
    chosen = chosen or validation.offered_defaults(defaults.metrics, metrics)
    if asked.generation is None:
        return EvaluationSettings(chosen)
    return EvaluationSettings(chosen, _generation(asked.generation, models))


def check_item(item: EvaluationItem, settings: EvaluationSettings, known: Mapping[str, MetricInfo]) -> None:
    """Raises InvalidInputError, blamed on a field of the item, for the first thing that keeps it from being scored.

    Args:
        item: The item.
        settings: Settings of its evaluation.
        known: Metrics of the deployment.
    """
    validation.text("item_id", item.item_id, most=MAX_LABEL_CHARACTERS)
    validation.text("group", item.group, most=MAX_LABEL_CHARACTERS, required=False)
    validation.text("system", item.system, most=MAX_LABEL_CHARACTERS, required=False)
    validation.text("text", item.text, required=False)
    made = isinstance(item.subject, Prompts)
    match item.subject:
        case None:
            raise InvalidInputError("subject", "is missing", allowed="image or prompts")
        case Prompts() as prompts:
            _check_prompts(prompts, settings)
        case PictureInput() as picture:
            _check_picture("image", picture)
    if item.target is not None:
        _check_picture("target", item.target)
    for name in settings.metrics:
        reads = known[name].input if name in known else "image-image" if name.startswith(METRIC_PREFIX) else ""
        if reads == "image-image" and item.target is None:
            raise InvalidInputError("target", f"metric {name} needs it", allowed="a picture")
        if reads == "text-image" and not item.text.strip() and not made:
            raise InvalidInputError("text", f"metric {name} needs it", allowed="a text that is not blank")


def _generation(asked: GenerationInput, models: Sequence[ModelInfo]) -> GenerationSettings:
    given = asked.settings
    model = validation.generator_model("settings.generation.model", given.model, models)
    count = 1 if asked.count is None else asked.count
    if not 1 <= count <= MAX_IMAGES:
        raise InvalidInputError("settings.generation.count", f"is {count}", allowed=f"1 to {MAX_IMAGES}")
    validation.text("settings.generation.negative_prompt", given.negative_prompt, required=False)
    validation.text("settings.generation.scheduler", given.scheduler, most=MAX_LABEL_CHARACTERS, required=False)
    return replace(given, model=model.id, count=count)


def _check_prompts(given: Prompts, settings: EvaluationSettings) -> None:
    if settings.generation is None:
        problem = "the evaluation makes no pictures"
        raise InvalidInputError("prompts", problem, allowed="an image, or settings with generation")
    if not 1 <= len(given.prompts) <= MAX_PROMPTS:
        raise InvalidInputError("prompts.prompts", f"has {len(given.prompts)} prompts", allowed=f"1 to {MAX_PROMPTS}")
    for index, prompt in enumerate(given.prompts):
        validation.text(f"prompts.prompts[{index}]", prompt)
    last = MAX_SEED - settings.generation.count + 1
    if given.seed is not None and given.seed > last:
        raise InvalidInputError("prompts.seed", f"is {given.seed}", allowed=f"0 to {last}")


def _check_picture(field: str, picture: PictureInput) -> None:
    if picture.data is None and not picture.content_hash:
        raise InvalidInputError(field, "is empty", allowed="data or content_hash")
    if picture.data is None:
        validation.content_hash(f"{field}.content_hash", picture.content_hash)
