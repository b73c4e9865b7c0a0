"""The gateway's ports to the backends' contracts and back."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from likeness.generator.v1 import generator_service_pb2 as generator_pb
from likeness.refiner.v1 import refiner_service_pb2 as refiner_pb
from likeness.scorer.v1 import scorer_service_pb2 as scorer_pb
from likeness.types.v1 import image_pb2, score_pb2
from services.gateway import ports
from services.gateway.domain import Aspect, PromptAttempt, ProposedPrompt, Tree
from services.gateway.rpc import type_converters as types

# Generator

_PRIORITIES = {
    ports.Priority.BATCH: generator_pb.PRIORITY_BATCH,
    ports.Priority.NORMAL: generator_pb.PRIORITY_NORMAL,
    ports.Priority.INTERACTIVE: generator_pb.PRIORITY_INTERACTIVE,
}


def generate_request(
    items: Sequence[ports.GenerationItem],
    *,
    model: str,
    request_id: str,
    time_limit_seconds: float,
    priority: ports.Priority,
) -> generator_pb.GenerateRequest:
    """Items of a Generate call."""
    # A millisecond at least: zero is no time limit.
    limit = Duration()
    limit.FromMilliseconds(max(int(time_limit_seconds * 1000), 1))
    return generator_pb.GenerateRequest(
        request_id=request_id[:64],
        model=model,
        items=[_item(item) for item in items],
        time_limit=limit,
        priority=_PRIORITIES[priority],
    )


def _item(item: ports.GenerationItem) -> generator_pb.GenerateItem:
    return generator_pb.GenerateItem(
        item_id=item.item_id,
        prompt=item.prompt,
        negative_prompt=item.negative_prompt,
        seed=item.seed,
        steps=item.steps,
        guidance_scale=item.guidance_scale,
        width_pixels=item.width_pixels,
        height_pixels=item.height_pixels,
        scheduler=item.scheduler,
        noise_mix=types.noise_mix_to_proto(item.noise_mix),
        initial_image=None if item.initial_image is None else types.image_to_proto(item.initial_image),
        strength=item.strength,
        mask=None if item.mask is None else types.image_to_proto(item.mask),
        second_strength=item.second_strength,
        adapter=item.adapter,
        adapter_scale=item.adapter_scale,
        preview_interval_steps=item.preview_interval_steps,
        deterministic=item.deterministic,
    )


def generation_event(response: generator_pb.GenerateResponse) -> ports.GenerationEvent | None:
    """Event of a Generate call; None for a kind that this version does not know."""
    match response.WhichOneof("event"):
        case "queued":
            return ports.GenerationProgress(response.item_id, 0, 0, items_ahead=response.queued.items_ahead)
        case "started":
            return ports.GenerationProgress(response.item_id, 0, response.started.total_steps)
        case "step":
            step = response.step
            left = step.time_left.ToMilliseconds() / 1000 if step.HasField("time_left") else None
            return ports.GenerationProgress(response.item_id, step.step, step.total_steps, seconds_left=left)
        case "preview":
            preview = response.preview
            return ports.GenerationPreview(response.item_id, preview.step, preview.image.data)
        case "image":
            return ports.GeneratedImage(
                response.item_id,
                response.image.image.data,
                types.record_from_proto(response.image.record),
                response.image.prompt_truncated,
            )
        case "failed":
            return ports.GenerationFailure(response.item_id, types.item_error_from_proto(response.failed.error))
        case _:
            return None


# Scorer


def embed_request(model: str, images: Sequence[bytes], request_id: str) -> scorer_pb.EmbedRequest:
    """Pictures to embed."""
    pictures = [image_pb2.Image(data=data) for data in images]
    return scorer_pb.EmbedRequest(request_id=request_id[:64], model=model, images=pictures)


def score_request(
    *,
    target: ports.ScoreSubject | None,
    text: str,
    candidates: Sequence[ports.ScoreSubject],
    metrics: Sequence[str],
    request_id: str,
) -> scorer_pb.ScoreRequest:
    """What to score."""
    return scorer_pb.ScoreRequest(
        request_id=request_id[:64],
        target=_subject(target) if target else None,
        text=text,
        candidates=[_subject(candidate) for candidate in candidates],
        metrics=metrics,
    )


def candidate_scores(response: scorer_pb.CandidateScores) -> ports.CandidateScores:
    """Scores of one candidate."""
    return ports.CandidateScores(
        tuple(types.score_from_proto(score) for score in response.scores), response.text_truncated
    )


def embedding(message: score_pb2.Embedding) -> ports.EmbeddingVector:
    """An embedding."""
    return ports.EmbeddingVector(
        message.model, message.revision, message.preprocessing, message.dimensions, message.data
    )


def metric_catalog(response: scorer_pb.ListMetricsResponse) -> ports.MetricCatalog:
    """Metrics of the deployment."""
    return ports.MetricCatalog(
        {metric.id: types.metric_from_proto(metric) for metric in response.metrics},
        {metric.id: metric.reason for metric in response.absent},
    )


def _subject(subject: ports.ScoreSubject) -> scorer_pb.ScoreSubject:
    return scorer_pb.ScoreSubject(
        image=image_pb2.Image(data=subject.data) if subject.data is not None else None,
        embeddings=[
            score_pb2.Embedding(
                model=vector.model,
                revision=vector.revision,
                preprocessing=vector.preprocessing,
                dimensions=vector.dimensions,
                data=vector.data,
            )
            for vector in subject.embeddings
        ],
    )


# Refiner


def propose_request(
    strategy: str,
    *,
    target: bytes,
    tree: Tree | None,
    base_prompt: str,
    round_number: int,
    prompt_count: int,
    aspect: Aspect | None,
    history: Sequence[PromptAttempt],
    seed: int,
    request_id: str,
) -> refiner_pb.ProposeRequest:
    """What a round starts from."""
    return refiner_pb.ProposeRequest(
        request_id=request_id[:64],
        strategy=strategy,
        target=image_pb2.Image(data=target),
        tree=types.tree_to_proto(tree) if tree else None,
        base_prompt=base_prompt,
        round_number=round_number,
        prompt_count=prompt_count,
        aspect=types.aspect_to_proto(aspect),
        history=[
            refiner_pb.PromptAttempt(prompt=one.prompt, round_number=one.round_number, score=one.score)
            for one in history
        ],
        seed=seed,
    )


def critique_request(
    strategy: str,
    *,
    target: bytes,
    best: bytes,
    best_prompt: str,
    tree: Tree | None,
    aspect: Aspect | None,
    round_number: int,
    request_id: str,
) -> refiner_pb.CritiqueRequest:
    """What to compare."""
    return refiner_pb.CritiqueRequest(
        request_id=request_id[:64],
        strategy=strategy,
        target=image_pb2.Image(data=target),
        best=image_pb2.Image(data=best),
        best_prompt=best_prompt,
        tree=types.tree_to_proto(tree) if tree else None,
        aspect=types.aspect_to_proto(aspect),
        round_number=round_number,
    )


def proposed_prompt(prompt: refiner_pb.ProposedPrompt) -> ProposedPrompt:
    """A prompt to try."""
    return ProposedPrompt(prompt.text, prompt.origin, tuple(types.edit_from_proto(edit) for edit in prompt.edits))


def strategy_info(strategy: refiner_pb.Strategy) -> ports.StrategyInfo:
    """A strategy of the refiner."""
    return ports.StrategyInfo(strategy.id, strategy.revision, strategy.description, strategy.embedded)
