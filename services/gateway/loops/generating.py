"""The step of a run that makes pictures."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from services.common.errors import ImageError, LikenessError, Reason, UnavailableError
from services.gateway import domain
from services.gateway.decoding import image_info
from services.gateway.loops.retry import Attempts
from services.gateway.loops.state import HUMAN, RunState
from services.gateway.loops.text import storable
from services.gateway.loops.work import Work, request_id
from services.gateway.ports import (
    GeneratedImage,
    GenerationEvent,
    GenerationFailure,
    GenerationItem,
    GenerationProgress,
    Priority,
)

_TRANSIENT = {
    Reason.QUEUE_FULL,
    Reason.BACKEND_UNAVAILABLE,
    Reason.MODEL_UNAVAILABLE,
    Reason.DEADLINE_EXCEEDED,
    Reason.CANCELLED,
}
"""Reasons of a single candidate's failure that the next attempt may not meet."""


async def generate(work: Work, state: RunState, candidates: Sequence[domain.Candidate]) -> RunState:
    """Makes the pictures of candidates and stores each as it comes."""
    missing = {one.id: one for one in candidates}
    attempts = Attempts(work.tools.retry)
    while missing:
        failure: LikenessError | None = None
        before = len(missing)
        async with aclosing(_generation(work, state, list(missing.values()))) as events:
            while failure is None:
                # Only the generator's own errors lead to another attempt: a failing store must not cost pictures.
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    break
                except LikenessError as error:
                    failure = error
                else:
                    state = await _take(work, state, missing, event)
        if missing:
            if len(missing) < before:
                attempts.progressed()
            message = "the generator left candidates out"
            await attempts.failed(failure or UnavailableError(Reason.BACKEND_UNAVAILABLE, message))
    return state


def _generation(
    work: Work, state: RunState, missing: Sequence[domain.Candidate]
) -> AsyncGenerator[GenerationEvent, None]:
    settings = state.session.settings
    items = [
        GenerationItem(
            one.id,
            one.prompt,
            one.seed,
            steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            noise_mix=one.noise_mix,
        )
        for one in missing
    ]
    events = work.tools.generator.generate(
        items,
        model=settings.generator_model,
        request_id=request_id(state),
        timeout_seconds=work.tools.generation_timeout_seconds,
        priority=Priority.INTERACTIVE if state.loop.strategy == HUMAN else Priority.NORMAL,
    )
    return cast(AsyncGenerator[GenerationEvent, None], events)


async def _take(work: Work, state: RunState, missing: dict[str, domain.Candidate], event: GenerationEvent) -> RunState:
    candidate = missing.get(event.item_id)
    if candidate is None:
        return state
    match event:
        case GenerationProgress(item_id, step, total_steps):
            work.progress(work.lease.session_id, domain.CandidateProgress(item_id, step, total_steps))
            return state
        case GeneratedImage(_, data, record):
            try:
                info = await image_info(data)
            except ImageError as error:
                failed = domain.ItemError(Reason.GENERATION_FAILED.value, error.message)
                state = await _fail_candidate(work, state, candidate, failed)
            else:
                made = replace(candidate, image=info, record=storable(record))
                current = state
                state = await work.retried(
                    lambda: work.runs.candidate_generated(work.lease, current, made, data),
                )
        case GenerationFailure(_, error):
            if error.reason in _TRANSIENT:
                return state
            state = await _fail_candidate(work, state, candidate, error)
    del missing[candidate.id]
    return state


async def _fail_candidate(
    work: Work, state: RunState, candidate: domain.Candidate, error: domain.ItemError
) -> RunState:
    return await work.runs.candidate_failed(work.lease, state, replace(candidate, error=storable(error)))
