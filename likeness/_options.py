"""Keyword arguments of the calls that create sessions, run loops and make pictures. The server fills in the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from likeness._types import ImageSource, ManifestFormat, Priority


class SessionOptions(TypedDict, total=False):
    """How the candidates of a session are made and scored.

    Attributes:
        metrics: Metrics to compute, 1 to 32.
        selection_metrics: Metrics whose mean normalized value is the loop score; a subset of `metrics`.
        generator_model: Model that makes the pictures.
        steps: Denoising steps.
        guidance_scale: Guidance scale.
        seed: Seed from which every seed of the session is derived, 0 to 2^64 - 1.
        show_scores: False hides scores from the person; they are computed all the same.
        display_name: Text to find the session again by, at most 200 characters.
    """

    metrics: Sequence[str]
    selection_metrics: Sequence[str]
    generator_model: str
    steps: int | None
    guidance_scale: float | None
    seed: int
    show_scores: bool
    display_name: str


class LoopOptions(TypedDict, total=False):
    """How an automatic loop runs.

    Attributes:
        strategy: Who writes the prompts, such as "repainter".
        rounds: 1 to 100; 4 if left out.
        candidates: Pictures a round, 1 to 64; 4 if left out.
        target_score: Loop score at which to stop, above 0 and at most 1; never if left out.
        plateau_rounds: Rounds without gain after which to stop; never if left out.
        plateau_gain: Smallest gain of the loop score that counts; 0.001 if left out.
        image_budget: Most pictures to make; rounds x candidates if left out.
        first_prompt: Prompt to begin with instead of the strategy's own.
        fresh_noise: True starts every picture from a fresh seed's noise; otherwise the noises of good pictures are
            recombined from the second round on.
        seconds_budget: Seconds of running after which no further round begins, up to a week; never if left out.
    """

    strategy: str
    rounds: int | None
    candidates: int | None
    target_score: float | None
    plateau_rounds: int | None
    plateau_gain: float | None
    image_budget: int | None
    first_prompt: str
    fresh_noise: bool
    seconds_budget: float | None


class EntrantOptions(LoopOptions, total=False):
    """Who races: how its loops run, and how it makes and selects pictures.

    Attributes:
        selection_metrics: Metrics whose mean normalized value selects its best pictures; they need not be among the
            race's metrics. Those of the race if left out.
        generator_model: Model that makes the pictures.
        steps: Denoising steps.
        guidance_scale: Guidance scale.
    """

    selection_metrics: Sequence[str]
    generator_model: str
    steps: int | None
    guidance_scale: float | None


class GenerationOptions(TypedDict, total=False):
    """How pictures are made from a prompt.

    Attributes:
        count: Pictures to make, 1 to 16; 1 if left out.
        seed: Seed of the first picture, 0 to 2^64 - count; each further one has the next. Drawn if left out.
        negative_prompt: What the pictures should not show.
        steps: Denoising steps.
        guidance_scale: Guidance scale, 0 to 50.
        width_pixels: A multiple of what the model's limits say.
        height_pixels: As the width.
        scheduler: One of the model's.
        model: Generator model.
        keep: True stores the pictures for good, so that other calls can name them by content hash.
        initial_image: Picture to start from, brought to the asked size; needs `strength`.
        strength: How much of the initial image is made anew, above 0, up to 1.
        mask: Where the initial image is made anew: white is made anew, black stays, grey between.
        second_strength: Noises the finished picture again to this part of the steps and denoises it a second time; only
            with an initial image and without a mask.
        adapter: One of the model's adapters.
        adapter_scale: How much of the adapter, -4 to 4; 1 if left out.
        preview_every: Sends a preview after every so many denoising steps; each costs a decode.
        deterministic: True gives the same pixels to the bit for the same request, and takes longer.
        priority: Which waiting pictures begin first; INTERACTIVE if left out.
    """

    count: int | None
    seed: int | None
    negative_prompt: str
    steps: int | None
    guidance_scale: float | None
    width_pixels: int | None
    height_pixels: int | None
    scheduler: str
    model: str
    keep: bool
    initial_image: ImageSource | None
    strength: float | None
    mask: ImageSource | None
    second_strength: float | None
    adapter: str
    adapter_scale: float | None
    preview_every: int
    deterministic: bool
    priority: Priority


class StreamEvaluationOptions(TypedDict, total=False):
    """How the items of an evaluation are made and scored.

    Attributes:
        metrics: Metrics to compute, 1 to 32; the deployment's default list if left out.
        images: Pictures a prompt, 1 to 16; leave it out where no item has prompts. What follows needs it.
        model: Generator model.
        seed: Seed from which the seeds of items without their own are derived.
        steps: Denoising steps.
        guidance_scale: Guidance scale, 0 to 50.
        width_pixels: A multiple of what the model's limits say.
        height_pixels: As the width.
        scheduler: One of the model's.
        negative_prompt: What the pictures should not show.
        keep: True stores the pictures for good.
        display_name: Text to find the evaluation again by, at most 200 characters.
    """

    metrics: Sequence[str]
    images: int
    model: str
    seed: int | None
    steps: int | None
    guidance_scale: float | None
    width_pixels: int | None
    height_pixels: int | None
    scheduler: str
    negative_prompt: str
    keep: bool
    display_name: str


class EvaluationOptions(StreamEvaluationOptions, total=False):
    """How the items of a manifest are made and scored: as those of a stream, and how the manifest is read.

    Attributes:
        format: What the manifest is; told from its bytes if left out.
    """

    format: ManifestFormat | None


class RegenerationOptions(SessionOptions, LoopOptions, total=False):
    """Those of the session and those of its loop."""


def checked(options: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The options as a dict; TypeError for a name that is none of the kind's, as for any wrong keyword."""
    known = kind.__annotations__
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}; there are {', '.join(known)}")
    return dict(options)


def split(options: RegenerationOptions) -> tuple[SessionOptions, LoopOptions]:
    """Options of a regeneration as those of its session and those of its loop."""
    given = checked(options, RegenerationOptions)
    session = {name: value for name, value in given.items() if name in SessionOptions.__annotations__}
    loop = {name: value for name, value in given.items() if name in LoopOptions.__annotations__}
    return SessionOptions(**session), LoopOptions(**loop)  # type: ignore[typeddict-item]
