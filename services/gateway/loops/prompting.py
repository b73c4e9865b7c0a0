"""Steps of a run that end in prompts: understand the target, begin a round, criticize its best, revise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from services.gateway import domain
from services.gateway.loops import noise, plan, rules
from services.gateway.loops.prompts import candidates_of, proposal_seed
from services.gateway.loops.state import HUMAN, RunState
from services.gateway.loops.text import storable
from services.gateway.loops.work import Work, request_id


async def understand(work: Work, state: RunState) -> RunState:
    """Describes the target."""
    target = await work.retried(work.target(state).read)
    tree, prompt = await work.retried(
        lambda: work.tools.refiner.understand(state.loop.strategy, target, request_id=request_id(state)),
    )
    return await work.runs.understood(work.lease, state, storable(tree), storable(prompt))


async def propose(work: Work, state: RunState, step: plan.Propose) -> RunState:
    """Begins a round with its prompts and seeds."""
    seed = state.session.settings.seed
    if state.loop.strategy == HUMAN:
        proposed = [domain.ProposedPrompt(step.base_prompt, HUMAN)]
    else:
        target = await work.retried(work.target(state).read)
        proposed = await work.retried(
            lambda: work.tools.refiner.propose(
                state.loop.strategy,
                target=target,
                tree=state.session.tree,
                base_prompt=step.base_prompt,
                round_number=step.number,
                prompt_count=step.count,
                aspect=step.aspect,
                history=rules.attempts(state.history.rounds),
                seed=proposal_seed(seed, step.number),
                request_id=request_id(state),
            ),
        )
    candidates = candidates_of(
        storable(tuple(proposed)),
        base_prompt=step.base_prompt,
        count=step.count,
        session_seed=seed,
        round_number=step.number,
        direction=await _noise_direction(work, state),
    )
    started = domain.Round(
        number=step.number,
        strategy=state.loop.strategy,
        aspect=step.aspect,
        base_prompt=step.base_prompt,
        candidates=candidates,
        create_time=datetime.now(UTC),
    )
    return await work.runs.round_started(work.lease, state, started)


async def _noise_direction(work: Work, state: RunState) -> noise.Direction | None:
    if state.loop.strategy == HUMAN or state.loop.fresh_noise:
        return None
    made = (one for each in state.history.rounds for one in each.candidates)
    found = noise.direction(made, state.session.settings.selection_metrics)
    if found is None:
        return None
    models = await work.retried(work.tools.generator.list_models)
    wanted = state.session.settings.generator_model
    takes = any(one.limits is not None and one.limits.mixes_noise for one in models if one.id == wanted)
    return found if takes else None


async def critique(work: Work, state: RunState, step: plan.Critique) -> RunState:
    """Says how the best so far should change."""
    target = await work.retried(work.target(state).read)
    best = await work.retried(work.picture(step.best).read)
    feedback, _ = await work.retried(
        lambda: work.tools.refiner.critique(
            state.loop.strategy,
            target=target,
            best=best,
            best_prompt=step.best.prompt,
            tree=state.session.tree,
            aspect=step.aspect,
            round_number=step.number,
            request_id=request_id(state),
        ),
    )
    return await work.runs.critiqued(work.lease, state, step.number, storable(feedback))


async def revise(work: Work, state: RunState, step: plan.Revise) -> RunState:
    """Finishes a round with the prompt of the next."""
    revised, _ = await work.retried(
        lambda: work.tools.refiner.revise(
            state.loop.strategy, step.prompt, step.feedback, request_id=request_id(state)
        ),
    )
    finished = replace(step.finished, feedback=step.feedback)
    return await work.runs.round_finished(work.lease, state, finished, storable(revised))
