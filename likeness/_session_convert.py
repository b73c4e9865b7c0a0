"""From the messages of sessions and their events to the client's types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from likeness import _events as e
from likeness import _types as t
from likeness._image_convert import image_info, item_error, record, score
from likeness._reading import enum, optional, time
from likeness.gateway.v1 import session_pb2, session_service_pb2
from likeness.types.v1 import understanding_pb2


def _aspect(value: int) -> t.Aspect | None:
    return enum(t.Aspect, understanding_pb2.Aspect, "ASPECT_", value)


def _feature(item: understanding_pb2.Feature) -> t.Feature:
    return t.Feature(item.name, item.value, _aspect(item.aspect), item.confidence)


def _object(node: understanding_pb2.ObjectNode) -> t.ObjectNode:
    questions = tuple(t.QuestionAnswer(item.question, item.answer) for item in node.questions)
    return t.ObjectNode(node.name, tuple(map(_feature, node.features)), questions)


def tree(item: understanding_pb2.UnderstandingTree) -> t.UnderstandingTree:
    return t.UnderstandingTree(
        base_caption=item.base_caption,
        overall_features=tuple(map(_feature, item.overall_features)),
        objects=tuple(map(_object, item.objects)),
        relations=tuple(t.Relation(r.subject, r.predicate, r.object) for r in item.relations),
    )


def _edit(item: understanding_pb2.PromptEdit) -> t.PromptEdit:
    return t.PromptEdit(item.property, item.before, item.after)


def _feedback(item: understanding_pb2.Feedback) -> t.Feedback:
    return t.Feedback(item.text, _aspect(item.aspect), tuple(map(_edit, item.edits)))


def revised_prompt(answer: session_service_pb2.SubmitFeedbackResponse) -> t.RevisedPrompt:
    return t.RevisedPrompt(answer.revised_prompt, tuple(map(_edit, answer.edits)))


def candidate(item: session_pb2.Candidate) -> t.Candidate:
    return t.Candidate(
        id=item.id,
        round_number=item.round_number,
        prompt=item.prompt,
        origin=item.origin,
        edits=tuple(map(_edit, item.edits)),
        image=image_info(item.image) if item.HasField("image") else None,
        record=record(item.record) if item.HasField("record") else None,
        scores=tuple(map(score, item.scores)),
        loop_score=optional(item, "loop_score"),
        error=item_error(item),
    )


def round_(item: session_pb2.Round) -> t.Round:
    return t.Round(
        number=item.number,
        strategy=item.strategy,
        aspect=_aspect(item.aspect),
        base_prompt=item.base_prompt,
        candidates=tuple(map(candidate, item.candidates)),
        create_time=time(item.create_time),
        best_candidate_id=item.best_candidate_id,
        feedback=_feedback(item.feedback) if item.HasField("feedback") else None,
        gain=optional(item, "gain"),
    )


def ranking(item: session_pb2.Ranking) -> t.Ranking:
    return t.Ranking(tuple(item.candidate_ids), time(item.create_time))


def _settings(item: session_pb2.SessionSettings) -> t.SessionSettings:
    return t.SessionSettings(
        metrics=tuple(item.metrics),
        selection_metrics=tuple(item.selection_metrics),
        generator_model=item.generator_model,
        steps=optional(item, "steps"),
        guidance_scale=optional(item, "guidance_scale"),
        seed=item.seed,
        show_scores=item.show_scores if item.HasField("show_scores") else True,
    )


def loop_settings(item: session_pb2.LoopSettings) -> t.LoopSettings:
    return t.LoopSettings(
        strategy=item.strategy,
        rounds=item.rounds,
        candidates=item.candidates,
        target_score=optional(item, "target_score"),
        plateau_rounds=optional(item, "plateau_rounds"),
        plateau_gain=item.plateau_gain,
        image_budget=item.image_budget,
        first_prompt=item.first_prompt,
        fresh_noise=item.fresh_noise,
        seconds_budget=optional(item, "seconds_budget"),
    )


def _paused_loop(holder: session_pb2.Session | session_pb2.StateChanged) -> t.PausedLoop | None:
    """The holder's paused loop, if it has one."""
    if not holder.HasField("paused_loop"):
        return None
    item = holder.paused_loop
    return t.PausedLoop(loop_settings(item.settings), item.rounds_done, item.images_made, item.seconds_spent)


def session(item: session_pb2.Session) -> t.Session:
    return t.Session(
        name=item.name,
        display_name=item.display_name,
        target=image_info(item.target),
        settings=_settings(item.settings),
        state=_state(item.state),
        create_time=time(item.create_time),
        update_time=time(item.update_time),
        round_count=item.round_count,
        best=candidate(item.best) if item.HasField("best") else None,
        tree=tree(item.tree) if item.HasField("tree") else None,
        stop_reason=stop_reason(item.stop_reason),
        error=item_error(item),
        last_event_sequence=item.last_event_sequence,
        paused_loop=_paused_loop(item),
    )


def _state(value: int) -> t.SessionState:
    return enum(t.SessionState, session_pb2.Session.State, "STATE_", value) or t.SessionState.UNKNOWN


def stop_reason(value: int) -> t.StopReason | None:
    return enum(t.StopReason, session_pb2.StopReason, "STOP_REASON_", value)


def session_details(answer: session_service_pb2.GetSessionResponse) -> t.SessionDetails:
    return t.SessionDetails(
        session(answer.session), tuple(map(round_, answer.rounds)), tuple(map(ranking, answer.rankings))
    )


def session_page(answer: session_service_pb2.ListSessionsResponse) -> tuple[tuple[t.Session, ...], str]:
    """Sessions of a page and the token of the next one."""
    return tuple(map(session, answer.sessions)), answer.next_page_token


_BODIES: dict[str, Callable[[Any], e.EventBody]] = {
    "snapshot": lambda body: e.SessionSnapshot(session(body.session), tuple(map(round_, body.rounds))),
    "state_changed": lambda body: e.StateChanged(
        _state(body.state), stop_reason(body.stop_reason), item_error(body), _paused_loop(body)
    ),
    "target_understood": lambda body: e.TargetUnderstood(tree(body.tree), body.prompt),
    "round_started": lambda body: e.RoundStarted(round_(body.round)),
    "candidate_progress": lambda body: e.CandidateProgress(body.candidate_id, body.step, body.total_steps),
    "candidate_generated": lambda body: e.CandidateGenerated(candidate(body.candidate)),
    "candidate_scored": lambda body: e.CandidateScored(candidate(body.candidate)),
    "candidate_failed": lambda body: e.CandidateFailed(candidate(body.candidate)),
    "round_finished": lambda body: e.RoundFinished(round_(body.round)),
    "feedback_given": lambda body: e.FeedbackGiven(_feedback(body.feedback), body.revised_prompt),
    "candidates_ranked": lambda body: e.CandidatesRanked(ranking(body.ranking)),
}


def event(item: session_pb2.SessionEvent) -> e.Event | None:
    """The event; None for a kind that only a newer client knows."""
    kind = item.WhichOneof("event")
    if kind not in _BODIES:
        return None
    return e.Event(item.sequence, item.cursor, time(item.create_time), _BODIES[kind](getattr(item, kind)))
