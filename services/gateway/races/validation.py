"""What a request for a race may say, and what is filled in where it says nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.errors import InvalidInputError
from services.common.profile import Defaults
from services.gateway.domain import ImageInfo
from services.gateway.ports import MetricCatalog, ModelInfo, StrategyInfo
from services.gateway.profiles.model import PictureInput
from services.gateway.races.model import Entrant
from services.gateway.sessions import validation
from services.gateway.sessions.validation import LoopInput, SettingsInput

MAX_TARGETS = 256
MIN_ENTRANTS = 2
MAX_ENTRANTS = 16
MAX_SESSIONS = 1024
MAX_ENTRANT_NAME_CHARACTERS = 64

_NAME = re.compile(r"races/([A-Za-z0-9_-]{1,64})")


@dataclass(frozen=True)
class TargetInput:
    """A target as asked for; None if its picture is missing."""

    picture: PictureInput | None
    display_name: str = ""


@dataclass(frozen=True)
class EntrantInput:
    """An entrant as asked for; empty or None means the default."""

    display_name: str
    loop: LoopInput
    selection_metrics: tuple[str, ...] = ()
    generator_model: str = ""
    steps: int | None = None
    guidance_scale: float | None = None


@dataclass(frozen=True)
class RaceInput:
    """A race as asked for."""

    targets: tuple[TargetInput, ...]
    entrants: tuple[EntrantInput, ...]
    metrics: tuple[str, ...] = ()
    seed: int = 0
    display_name: str = ""


@dataclass(frozen=True)
class Known:
    """What the deployment offers."""

    metrics: MetricCatalog
    models: Sequence[ModelInfo]
    strategies: Sequence[StrategyInfo]


def race_id(name: str) -> str:
    """Id in a resource name "races/{race}"."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise InvalidInputError("name", "is not the name of a race", allowed="races/{race}")
    return match[1]


def shape(asked: RaceInput) -> None:
    """Checks counts, names and that every target has a picture.

    Raises:
        InvalidInputError: one of them is not allowed.
    """
    most = validation.MAX_DISPLAY_NAME_CHARACTERS
    validation.text("display_name", asked.display_name, most=most, required=False)
    _count("targets", asked.targets, 1, MAX_TARGETS)
    _count("entrants", asked.entrants, MIN_ENTRANTS, MAX_ENTRANTS)
    sessions = len(asked.targets) * len(asked.entrants)
    if sessions > MAX_SESSIONS:
        problem = f"with {len(asked.entrants)} entrants are {sessions:,} sessions"
        raise InvalidInputError("targets", problem, allowed=f"targets x entrants up to {MAX_SESSIONS:,}")
    for index, target in enumerate(asked.targets):
        validation.text(f"targets[{index}].display_name", target.display_name, most=most, required=False)
        if target.picture is None:
            raise InvalidInputError(f"targets[{index}].image", "is missing", allowed="data or content_hash")
        if target.picture.data is None:
            validation.content_hash(f"targets[{index}].image.content_hash", target.picture.content_hash)
    seen: set[str] = set()
    for index, entrant in enumerate(asked.entrants):
        field = f"entrants[{index}].display_name"
        name = validation.text(field, entrant.display_name, most=MAX_ENTRANT_NAME_CHARACTERS)
        if name in seen:
            raise InvalidInputError(field, f"{name!r} comes twice", allowed="a name of its own for each entrant")
        seen.add(name)


def distinct(targets: Sequence[ImageInfo]) -> None:
    """Checks that no picture comes twice: each target counts once.

    Raises:
        InvalidInputError: two targets have the same pixels.
    """
    first: dict[str, int] = {}
    for index, target in enumerate(targets):
        before = first.setdefault(target.pixel_hash, index)
        if before != index:
            problem = f"is the picture of targets[{before}]"
            raise InvalidInputError(f"targets[{index}].image", problem, allowed="each picture once")


def judges(asked: Sequence[str], defaults: Defaults, known: Known) -> tuple[str, ...]:
    """Metrics that judge every entrant.

    Raises:
        InvalidInputError: a metric is not allowed.
        NotFoundError: METRIC_NOT_FOUND.
        UnavailableError: the scorer offers no default metric.
    """
    chosen = validation.metric_ids("metrics", asked, known.metrics)
    return chosen or validation.offered_defaults(defaults.metrics, known.metrics)


def entrant(index: int, asked: EntrantInput, metrics: tuple[str, ...], defaults: Defaults, known: Known) -> Entrant:
    """An entrant with every default filled in. Its pictures get the race's metrics and those that it selects by.

    Raises:
        InvalidInputError: a value is not allowed.
        NotFoundError: METRIC_NOT_FOUND, MODEL_NOT_FOUND or STRATEGY_NOT_FOUND.
        UnavailableError: no generator model is loaded.
    """
    at = f"entrants[{index}]"
    selection = validation.metric_ids(f"{at}.selection_metrics", asked.selection_metrics, known.metrics)
    together = tuple(dict.fromkeys((*metrics, *selection)))
    if len(together) > validation.MAX_METRICS:
        problem = f"are {len(together)} together with the race's metrics"
        raise InvalidInputError(f"{at}.selection_metrics", problem, allowed=f"up to {validation.MAX_METRICS}")
    session = SettingsInput(
        metrics=together,
        selection_metrics=selection,
        generator_model=asked.generator_model,
        steps=asked.steps,
        guidance_scale=asked.guidance_scale,
    )
    settings = validation.session_settings(session, defaults, known.metrics, known.models, at=at)
    loop = validation.loop_settings(asked.loop, defaults, known.strategies, at=f"{at}.loop")
    return Entrant(asked.display_name, settings, loop)


def _count(field: str, values: Sequence[object], least: int, most: int) -> None:
    if not least <= len(values) <= most:
        raise InvalidInputError(field, f"are {len(values):,}", allowed=f"{least} to {most}")
