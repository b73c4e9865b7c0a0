"""Checks a request against a model and fills the defaults in. What a model cannot do is an error, never ignored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.generator.domain import (
    AdapterCard,
    EngineItem,
    GenerationLimits,
    GenerationRecord,
    ItemRequest,
    ModelCard,
    NoisePart,
    Urgency,
)

MAX_ITEMS = 64
MAX_PROMPT_CHARACTERS = 2000
MAX_REQUEST_ID_CHARACTERS = 64
MAX_GUIDANCE_SCALE = 50.0
MAX_SEED = 2**64 - 1
MAX_NOISE_PARTS = 64
MIN_NOISE_WEIGHT, MAX_NOISE_WEIGHT = 1e-6, 1e6
MAX_NOISE_GRID_SIDE = 16
MAX_ADAPTER_SCALE = 4.0


def check_request(request_id: str, items: Sequence[ItemRequest], urgency: Urgency) -> None:
    """Checks what does not depend on the model.

    Raises:
        InvalidInputError: names the field and the allowed values.
    """
    if not 1 <= len(request_id) <= MAX_REQUEST_ID_CHARACTERS:
        problem = f"has {len(request_id)} characters"
        raise InvalidInputError("request_id", problem, allowed=f"1 to {MAX_REQUEST_ID_CHARACTERS} characters")
    limit = urgency.time_limit_seconds
    if limit is not None and limit <= 0:
        raise InvalidInputError("time_limit", f"is {limit:g} s", allowed="unset, or above 0 s")
    if not 1 <= len(items) <= MAX_ITEMS:
        raise InvalidInputError("items", f"has {len(items)} entries", allowed=f"1 to {MAX_ITEMS}")
    seen: set[str] = set()
    for index, item in enumerate(items):
        if not item.item_id:
            raise InvalidInputError(f"items[{index}].item_id", "is empty", allowed="any text, unique in the request")
        if item.item_id in seen:
            raise InvalidInputError(f"items[{index}].item_id", "comes twice", allowed="any text, unique in the request")
        seen.add(item.item_id)


def resolve(items: Sequence[ItemRequest], card: ModelCard, is_truncated: Callable[[str], bool]) -> list[EngineItem]:
    """Items as the engine takes them.

    Args:
        items: What was asked for.
        card: Model that will make them.
        is_truncated: Whether the model's text encoder leaves out the end of a prompt.

    Raises:
        InvalidInputError: names the field and the model's allowed values.
    """
    return [_resolve_item(item, card, is_truncated, f"items[{index}]") for index, item in enumerate(items)]


def _resolve_item(item: ItemRequest, card: ModelCard, is_truncated: Callable[[str], bool], at: str) -> EngineItem:
    limits = card.limits
    _check_prompt(item, limits, at)
    if not 0 <= item.seed <= MAX_SEED:
        raise InvalidInputError(f"{at}.seed", f"is {item.seed}", allowed=f"0 to {MAX_SEED}")
    steps = limits.default_steps if item.steps is None else item.steps
    if not 1 <= steps <= limits.max_steps:
        raise InvalidInputError(f"{at}.steps", f"is {steps}", allowed=f"1 to {limits.max_steps}")
    if not 0 <= item.preview_interval_steps <= limits.max_steps:
        problem, allowed = f"is {item.preview_interval_steps}", f"0 for no previews, or 1 to {limits.max_steps}"
        raise InvalidInputError(f"{at}.preview_interval_steps", problem, allowed=allowed)
    scheduler = item.scheduler or limits.schedulers[0]
    if scheduler not in limits.schedulers:
        problem = f"is {scheduler[:80]!r}"
        raise InvalidInputError(f"{at}.scheduler", problem, allowed=", ".join(limits.schedulers))
    adapter, adapter_scale = _adapter(item, card, at)
    record = GenerationRecord(
        prompt=item.prompt,
        negative_prompt=item.negative_prompt,
        seed=item.seed,
        steps=steps,
        guidance_scale=_guidance_scale(item, limits, at),
        scheduler=scheduler,
        width_pixels=_side(item.width_pixels, limits.width_pixels, limits, f"{at}.width_pixels"),
        height_pixels=_side(item.height_pixels, limits.height_pixels, limits, f"{at}.height_pixels"),
        model=card.id,
        model_revision=card.revision,
        noise_mix=_noise_mix(item, limits, f"{at}.noise_mix"),
        deterministic=item.deterministic,
        strength=_strength(item, limits, steps, at),
        second_strength=_second_strength(item, steps, at),
        adapter=adapter.id,
        adapter_scale=adapter_scale,
        adapter_revision=adapter.revision,
    )
    return EngineItem(
        item.item_id,
        record,
        prompt_truncated=is_truncated(item.prompt),
        preview_interval_steps=item.preview_interval_steps,
    )


def _check_prompt(item: ItemRequest, limits: GenerationLimits, at: str) -> None:
    allowed = f"1 to {MAX_PROMPT_CHARACTERS} characters, not only white space"
    if not item.prompt.strip():
        raise InvalidInputError(f"{at}.prompt", "is empty", allowed=allowed)
    if len(item.prompt) > MAX_PROMPT_CHARACTERS:
        raise InvalidInputError(f"{at}.prompt", f"has {len(item.prompt)} characters", allowed=allowed)
    if item.negative_prompt and not limits.takes_negative_prompt:
        raise InvalidInputError(f"{at}.negative_prompt", "is not read by this model", allowed="empty")
    if len(item.negative_prompt) > MAX_PROMPT_CHARACTERS:
        problem, allowed = f"has {len(item.negative_prompt)} characters", f"at most {MAX_PROMPT_CHARACTERS} characters"
        raise InvalidInputError(f"{at}.negative_prompt", problem, allowed=allowed)


def _guidance_scale(item: ItemRequest, limits: GenerationLimits, at: str) -> float:
    default = limits.default_guidance_scale
    scale = default if item.guidance_scale is None else item.guidance_scale
    if not limits.takes_guidance_scale and scale != default:
        problem = f"is {scale:g}, and nothing guides this model"
        raise InvalidInputError(f"{at}.guidance_scale", problem, allowed=f"unset, or {default:g}")
    if not math.isfinite(scale) or not 0 <= scale <= MAX_GUIDANCE_SCALE:
        raise InvalidInputError(f"{at}.guidance_scale", f"is {scale:g}", allowed=f"0 to {MAX_GUIDANCE_SCALE:g}")
    if item.negative_prompt and scale <= 1:
        # Pipelines guide only above 1, and only guidance reads the negative prompt.
        problem = f"has no effect at guidance scale {scale:g}"
        raise InvalidInputError(f"{at}.negative_prompt", problem, allowed="empty, or a guidance scale above 1")
    return scale


def _noise_mix(item: ItemRequest, limits: GenerationLimits, field: str) -> tuple[NoisePart, ...]:
    parts = item.noise_mix
    if parts and not limits.mixes_noise:
        raise InvalidInputError(field, "is not taken by this model", allowed="empty")
    if len(parts) > MAX_NOISE_PARTS:
        raise InvalidInputError(field, f"has {len(parts)} entries", allowed=f"at most {MAX_NOISE_PARTS}")
    seen: set[int] = set()
    for index, part in enumerate(parts):
        if not 0 <= part.seed <= MAX_SEED or part.seed in seen:
            allowed = f"0 to {MAX_SEED}, each seed once"
            raise InvalidInputError(f"{field}[{index}].seed", f"is {part.seed}", allowed=allowed)
        if not math.isfinite(part.weight) or not MIN_NOISE_WEIGHT <= abs(part.weight) <= MAX_NOISE_WEIGHT:
            allowed = f"{MIN_NOISE_WEIGHT:g} to {MAX_NOISE_WEIGHT:g}, positive or negative"
            raise InvalidInputError(f"{field}[{index}].weight", f"is {part.weight:g}", allowed=allowed)
        seen.add(part.seed)
        _check_cells(part.cells, f"{field}[{index}].cells")
    grids = {len(part.cells) for part in parts if part.cells}
    if len(grids) > 1:
        problem = f"has grids of {' and '.join(str(size) for size in sorted(grids))} cells"
        raise InvalidInputError(field, problem, allowed="one grid for all parts that have cells")
    if not all(_weigh_something(parts, cell) for cell in range(max(grids, default=1))):
        raise InvalidInputError(field, "leaves a cell without noise", allowed="some weight in every cell")
    return parts


def _check_cells(cells: tuple[float, ...], field: str) -> None:
    side = math.isqrt(len(cells))
    if side**2 != len(cells) or side > MAX_NOISE_GRID_SIDE:
        allowed = f"a square number up to {MAX_NOISE_GRID_SIDE**2}"
        raise InvalidInputError(field, f"has {len(cells)} values", allowed=allowed)
    for cell in cells:
        if not math.isfinite(cell) or abs(cell) > MAX_NOISE_WEIGHT:
            raise InvalidInputError(field, f"has {cell:g}", allowed=f"-{MAX_NOISE_WEIGHT:g} to {MAX_NOISE_WEIGHT:g}")


def _weigh_something(parts: tuple[NoisePart, ...], cell: int) -> bool:
    return not parts or any(
        abs(part.weight * (part.cells[cell] if part.cells else 1.0)) >= MIN_NOISE_WEIGHT for part in parts
    )


def _adapter(item: ItemRequest, card: ModelCard, at: str) -> tuple[AdapterCard, float]:
    """The adapter and its scale; a nameless one if the item asks for none."""
    if not item.adapter:
        if item.adapter_scale is not None:
            raise InvalidInputError(f"{at}.adapter_scale", "has no adapter to scale", allowed="unset, or an adapter")
        return AdapterCard("", "", ""), 0.0
    known = {adapter.id: adapter for adapter in card.adapters}
    if item.adapter not in known:
        allowed = ", ".join(["empty", *known])
        raise InvalidInputError(f"{at}.adapter", f"is {item.adapter[:80]!r}", allowed=allowed)
    adapter = known[item.adapter]
    if adapter.absent_reason:
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, adapter.absent_reason, field=f"{at}.adapter")
    scale = 1.0 if item.adapter_scale is None else item.adapter_scale
    if not -MAX_ADAPTER_SCALE <= scale <= MAX_ADAPTER_SCALE:
        allowed = f"-{MAX_ADAPTER_SCALE:g} to {MAX_ADAPTER_SCALE:g}"
        raise InvalidInputError(f"{at}.adapter_scale", f"is {scale:g}", allowed=allowed)
    return adapter, scale


def _strength(item: ItemRequest, limits: GenerationLimits, steps: int, at: str) -> float:
    field, strength = f"{at}.strength", item.strength
    if item.initial_image is None:
        if item.mask is not None:
            raise InvalidInputError(f"{at}.mask", "is given without an initial image", allowed="unset, or an image too")
        if strength is not None:
            raise InvalidInputError(field, "is given without an initial image", allowed="unset, or an image too")
        return 0.0
    if not limits.takes_initial_image:
        raise InvalidInputError(f"{at}.initial_image", "is not taken by this model", allowed="unset")
    if strength is None:
        raise InvalidInputError(field, "is unset", allowed="above 0, up to 1, with an initial image")
    _check_part(strength, steps, field)
    return strength


def _second_strength(item: ItemRequest, steps: int, at: str) -> float:
    field, strength = f"{at}.second_strength", item.second_strength
    if strength is None:
        return 0.0
    if item.initial_image is None:
        raise InvalidInputError(field, "is given without an initial image", allowed="unset, or an image too")
    if item.mask is not None:
        raise InvalidInputError(field, "is given with a mask", allowed="unset, or no mask")
    _check_part(strength, steps, field)
    return strength


def _check_part(strength: float, steps: int, field: str) -> None:
    if not 0 < strength <= 1:
        raise InvalidInputError(field, f"is {strength:g}", allowed="above 0, up to 1")
    if int(steps * strength) < 1:
        raise InvalidInputError(field, f"is {strength:g}, which leaves no step of {steps}", allowed=f"1/{steps} to 1")


def _side(asked: int | None, native: int, limits: GenerationLimits, field: str) -> int:
    side = native if asked is None else asked
    multiple, largest = limits.size_multiple_pixels, limits.max_side_pixels
    if side % multiple or not multiple <= side <= largest:
        raise InvalidInputError(field, f"is {side}", allowed=f"multiples of {multiple} from {multiple} to {largest}")
    return side
