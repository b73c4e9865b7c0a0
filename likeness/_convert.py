"""From the contracts' messages to the client's types, but for those of personal metrics (`_profile_convert.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from likeness import _events as e
from likeness import _types as t
from likeness._reading import HasPresence, enum, enum_name, optional, time
from likeness.gateway.v1 import catalog_service_pb2, image_service_pb2, session_pb2, session_service_pb2
from likeness.types.v1 import image_pb2, model_pb2, score_pb2, understanding_pb2


def _aspect(value: int) -> t.Aspect | None:
    return enum(t.Aspect, understanding_pb2.Aspect, "ASPECT_", value)


def item_error(parent: HasPresence, field: str = "error") -> t.ItemError | None:
    error: score_pb2.ItemError | None = optional(parent, field)
    return None if error is None else t.ItemError(error.reason, error.message, error.field)


def image_info(info: image_pb2.ImageInfo) -> t.ImageInfo:
    return t.ImageInfo(
        info.content_hash, info.pixel_hash, info.media_type, info.width_pixels, info.height_pixels, info.size_bytes
    )


def score(item: score_pb2.Score) -> t.Score:
    return t.Score(
        metric=item.metric,
        revision=item.revision,
        raw=item.raw,
        normalized=item.normalized,
        higher_is_better=item.direction != score_pb2.DIRECTION_LOWER_IS_BETTER,
        minimum=optional(item, "minimum"),
        maximum=optional(item, "maximum"),
        error=item_error(item),
        cells=tuple(item.cells),
        text_truncated=item.text_truncated,
    )


def image_scores(answer: image_service_pb2.ScoreImagesResponse) -> tuple[t.ImageScores, ...]:
    return tuple(
        t.ImageScores(tuple(map(score, item.scores)), item_error(item), item.text_truncated)
        for item in answer.candidates
    )


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


def record(item: model_pb2.GenerationRecord) -> t.GenerationRecord:
    return t.GenerationRecord(
        prompt=item.prompt,
        negative_prompt=item.negative_prompt,
        seed=item.seed,
        steps=item.steps,
        guidance_scale=item.guidance_scale,
        scheduler=item.scheduler,
        width_pixels=item.width_pixels,
        height_pixels=item.height_pixels,
        model=item.model,
        model_revision=item.model_revision,
        noise_mix=tuple(t.NoisePart(part.seed, part.weight, tuple(part.cells)) for part in item.noise_mix),
        deterministic=item.deterministic,
        strength=item.strength,
        initial_image_content_hash=item.initial_image_content_hash,
        mask_content_hash=item.mask_content_hash,
        second_strength=item.second_strength,
        adapter=item.adapter,
        adapter_scale=item.adapter_scale,
        adapter_revision=item.adapter_revision,
    )


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


def generation_event(answer: image_service_pb2.GenerateImagesResponse) -> t.GenerationEvent | None:
    """The event; None for a kind that only a newer client knows."""
    number, seed = answer.image_number, answer.seed
    match answer.WhichOneof("event"):
        case "queued":
            return t.GenerationProgress(number, seed, 0, 0, items_ahead=answer.queued.items_ahead)
        case "started":
            return t.GenerationProgress(number, seed, 0, answer.started.total_steps)
        case "step":
            step = answer.step
            left = step.time_left.ToMilliseconds() / 1000 if step.HasField("time_left") else None
            return t.GenerationProgress(number, seed, step.step, step.total_steps, seconds_left=left)
        case "preview":
            return t.GenerationPreview(number, seed, answer.preview.step, answer.preview.data)
        case "image":
            made = answer.image
            facts = image_info(made.info), record(made.record), made.prompt_truncated
            return t.GeneratedImage(number, seed, made.data, *facts)
        case "failed":
            return t.GeneratedImage(number, seed, error=item_error(answer.failed))
    return None


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


def _model(item: model_pb2.Model) -> t.Model:
    limits = item.generation_limits if item.HasField("generation_limits") else None
    return t.Model(
        id=item.id,
        revision=item.revision,
        role=enum_name(model_pb2.ModelRole, "MODEL_ROLE_", item.role),
        source=item.source,
        embedded=item.embedded,
        license=item.license,
        generation_limits=limits
        and t.GenerationLimits(
            default_steps=limits.default_steps,
            max_steps=limits.max_steps,
            default_guidance_scale=limits.default_guidance_scale,
            width_pixels=limits.width_pixels,
            height_pixels=limits.height_pixels,
            size_multiple_pixels=limits.size_multiple_pixels,
            max_side_pixels=limits.max_side_pixels,
            schedulers=tuple(limits.schedulers),
            token_limit=limits.token_limit,
            mixes_noise=limits.mixes_noise,
            takes_initial_image=limits.takes_initial_image,
            takes_negative_prompt=limits.takes_negative_prompt,
            takes_guidance_scale=limits.takes_guidance_scale,
        ),
        adapters=tuple(t.Adapter(one.id, one.revision, one.license, one.absent_reason) for one in item.adapters),
        load_state=enum_name(model_pb2.LoadState, "LOAD_STATE_", item.load_state),
        load_problem=item.load_problem,
        size_bytes=item.size_bytes,
    )


def model_list(answer: catalog_service_pb2.ListModelsResponse) -> t.ModelList:
    return t.ModelList(tuple(map(_model, answer.models)), tuple(answer.unreachable))


def metrics(answer: catalog_service_pb2.ListMetricsResponse) -> tuple[t.Metric, ...]:
    return tuple(_metric(item, answer) for item in answer.metrics)


def absent_metrics(answer: catalog_service_pb2.ListMetricsResponse) -> tuple[t.AbsentMetric, ...]:
    return tuple(t.AbsentMetric(item.id, item.reason) for item in answer.absent)


def _metric(item: score_pb2.Metric, answer: catalog_service_pb2.ListMetricsResponse) -> t.Metric:
    return t.Metric(
        id=item.id,
        revision=item.revision,
        description=item.description,
        input=enum_name(score_pb2.MetricInput, "METRIC_INPUT_", item.input),
        higher_is_better=item.direction != score_pb2.DIRECTION_LOWER_IS_BETTER,
        minimum=optional(item, "minimum"),
        maximum=optional(item, "maximum"),
        preprocessing=item.preprocessing,
        embedding_model=item.embedding_model,
        token_limit=optional(item, "token_limit"),
        embedded=item.embedded,
        license=item.license,
        computed_by_default=item.id in answer.default_metrics,
        selects_by_default=item.id in answer.default_selection_metrics,
    )


def strategies(answer: catalog_service_pb2.ListStrategiesResponse) -> tuple[t.Strategy, ...]:
    return tuple(t.Strategy(item.id, item.revision, item.description, item.embedded) for item in answer.strategies)


def status(answer: catalog_service_pb2.GetStatusResponse) -> t.Status:
    components = tuple(
        t.ComponentStatus(item.component, _health(item.health), item.detail) for item in answer.components
    )
    clock = time(answer.server_time) if answer.HasField("server_time") else None
    return t.Status(_health(answer.health), components, answer.version, answer.profile, clock)


def _health(value: int) -> t.Health:
    return enum(t.Health, catalog_service_pb2.Health, "HEALTH_", value) or t.Health.UNKNOWN
