"""What a request may say, and what is filled in where it says nothing."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.errors import InvalidInputError, NotFoundError, Reason, UnavailableError
from services.common.profile import Defaults
from services.gateway.domain import LoopSettings, SessionSettings
from services.gateway.loops.text import MAX_PROMPT_CHARACTERS
from services.gateway.ports import LoadState, MetricCatalog, ModelInfo, StrategyInfo
from services.gateway.profiles.ids import profile_id
from services.gateway.profiles.model import METRIC_PREFIX

MAX_DISPLAY_NAME_CHARACTERS = 200
MAX_METRICS = 32
MAX_ROUNDS = 100
MAX_CANDIDATES = 64
MAX_IMAGE_BUDGET = MAX_ROUNDS * MAX_CANDIDATES
MAX_SECONDS_BUDGET = 7 * 24 * 3600
MAX_GUIDANCE_SCALE = 50.0
DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 200

_NAME = re.compile(r"sessions/([A-Za-z0-9_-]{1,64})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SettingsInput:
    """Session settings as asked for; empty or None means the default."""

    metrics: tuple[str, ...] = ()
    selection_metrics: tuple[str, ...] = ()
    generator_model: str = ""
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    show_scores: bool = True


@dataclass(frozen=True)
class LoopInput:
    """Loop settings as asked for; empty or None means the default."""

    strategy: str = ""
    rounds: int | None = None
    candidates: int | None = None
    target_score: float | None = None
    plateau_rounds: int | None = None
    plateau_gain: float | None = None
    image_budget: int | None = None
    first_prompt: str = ""
    fresh_noise: bool = False
    seconds_budget: float | None = None


def session_id(name: str) -> str:
    """Id in a resource name "sessions/{session}"."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise InvalidInputError("name", "is not the name of a session", allowed="sessions/{session}")
    return match[1]


def request_id(value: str) -> str:
    """A caller's request id in its one normal spelling."""
    try:
        parsed = str(uuid.UUID(value))
    except ValueError:
        parsed = ""
    # uuid.UUID also takes braces, URNs and missing hyphens.
    if parsed != value.lower():
        raise InvalidInputError("request_id", "is not a UUID", allowed="a UUID with hyphens, or empty")
    return parsed


def content_hash(field: str, value: str) -> str:
    """A SHA-256 in lower-case hexadecimal."""
    if _SHA256.fullmatch(value) is None:
        raise InvalidInputError(field, "is not a content hash", allowed="64 lower-case hexadecimal digits")
    return value


def text(field: str, value: str, *, most: int = MAX_PROMPT_CHARACTERS, required: bool = True) -> str:
    """Text of 1 (or 0) to `most` characters, unchanged."""
    least = 1 if required else 0
    allowed = f"{least} to {most:,} characters"
    if required and not value.strip():
        raise InvalidInputError(field, "is empty", allowed=allowed)
    if len(value) > most:
        raise InvalidInputError(field, f"has {len(value):,} characters", allowed=allowed)
    if "\x00" in value:
        raise InvalidInputError(field, "contains a NUL character", allowed=f"{allowed} without NUL")
    return value


def image_count(value: int | None) -> int:
    """Pictures for a person's prompt."""
    return _whole("image_count", value, 1, MAX_CANDIDATES, default=1)


def page_size(value: int) -> int:
    """Entries on a page; more than the most are taken as the most."""
    if value < 0:
        raise InvalidInputError("page_size", f"is {value}", allowed=f"0 to {MAX_PAGE_SIZE}")
    return min(value or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def candidate_order(values: Sequence[str]) -> tuple[str, ...]:
    """Candidate ids of a ranking."""
    allowed = "at least two ids, none twice"
    if len(values) < 2:
        raise InvalidInputError("candidate_ids", f"has {len(values)} ids", allowed=allowed)
    if len(set(values)) < len(values):
        raise InvalidInputError("candidate_ids", "names a candidate twice", allowed=allowed)
    return tuple(values)


def session_settings(
    asked: SettingsInput,
    defaults: Defaults,
    metrics: MetricCatalog,
    models: Sequence[ModelInfo],
    *,
    at: str = "settings",
) -> SessionSettings:
    """Session settings with every default filled in; errors are blamed on fields of `at`.

    Default metrics that the scorer lacks (lpips-squeeze without weights) are left out. If metrics are named but no
    selection metrics, the profile's that are among them select; if none is, all of them do.

    Raises:
        InvalidInputError: a value is not allowed.
        NotFoundError: METRIC_NOT_FOUND or MODEL_NOT_FOUND.
        UnavailableError: the scorer offers no default metric, or no generator model is loaded.
    """
    chosen = metric_ids(f"{at}.metrics", asked.metrics, metrics) or offered_defaults(defaults.metrics, metrics)
    selection = metric_ids(f"{at}.selection_metrics", asked.selection_metrics, metrics)
    outside = next((one for one in selection if one not in chosen), None)
    if outside is not None:
        problem = f"{outside!r} is not among the metrics"
        raise InvalidInputError(f"{at}.selection_metrics", problem, allowed=", ".join(chosen))
    selection = selection or tuple(one for one in defaults.selection_metrics if one in chosen) or chosen
    model = generator_model(f"{at}.generator_model", asked.generator_model, models)
    limits = model.limits
    steps = asked.steps
    if steps is not None:
        steps = _whole(f"{at}.steps", steps, 1, limits.max_steps if limits else 1000)
    guidance = asked.guidance_scale
    if guidance is not None:
        guidance = _number(f"{at}.guidance_scale", guidance, 0.0, MAX_GUIDANCE_SCALE)
    return SessionSettings(
        metrics=chosen,
        selection_metrics=selection,
        generator_model=model.id,
        steps=steps if steps is not None or limits is None else limits.default_steps,
        guidance_scale=guidance if guidance is not None or limits is None else limits.default_guidance_scale,
        seed=asked.seed,
        show_scores=asked.show_scores,
    )


def loop_settings(
    asked: LoopInput, defaults: Defaults, strategies: Sequence[StrategyInfo], *, at: str = "settings"
) -> LoopSettings:
    """Loop settings with every default filled in; errors are blamed on fields of `at`.

    Raises:
        InvalidInputError: a value is not allowed.
        NotFoundError: STRATEGY_NOT_FOUND.
    """
    rounds = _whole(f"{at}.rounds", asked.rounds, 1, MAX_ROUNDS, default=defaults.rounds)
    candidates = _whole(f"{at}.candidates", asked.candidates, 1, MAX_CANDIDATES, default=defaults.candidates)
    budget = _whole(f"{at}.image_budget", asked.image_budget, 1, MAX_IMAGE_BUDGET, default=rounds * candidates)
    target = asked.target_score
    if target is not None and not 0.0 < target <= 1.0:
        raise InvalidInputError(f"{at}.target_score", f"is {target}", allowed="above 0 and at most 1")
    seconds = asked.seconds_budget
    if seconds is not None and not 0.0 < seconds <= MAX_SECONDS_BUDGET:
        allowed = f"above 0 and at most {MAX_SECONDS_BUDGET:,}"
        raise InvalidInputError(f"{at}.seconds_budget", f"is {seconds}", allowed=allowed)
    plateau = asked.plateau_rounds
    if plateau is not None:
        plateau = _whole(f"{at}.plateau_rounds", plateau, 1, MAX_ROUNDS)
    gain = LoopSettings.plateau_gain if asked.plateau_gain is None else asked.plateau_gain
    first_prompt = text(f"{at}.first_prompt", asked.first_prompt, required=False)
    known = [one.id for one in strategies]
    strategy = asked.strategy or defaults.strategy
    if strategy not in known:
        raise NotFoundError(Reason.STRATEGY_NOT_FOUND, "strategy", strategy, field=f"{at}.strategy", known=known)
    return LoopSettings(
        strategy=strategy,
        rounds=rounds,
        candidates=candidates,
        image_budget=budget,
        target_score=target,
        plateau_rounds=plateau,
        plateau_gain=_number(f"{at}.plateau_gain", gain, 0.0, 1.0),
        first_prompt=first_prompt if first_prompt.strip() else "",
        fresh_noise=asked.fresh_noise,
        seconds_budget=seconds,
    )


def metric_ids(field: str, asked: Sequence[str], known: MetricCatalog) -> tuple[str, ...]:
    """Metrics, each known and named once; of a personal one only the id is checked.

    Raises:
        InvalidInputError: a profile cannot be called so, a metric comes twice, or there are too many.
        NotFoundError: METRIC_NOT_FOUND.
    """
    if len(asked) > MAX_METRICS:
        raise InvalidInputError(field, f"has {len(asked)} metrics", allowed=f"1 to {MAX_METRICS}")
    if len(set(asked)) < len(asked):
        raise InvalidInputError(field, "names a metric twice", allowed="each metric once")
    for one in asked:
        if one.startswith(METRIC_PREFIX):
            # Whether the profile exists is asked of the store, together with writing the session.
            profile_id(field, one.removeprefix(METRIC_PREFIX))
        else:
            known.find(one, field=field)
    return tuple(asked)


def offered_defaults(defaults: Sequence[str], known: MetricCatalog) -> tuple[str, ...]:
    """Those of the default metrics that the scorer has. Raises UnavailableError (MODEL_UNAVAILABLE) without any."""
    offered = tuple(one for one in defaults if one in known.offered)
    if not offered:
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, "the scorer offers none of the profile's default metrics")
    return offered


def generator_model(field: str, asked: str, models: Sequence[ModelInfo]) -> ModelInfo:
    """A generator model that can be used, the default if none is asked for.

    Raises:
        NotFoundError: MODEL_NOT_FOUND.
        UnavailableError: MODEL_UNAVAILABLE.
    """
    usable = [one for one in models if one.load_state is not LoadState.FAILED]
    if not usable:
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, "no generator model is loaded")
    if not asked:
        return usable[0]
    for one in models:
        if one.id == asked and one not in usable:
            raise UnavailableError(Reason.MODEL_UNAVAILABLE, one.load_problem, field=field)
        if one.id == asked:
            return one
    known = [one.id for one in models]
    raise NotFoundError(Reason.MODEL_NOT_FOUND, "model", asked, field=field, known=known)


def _whole(field: str, value: int | None, least: int, most: int, *, default: int = 0) -> int:
    if value is None:
        return default
    if not least <= value <= most:
        raise InvalidInputError(field, f"is {value}", allowed=f"{least} to {most:,}")
    return value


def _number(field: str, value: float, least: float, most: float) -> float:
    if not math.isfinite(value) or not least <= value <= most:
        raise InvalidInputError(field, f"is {value}", allowed=f"{least:g} to {most:g}")
    return value
