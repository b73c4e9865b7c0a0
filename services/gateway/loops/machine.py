"""Does the steps of one run. Each is stored before the next begins, so a run survives its gateway at any point."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import cast

from services.common.errors import ImageError, InternalError, LikenessError, Reason, UnavailableError
from services.common.telemetry import get_logger
from services.gateway import domain
from services.gateway.decoding import image_info
from services.gateway.loops import noise, plan, rules
from services.gateway.loops.prompts import candidates_of, proposal_seed
from services.gateway.loops.retry import Attempts, RetryPolicy, retried
from services.gateway.loops.state import HUMAN, Lease, RunState
from services.gateway.loops.text import storable
from services.gateway.personal import all_personal
from services.gateway.ports import (
    GeneratedImage,
    GenerationEvent,
    GenerationFailure,
    GenerationItem,
    GenerationProgress,
    GeneratorPort,
    ObjectStore,
    Priority,
    RefinerPort,
)
from services.gateway.scorable import ScorableImage, Scoring
from services.gateway.store.runs import RunRepository

log = get_logger(__name__)

_TRANSIENT = {
    Reason.QUEUE_FULL,
    Reason.BACKEND_UNAVAILABLE,
    Reason.MODEL_UNAVAILABLE,
    Reason.DEADLINE_EXCEEDED,
    Reason.CANCELLED,
}
"""Reasons of a single candidate's failure that the next attempt may not meet."""


@dataclass(frozen=True)
class Tools:
    """What a run works with."""

    generator: GeneratorPort
    refiner: RefinerPort
    scoring: Scoring
    objects: ObjectStore
    retry: RetryPolicy
    generation_timeout_seconds: float


class Machine:
    """One run of one session, under a lease."""

    def __init__(
        self,
        lease: Lease,
        runs: RunRepository,
        tools: Tools,
        progress: Callable[[str, domain.CandidateProgress], None],
    ) -> None:
        self._lease = lease
        self._runs = runs
        self._tools = tools
        self._progress = progress

    async def run(self) -> domain.StopReason | None:
        """Goes on from what is stored until the run stops; cancel the task to interrupt it at any point.

        Returns:
            Why it stopped; None for a person's round.

        Raises:
            LeaseLostError: somebody else runs the session now, or it is deleted.
            UnavailableError: DATABASE_UNAVAILABLE; what is stored stays, and the run can be taken up again.
        """
        try:
            state = await self._runs.load(self._lease)
            while not isinstance(step := plan.next_step(state), plan.Stop):
                log.debug("step", step=type(step).__name__)
                state = await self._do(state, step)
            stop = step
        except LikenessError as error:
            if error.reason is Reason.DATABASE_UNAVAILABLE:
                raise
            item = domain.ItemError(error.reason.value, error.message, error.field)
            stop = plan.Stop(domain.SessionState.FAILED, domain.StopReason.FAILED, item)
        log.info("run_stopped", state=stop.state.value, reason=stop.error.reason if stop.error else "")
        await self._runs.stopped(self._lease, stop.state, stop.reason, stop.error)
        return stop.reason

    async def fail(self, error: LikenessError) -> None:
        """Ends the run as failed."""
        item = domain.ItemError(error.reason.value, error.message, error.field)
        await self._runs.stopped(self._lease, domain.SessionState.FAILED, domain.StopReason.FAILED, item)

    async def _do(self, state: RunState, step: plan.Step) -> RunState:
        match step:
            case plan.Understand():
                return await self._understand(state)
            case plan.Propose():
                return await self._propose(state, step)
            case plan.Generate(candidates):
                return await self._generate(state, candidates)
            case plan.ScoreCandidates(candidates):
                return await self._score(state, candidates)
            case plan.Critique():
                return await self._critique(state, step)
            case plan.Revise():
                return await self._revise(state, step)
            case plan.FinishRound(finished):
                return await self._runs.round_finished(self._lease, state, finished, next_prompt="")
            case plan.Stop():
                raise AssertionError("a stop is not a step to do")

    async def _understand(self, state: RunState) -> RunState:
        target = await self._target(state)
        tree, prompt = await retried(
            self._tools.retry,
            lambda: self._tools.refiner.understand(state.loop.strategy, target, request_id=self._request_id(state)),
        )
        return await self._runs.understood(self._lease, state, storable(tree), storable(prompt))

    async def _propose(self, state: RunState, step: plan.Propose) -> RunState:
        seed = state.session.settings.seed
        if state.loop.strategy == HUMAN:
            proposed = [domain.ProposedPrompt(step.base_prompt, HUMAN)]
        else:
            target = await self._target(state)
            proposed = await retried(
                self._tools.retry,
                lambda: self._tools.refiner.propose(
                    state.loop.strategy,
                    target=target,
                    tree=state.session.tree,
                    base_prompt=step.base_prompt,
                    round_number=step.number,
                    prompt_count=step.count,
                    aspect=step.aspect,
                    history=rules.attempts(state.history.rounds),
                    seed=proposal_seed(seed, step.number),
                    request_id=self._request_id(state),
                ),
            )
        candidates = candidates_of(
            storable(tuple(proposed)),
            base_prompt=step.base_prompt,
            count=step.count,
            session_seed=seed,
            round_number=step.number,
            direction=await self._noise_direction(state),
        )
        started = domain.Round(
            number=step.number,
            strategy=state.loop.strategy,
            aspect=step.aspect,
            base_prompt=step.base_prompt,
            candidates=candidates,
            create_time=datetime.now(UTC),
        )
        return await self._runs.round_started(self._lease, state, started)

    async def _noise_direction(self, state: RunState) -> noise.Direction | None:
        if state.loop.strategy == HUMAN or state.loop.fresh_noise:
            return None
        made = (one for each in state.history.rounds for one in each.candidates)
        found = noise.direction(made, state.session.settings.selection_metrics)
        if found is None:
            return None
        models = await retried(self._tools.retry, self._tools.generator.list_models)
        wanted = state.session.settings.generator_model
        takes = any(one.limits is not None and one.limits.mixes_noise for one in models if one.id == wanted)
        return found if takes else None

    async def _generate(self, state: RunState, candidates: Sequence[domain.Candidate]) -> RunState:
        missing = {one.id: one for one in candidates}
        attempts = Attempts(self._tools.retry)
        while missing:
            failure: LikenessError | None = None
            before = len(missing)
            async with aclosing(self._generation(state, list(missing.values()))) as events:
                while failure is None:
                    # Only the generator's own errors lead to another attempt: a failing store must not cost pictures.
                    try:
                        event = await anext(events)
                    except StopAsyncIteration:
                        break
                    except LikenessError as error:
                        failure = error
                    else:
                        state = await self._take(state, missing, event)
            if missing:
                if len(missing) < before:
                    attempts.progressed()
                message = "the generator left candidates out"
                await attempts.failed(failure or UnavailableError(Reason.BACKEND_UNAVAILABLE, message))
        return state

    def _generation(
        self, state: RunState, missing: Sequence[domain.Candidate]
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
        events = self._tools.generator.generate(
            items,
            model=settings.generator_model,
            request_id=self._request_id(state),
            timeout_seconds=self._tools.generation_timeout_seconds,
            priority=Priority.INTERACTIVE if state.loop.strategy == HUMAN else Priority.NORMAL,
        )
        return cast(AsyncGenerator[GenerationEvent, None], events)

    async def _take(self, state: RunState, missing: dict[str, domain.Candidate], event: GenerationEvent) -> RunState:
        candidate = missing.get(event.item_id)
        if candidate is None:
            return state
        match event:
            case GenerationProgress(item_id, step, total_steps):
                self._progress(self._lease.session_id, domain.CandidateProgress(item_id, step, total_steps))
                return state
            case GeneratedImage(_, data, record):
                try:
                    info = await image_info(data)
                except ImageError as error:
                    failed = domain.ItemError(Reason.GENERATION_FAILED.value, error.message)
                    state = await self._fail_candidate(state, candidate, failed)
                else:
                    made = replace(candidate, image=info, record=storable(record))
                    current = state
                    state = await retried(
                        self._tools.retry,
                        lambda: self._runs.candidate_generated(self._lease, current, made, data),
                    )
            case GenerationFailure(_, error):
                if error.reason in _TRANSIENT:
                    return state
                state = await self._fail_candidate(state, candidate, error)
        del missing[candidate.id]
        return state

    async def _fail_candidate(self, state: RunState, candidate: domain.Candidate, error: domain.ItemError) -> RunState:
        return await self._runs.candidate_failed(self._lease, state, replace(candidate, error=storable(error)))

    async def _score(self, state: RunState, candidates: Sequence[domain.Candidate]) -> RunState:
        settings = state.session.settings
        target = self._scorable(state.session.target)
        with_text = not all_personal(settings.metrics) and await self._reads_text(settings.metrics)
        # A text metric compares a picture with the prompt that made it; without one, all go in a single batch.
        groups: defaultdict[str, list[domain.Candidate]] = defaultdict(list)
        for one in candidates:
            groups[one.prompt if with_text else ""].append(one)
        scored: list[domain.Candidate] = []
        for text, group in groups.items():
            pictures = [self._scorable(one.image) for one in group]
            results = await retried(
                self._tools.retry,
                lambda text=text, pictures=pictures: self._tools.scoring.score(  # type: ignore[misc]
                    target=target,
                    text=text,
                    candidates=pictures,
                    metrics=settings.metrics,
                    request_id=self._request_id(state),
                ),
            )
            for one, result in zip(group, results, strict=True):
                if len(result.scores) != len(settings.metrics):
                    raise InternalError("the scorer left metrics out")
                score = rules.loop_score(result.scores, settings.selection_metrics)
                scored.append(replace(one, scores=storable(result.scores), loop_score=score))
        order = {one.id: position for position, one in enumerate(candidates)}
        scored.sort(key=lambda one: order[one.id])
        return await self._runs.candidates_scored(self._lease, state, scored)

    async def _reads_text(self, metrics: Sequence[str]) -> bool:
        known = (await retried(self._tools.retry, self._tools.scoring.metrics)).offered
        return any(one in known and known[one].input == "text-image" for one in metrics)

    async def _critique(self, state: RunState, step: plan.Critique) -> RunState:
        target, best = await self._target(state), await self._picture(step.best.image)
        feedback, _ = await retried(
            self._tools.retry,
            lambda: self._tools.refiner.critique(
                state.loop.strategy,
                target=target,
                best=best,
                best_prompt=step.best.prompt,
                tree=state.session.tree,
                aspect=step.aspect,
                round_number=step.number,
                request_id=self._request_id(state),
            ),
        )
        return await self._runs.critiqued(self._lease, state, step.number, storable(feedback))

    async def _revise(self, state: RunState, step: plan.Revise) -> RunState:
        revised, _ = await retried(
            self._tools.retry,
            lambda: self._tools.refiner.revise(
                state.loop.strategy, step.prompt, step.feedback, request_id=self._request_id(state)
            ),
        )
        finished = replace(step.finished, feedback=step.feedback)
        return await self._runs.round_finished(self._lease, state, finished, storable(revised))

    async def _target(self, state: RunState) -> bytes:
        return await self._picture(state.session.target)

    async def _picture(self, info: domain.ImageInfo | None) -> bytes:
        assert info is not None
        return await retried(self._tools.retry, lambda: self._tools.objects.get(info.content_hash))

    def _scorable(self, info: domain.ImageInfo | None) -> ScorableImage:
        assert info is not None
        return ScorableImage.stored(info, self._tools.objects)

    def _request_id(self, state: RunState) -> str:
        return f"{state.session.id}-r{state.session.round_count}"
