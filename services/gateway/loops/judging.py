"""The step of a run that scores pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from services.common.errors import InternalError
from services.gateway import domain
from services.gateway.loops import rules
from services.gateway.loops.state import RunState
from services.gateway.loops.text import storable
from services.gateway.loops.work import Work, request_id
from services.gateway.personal import all_personal


async def score(work: Work, state: RunState, candidates: Sequence[domain.Candidate]) -> RunState:
    """Scores pictures and stores the scores at once."""
    settings = state.session.settings
    target = work.target(state)
    with_text = not all_personal(settings.metrics) and await _reads_text(work, settings.metrics)
    # A text metric compares a picture with the prompt that made it; without one, all go in a single batch.
    groups: defaultdict[str, list[domain.Candidate]] = defaultdict(list)
    for one in candidates:
        groups[one.prompt if with_text else ""].append(one)
    scored: list[domain.Candidate] = []
    for text, group in groups.items():
        pictures = [work.picture(one) for one in group]
        results = await work.retried(
            lambda text=text, pictures=pictures: work.tools.scoring.score(  # type: ignore[misc]
                target=target,
                text=text,
                candidates=pictures,
                metrics=settings.metrics,
                request_id=request_id(state),
                tenant_id=state.session.tenant_id,
            ),
        )
        for one, result in zip(group, results, strict=True):
            if len(result.scores) != len(settings.metrics):
                raise InternalError("the scorer left metrics out")
            score = rules.loop_score(result.scores, settings.selection_metrics)
            scored.append(replace(one, scores=storable(result.scores), loop_score=score))
    order = {one.id: position for position, one in enumerate(candidates)}
    scored.sort(key=lambda one: order[one.id])
    return await work.runs.candidates_scored(work.lease, state, scored)


async def _reads_text(work: Work, metrics: Sequence[str]) -> bool:
    known = (await work.retried(work.tools.scoring.metrics)).offered
    return any(one in known and known[one].input == "text-image" for one in metrics)
