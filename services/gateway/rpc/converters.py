"""gateway.v1 <-> the gateway's domain. With `show_scores` false, scores, loop scores and gains are left out.

The best candidate stays named even then: it is what the session has to show, not a number.
"""

from __future__ import annotations

from datetime import datetime

from google.protobuf import timestamp_pb2

from likeness.gateway.v1 import catalog_service_pb2, session_pb2
from services.gateway import domain, ports
from services.gateway.history import History
from services.gateway.rpc import type_converters as types
from services.gateway.sessions.tokens import encode_cursor
from services.gateway.sessions.validation import LoopInput, SettingsInput

_STATES = {
    domain.SessionState.WAITING: session_pb2.Session.STATE_WAITING,
    domain.SessionState.RUNNING: session_pb2.Session.STATE_RUNNING,
    domain.SessionState.SUCCEEDED: session_pb2.Session.STATE_SUCCEEDED,
    domain.SessionState.CANCELLED: session_pb2.Session.STATE_CANCELLED,
    domain.SessionState.FAILED: session_pb2.Session.STATE_FAILED,
    domain.SessionState.PAUSED: session_pb2.Session.STATE_PAUSED,
}

_STOP_REASONS = {
    None: session_pb2.STOP_REASON_UNSPECIFIED,
    domain.StopReason.ROUNDS_DONE: session_pb2.STOP_REASON_ROUNDS_DONE,
    domain.StopReason.TARGET_REACHED: session_pb2.STOP_REASON_TARGET_REACHED,
    domain.StopReason.PLATEAU: session_pb2.STOP_REASON_PLATEAU,
    domain.StopReason.BUDGET_SPENT: session_pb2.STOP_REASON_BUDGET_SPENT,
    domain.StopReason.CANCELLED: session_pb2.STOP_REASON_CANCELLED,
    domain.StopReason.FAILED: session_pb2.STOP_REASON_FAILED,
}


def session_name(session_id: str) -> str:
    """Resource name of a session."""
    return f"sessions/{session_id}"


def settings_from_proto(settings: session_pb2.SessionSettings) -> SettingsInput:
    """Session settings as asked for."""
    return SettingsInput(
        metrics=tuple(settings.metrics),
        selection_metrics=tuple(settings.selection_metrics),
        generator_model=settings.generator_model,
        steps=settings.steps if settings.HasField("steps") else None,
        guidance_scale=settings.guidance_scale if settings.HasField("guidance_scale") else None,
        seed=settings.seed,
        show_scores=settings.show_scores if settings.HasField("show_scores") else True,
    )


def loop_from_proto(settings: session_pb2.LoopSettings) -> LoopInput:
    """Loop settings as asked for."""
    return LoopInput(
        strategy=settings.strategy,
        rounds=settings.rounds if settings.HasField("rounds") else None,
        candidates=settings.candidates if settings.HasField("candidates") else None,
        target_score=settings.target_score if settings.HasField("target_score") else None,
        plateau_rounds=settings.plateau_rounds if settings.HasField("plateau_rounds") else None,
        plateau_gain=settings.plateau_gain if settings.HasField("plateau_gain") else None,
        image_budget=settings.image_budget if settings.HasField("image_budget") else None,
        first_prompt=settings.first_prompt,
        fresh_noise=settings.fresh_noise,
        seconds_budget=settings.seconds_budget if settings.HasField("seconds_budget") else None,
    )


def loop_to_proto(loop: domain.LoopSettings) -> session_pb2.LoopSettings:
    """Loop settings with their defaults."""
    return session_pb2.LoopSettings(
        strategy=loop.strategy,
        rounds=loop.rounds,
        candidates=loop.candidates,
        target_score=loop.target_score,
        plateau_rounds=loop.plateau_rounds,
        plateau_gain=loop.plateau_gain,
        image_budget=loop.image_budget,
        first_prompt=loop.first_prompt,
        fresh_noise=loop.fresh_noise,
        seconds_budget=loop.seconds_budget,
    )


def stop_reason_to_proto(reason: domain.StopReason | None) -> session_pb2.StopReason.ValueType:
    """A stop reason."""
    return _STOP_REASONS[reason]


def paused_loop_to_proto(paused: domain.PausedLoop) -> session_pb2.PausedLoop:
    """A loop that stands still."""
    return session_pb2.PausedLoop(
        settings=loop_to_proto(paused.settings),
        rounds_done=paused.rounds_done,
        images_made=paused.images_made,
        seconds_spent=paused.seconds_spent,
    )


def session_to_proto(session: domain.Session) -> session_pb2.Session:
    """A session; its scores are left out if its settings hide them."""
    show = session.settings.show_scores
    return session_pb2.Session(
        name=session_name(session.id),
        display_name=session.display_name,
        target=types.image_info_to_proto(session.target),
        settings=session_pb2.SessionSettings(
            metrics=session.settings.metrics,
            selection_metrics=session.settings.selection_metrics,
            generator_model=session.settings.generator_model,
            steps=session.settings.steps,
            guidance_scale=session.settings.guidance_scale,
            seed=session.settings.seed,
            show_scores=show,
        ),
        state=_STATES[session.state],
        round_count=session.round_count,
        best=candidate_to_proto(session.best, show) if session.best else None,
        tree=types.tree_to_proto(session.tree) if session.tree else None,
        stop_reason=_STOP_REASONS[session.stop_reason],
        error=types.item_error_to_proto(session.error) if session.error else None,
        last_event_sequence=session.last_event_sequence,
        create_time=time_to_proto(session.create_time),
        update_time=time_to_proto(session.update_time),
        paused_loop=paused_loop_to_proto(session.paused) if session.paused else None,
    )


def candidate_to_proto(candidate: domain.Candidate, show_scores: bool) -> session_pb2.Candidate:
    """A candidate."""
    return session_pb2.Candidate(
        id=candidate.id,
        round_number=candidate.round_number,
        prompt=candidate.prompt,
        origin=candidate.origin,
        edits=[types.edit_to_proto(edit) for edit in candidate.edits],
        image=types.image_info_to_proto(candidate.image) if candidate.image else None,
        record=types.record_to_proto(candidate.record) if candidate.record else None,
        scores=[types.score_to_proto(score) for score in candidate.scores] if show_scores else (),
        loop_score=candidate.loop_score if show_scores else None,
        error=types.item_error_to_proto(candidate.error) if candidate.error else None,
    )


def round_to_proto(value: domain.Round, show_scores: bool) -> session_pb2.Round:
    """A round."""
    return session_pb2.Round(
        number=value.number,
        strategy=value.strategy,
        aspect=types.aspect_to_proto(value.aspect),
        base_prompt=value.base_prompt,
        candidates=[candidate_to_proto(one, show_scores) for one in value.candidates],
        best_candidate_id=value.best_candidate_id,
        feedback=types.feedback_to_proto(value.feedback) if value.feedback else None,
        gain=value.gain if show_scores else None,
        create_time=time_to_proto(value.create_time),
    )


def ranking_to_proto(ranking: domain.Ranking) -> session_pb2.Ranking:
    """A ranking."""
    return session_pb2.Ranking(candidate_ids=ranking.candidate_ids, create_time=time_to_proto(ranking.create_time))


def snapshot_to_proto(history: History) -> session_pb2.SessionEvent:
    """First event of a watch. It is not in the log, so its sequence is 0; its cursor is the position it shows."""
    session = history.session
    return session_pb2.SessionEvent(
        cursor=encode_cursor(session.id, session.last_event_sequence),
        create_time=time_to_proto(session.update_time),
        snapshot=session_pb2.SessionSnapshot(
            session=session_to_proto(session),
            rounds=[round_to_proto(one, session.settings.show_scores) for one in history.rounds],
        ),
    )


def event_to_proto(event: domain.SessionEvent, position: int, show_scores: bool) -> session_pb2.SessionEvent:
    """An event.

    Args:
        event: The event.
        position: Sequence of the newest durable event sent, this one included: a live event's cursor.
        show_scores: Whether scores are sent.
    """
    message = session_pb2.SessionEvent(
        sequence=event.sequence,
        cursor=encode_cursor(event.session_id, position),
        create_time=time_to_proto(event.create_time),
    )
    match event.body:
        case domain.StateChanged(state, stop_reason, error, paused):
            changed = message.state_changed
            changed.state, changed.stop_reason = _STATES[state], _STOP_REASONS[stop_reason]
            if error is not None:
                changed.error.CopyFrom(types.item_error_to_proto(error))
            if paused is not None:
                changed.paused_loop.CopyFrom(paused_loop_to_proto(paused))
        case domain.TargetUnderstood(tree, prompt):
            message.target_understood.tree.CopyFrom(types.tree_to_proto(tree))
            message.target_understood.prompt = prompt
        case domain.RoundStarted(started):
            message.round_started.round.CopyFrom(round_to_proto(started, show_scores))
        case domain.CandidateProgress(candidate_id, step, total_steps):
            progress = message.candidate_progress
            progress.candidate_id, progress.step, progress.total_steps = candidate_id, step, total_steps
        case domain.CandidateGenerated(candidate):
            message.candidate_generated.candidate.CopyFrom(candidate_to_proto(candidate, show_scores))
        case domain.CandidateScored(candidate):
            message.candidate_scored.candidate.CopyFrom(candidate_to_proto(candidate, show_scores))
        case domain.CandidateFailed(candidate):
            message.candidate_failed.candidate.CopyFrom(candidate_to_proto(candidate, show_scores))
        case domain.RoundFinished(finished):
            message.round_finished.round.CopyFrom(round_to_proto(finished, show_scores))
        case domain.FeedbackGiven(feedback, revised_prompt):
            message.feedback_given.feedback.CopyFrom(types.feedback_to_proto(feedback))
            message.feedback_given.revised_prompt = revised_prompt
        case domain.CandidatesRanked(ranking):
            message.candidates_ranked.ranking.CopyFrom(ranking_to_proto(ranking))
    return message


def strategy_to_proto(strategy: ports.StrategyInfo) -> catalog_service_pb2.StrategyInfo:
    """A strategy of the deployment."""
    return catalog_service_pb2.StrategyInfo(
        id=strategy.id, revision=strategy.revision, description=strategy.description, embedded=strategy.embedded
    )


def time_to_proto(value: datetime) -> timestamp_pb2.Timestamp:
    """A moment."""
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(value)
    return message
