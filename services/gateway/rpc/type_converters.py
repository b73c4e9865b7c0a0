"""likeness.types.v1 <-> the gateway's domain. Shared by the public edge (rpc/) and the backend clients (backends/)."""

from __future__ import annotations

from likeness.types.v1 import image_pb2, model_pb2, score_pb2, understanding_pb2
from services.gateway import domain, ports
from services.gateway.profiles.model import PictureInput

_ASPECT_TO_PROTO = {
    None: understanding_pb2.ASPECT_UNSPECIFIED,
    domain.Aspect.OVERALL: understanding_pb2.ASPECT_OVERALL,
    domain.Aspect.STYLE: understanding_pb2.ASPECT_STYLE,
    domain.Aspect.COLOR: understanding_pb2.ASPECT_COLOR,
    domain.Aspect.DETAIL: understanding_pb2.ASPECT_DETAIL,
}
_ASPECT_FROM_PROTO = {value: aspect for aspect, value in _ASPECT_TO_PROTO.items()}

_ROLE_TO_PROTO = {
    "generator": model_pb2.MODEL_ROLE_GENERATOR,
    "embedder": model_pb2.MODEL_ROLE_EMBEDDER,
    "language": model_pb2.MODEL_ROLE_LANGUAGE,
}
_ROLE_FROM_PROTO = {value: role for role, value in _ROLE_TO_PROTO.items()}

_LOAD_STATE_TO_PROTO = {
    ports.LoadState.UNSPECIFIED: model_pb2.LOAD_STATE_UNSPECIFIED,
    ports.LoadState.LOADED: model_pb2.LOAD_STATE_LOADED,
    ports.LoadState.LOADING: model_pb2.LOAD_STATE_LOADING,
    ports.LoadState.NOT_LOADED: model_pb2.LOAD_STATE_NOT_LOADED,
    ports.LoadState.FAILED: model_pb2.LOAD_STATE_FAILED,
}
_LOAD_STATE_FROM_PROTO = {value: state for state, value in _LOAD_STATE_TO_PROTO.items()}

_INPUT_TO_PROTO = {
    "image-image": score_pb2.METRIC_INPUT_IMAGE_IMAGE,
    "text-image": score_pb2.METRIC_INPUT_TEXT_IMAGE,
    "image": score_pb2.METRIC_INPUT_IMAGE,
}
_INPUT_FROM_PROTO = {value: name for name, value in _INPUT_TO_PROTO.items()}


def aspect_to_proto(aspect: domain.Aspect | None) -> understanding_pb2.Aspect.ValueType:
    """Aspect; None is ASPECT_UNSPECIFIED."""
    return _ASPECT_TO_PROTO[aspect]


def aspect_from_proto(aspect: int) -> domain.Aspect | None:
    """Aspect; a value this version does not know counts as unspecified, as proto3 asks of open enums."""
    return _ASPECT_FROM_PROTO.get(aspect)  # type: ignore[call-overload,no-any-return]


def item_error_to_proto(error: domain.ItemError) -> score_pb2.ItemError:
    """Item error."""
    return score_pb2.ItemError(reason=error.reason, message=error.message, field=error.field)


def item_error_from_proto(error: score_pb2.ItemError) -> domain.ItemError:
    """Item error."""
    return domain.ItemError(error.reason, error.message, error.field)


def image_info_to_proto(info: domain.ImageInfo) -> image_pb2.ImageInfo:
    """What is known of a stored picture."""
    return image_pb2.ImageInfo(
        content_hash=info.content_hash,
        pixel_hash=info.pixel_hash,
        media_type=info.media_type,
        width_pixels=info.width_pixels,
        height_pixels=info.height_pixels,
        size_bytes=info.size_bytes,
    )


def image_info_from_proto(info: image_pb2.ImageInfo) -> domain.ImageInfo:
    """What is known of a stored picture."""
    return domain.ImageInfo(
        content_hash=info.content_hash,
        pixel_hash=info.pixel_hash,
        media_type=info.media_type,
        width_pixels=info.width_pixels,
        height_pixels=info.height_pixels,
        size_bytes=info.size_bytes,
    )


def image_to_proto(data: bytes) -> image_pb2.Image:
    """A picture by its bytes, as backends take it."""
    return image_pb2.Image(data=data)


def picture_from_proto(image: image_pb2.Image) -> PictureInput:
    """A picture as a caller names it."""
    return PictureInput(image.data if image.WhichOneof("content") == "data" else None, image.content_hash)


def edit_to_proto(edit: domain.PromptEdit) -> understanding_pb2.PromptEdit:
    """One change of a prompt."""
    return understanding_pb2.PromptEdit(property=edit.property, before=edit.before, after=edit.after)


def edit_from_proto(edit: understanding_pb2.PromptEdit) -> domain.PromptEdit:
    """One change of a prompt."""
    return domain.PromptEdit(edit.property, edit.before, edit.after)


def feedback_to_proto(feedback: domain.Feedback) -> understanding_pb2.Feedback:
    """What should change."""
    return understanding_pb2.Feedback(
        aspect=aspect_to_proto(feedback.aspect),
        text=feedback.text,
        edits=[edit_to_proto(edit) for edit in feedback.edits],
    )


def feedback_from_proto(feedback: understanding_pb2.Feedback) -> domain.Feedback:
    """What should change."""
    return domain.Feedback(
        text=feedback.text,
        aspect=aspect_from_proto(feedback.aspect),
        edits=tuple(edit_from_proto(edit) for edit in feedback.edits),
    )


def tree_to_proto(tree: domain.Tree) -> understanding_pb2.UnderstandingTree:
    """Image Understanding Tree."""
    return understanding_pb2.UnderstandingTree(
        base_caption=tree.base_caption,
        overall_features=[_feature_to_proto(feature) for feature in tree.overall_features],
        objects=[
            understanding_pb2.ObjectNode(
                name=node.name,
                features=[_feature_to_proto(feature) for feature in node.features],
                questions=[
                    understanding_pb2.QuestionAnswer(question=question, answer=answer)
                    for question, answer in node.questions
                ],
            )
            for node in tree.objects
        ],
        relations=[
            understanding_pb2.Relation(subject=one.subject, predicate=one.predicate, object=one.object)
            for one in tree.relations
        ],
    )


def tree_from_proto(tree: understanding_pb2.UnderstandingTree) -> domain.Tree:
    """Image Understanding Tree."""
    return domain.Tree(
        base_caption=tree.base_caption,
        overall_features=tuple(_feature_from_proto(feature) for feature in tree.overall_features),
        objects=tuple(
            domain.ObjectNode(
                name=node.name,
                features=tuple(_feature_from_proto(feature) for feature in node.features),
                questions=tuple((one.question, one.answer) for one in node.questions),
            )
            for node in tree.objects
        ),
        relations=tuple(domain.Relation(one.subject, one.predicate, one.object) for one in tree.relations),
    )


def record_to_proto(record: domain.GenerationRecord) -> model_pb2.GenerationRecord:
    """Everything needed to make the same picture again."""
    return model_pb2.GenerationRecord(
        prompt=record.prompt,
        negative_prompt=record.negative_prompt,
        seed=record.seed,
        steps=record.steps,
        guidance_scale=record.guidance_scale,
        scheduler=record.scheduler,
        width_pixels=record.width_pixels,
        height_pixels=record.height_pixels,
        model=record.model,
        model_revision=record.model_revision,
        noise_mix=noise_mix_to_proto(record.noise_mix),
        deterministic=record.deterministic,
        strength=record.strength,
        initial_image_content_hash=record.initial_image_content_hash,
        mask_content_hash=record.mask_content_hash,
        second_strength=record.second_strength,
        adapter=record.adapter,
        adapter_scale=record.adapter_scale,
        adapter_revision=record.adapter_revision,
    )


def noise_mix_to_proto(mix: tuple[domain.NoisePart, ...]) -> list[model_pb2.NoisePart]:
    """Noises of a mix."""
    return [model_pb2.NoisePart(seed=part.seed, weight=part.weight, cells=part.cells) for part in mix]


def record_from_proto(record: model_pb2.GenerationRecord) -> domain.GenerationRecord:
    """Everything needed to make the same picture again."""
    return domain.GenerationRecord(
        prompt=record.prompt,
        negative_prompt=record.negative_prompt,
        seed=record.seed,
        steps=record.steps,
        guidance_scale=record.guidance_scale,
        scheduler=record.scheduler,
        width_pixels=record.width_pixels,
        height_pixels=record.height_pixels,
        model=record.model,
        model_revision=record.model_revision,
        noise_mix=tuple(domain.NoisePart(part.seed, part.weight, tuple(part.cells)) for part in record.noise_mix),
        deterministic=record.deterministic,
        strength=record.strength,
        initial_image_content_hash=record.initial_image_content_hash,
        mask_content_hash=record.mask_content_hash,
        second_strength=record.second_strength,
        adapter=record.adapter,
        adapter_scale=record.adapter_scale,
        adapter_revision=record.adapter_revision,
    )


def score_to_proto(score: domain.Score) -> score_pb2.Score:
    """One metric's value for one candidate."""
    return score_pb2.Score(
        metric=score.metric,
        revision=score.revision,
        raw=score.raw,
        normalized=score.normalized,
        direction=_direction_to_proto(score.higher_is_better),
        minimum=score.minimum,
        maximum=score.maximum,
        error=item_error_to_proto(score.error) if score.error else None,
        cells=score.cells,
        text_truncated=score.text_truncated,
    )


def score_from_proto(score: score_pb2.Score) -> domain.Score:
    """One metric's value for one candidate."""
    return domain.Score(
        metric=score.metric,
        revision=score.revision,
        raw=score.raw,
        normalized=score.normalized,
        higher_is_better=score.direction == score_pb2.DIRECTION_HIGHER_IS_BETTER,
        minimum=score.minimum if score.HasField("minimum") else None,
        maximum=score.maximum if score.HasField("maximum") else None,
        error=item_error_from_proto(score.error) if score.HasField("error") else None,
        cells=tuple(score.cells),
        text_truncated=score.text_truncated,
    )


def metric_to_proto(metric: ports.MetricInfo) -> score_pb2.Metric:
    """A metric of the deployment."""
    return score_pb2.Metric(
        id=metric.id,
        revision=metric.revision,
        description=metric.description,
        input=_INPUT_TO_PROTO[metric.input],
        direction=_direction_to_proto(metric.higher_is_better),
        minimum=metric.minimum,
        maximum=metric.maximum,
        preprocessing=metric.preprocessing,
        embedding_model=metric.embedding_model,
        token_limit=metric.token_limit,
        embedded=metric.embedded,
        license=metric.license,
    )


def metric_from_proto(metric: score_pb2.Metric) -> ports.MetricInfo:
    """A metric of the deployment."""
    return ports.MetricInfo(
        id=metric.id,
        revision=metric.revision,
        description=metric.description,
        input=_INPUT_FROM_PROTO.get(metric.input, "image-image"),
        higher_is_better=metric.direction == score_pb2.DIRECTION_HIGHER_IS_BETTER,
        minimum=metric.minimum if metric.HasField("minimum") else None,
        maximum=metric.maximum if metric.HasField("maximum") else None,
        preprocessing=metric.preprocessing,
        embedding_model=metric.embedding_model,
        token_limit=metric.token_limit if metric.HasField("token_limit") else None,
        embedded=metric.embedded,
        license=metric.license,
    )


def model_to_proto(model: ports.ModelInfo) -> model_pb2.Model:
    """A model of the deployment."""
    return model_pb2.Model(
        id=model.id,
        revision=model.revision,
        role=_ROLE_TO_PROTO.get(model.role, model_pb2.MODEL_ROLE_UNSPECIFIED),
        source=model.source,
        embedded=model.embedded,
        license=model.license,
        generation_limits=_limits_to_proto(model.limits) if model.limits else None,
        adapters=[
            model_pb2.Adapter(id=one.id, revision=one.revision, license=one.license, absent_reason=one.absent_reason)
            for one in model.adapters
        ],
        load_state=_LOAD_STATE_TO_PROTO[model.load_state],
        load_problem=model.load_problem,
        size_bytes=model.size_bytes,
    )


def model_from_proto(model: model_pb2.Model) -> ports.ModelInfo:
    """A model of the deployment."""
    limits = model.generation_limits
    return ports.ModelInfo(
        id=model.id,
        revision=model.revision,
        role=_ROLE_FROM_PROTO.get(model.role, ""),
        source=model.source,
        embedded=model.embedded,
        license=model.license,
        limits=_limits_from_proto(limits) if model.HasField("generation_limits") else None,
        adapters=tuple(
            ports.AdapterInfo(one.id, one.revision, one.license, one.absent_reason) for one in model.adapters
        ),
        load_state=_LOAD_STATE_FROM_PROTO.get(model.load_state, ports.LoadState.UNSPECIFIED),
        load_problem=model.load_problem,
        size_bytes=model.size_bytes,
    )


def _feature_to_proto(feature: domain.Feature) -> understanding_pb2.Feature:
    return understanding_pb2.Feature(
        name=feature.name,
        value=feature.value,
        aspect=aspect_to_proto(feature.aspect),
        confidence=feature.confidence,
    )


def _feature_from_proto(feature: understanding_pb2.Feature) -> domain.Feature:
    return domain.Feature(feature.name, feature.value, aspect_from_proto(feature.aspect), feature.confidence)


def _direction_to_proto(higher_is_better: bool) -> score_pb2.Direction.ValueType:
    return score_pb2.DIRECTION_HIGHER_IS_BETTER if higher_is_better else score_pb2.DIRECTION_LOWER_IS_BETTER


def _limits_to_proto(limits: ports.GenerationLimits) -> model_pb2.GenerationLimits:
    return model_pb2.GenerationLimits(
        default_steps=limits.default_steps,
        max_steps=limits.max_steps,
        default_guidance_scale=limits.default_guidance_scale,
        width_pixels=limits.width_pixels,
        height_pixels=limits.height_pixels,
        size_multiple_pixels=limits.size_multiple_pixels,
        max_side_pixels=limits.max_side_pixels,
        schedulers=limits.schedulers,
        token_limit=limits.token_limit,
        mixes_noise=limits.mixes_noise,
        takes_initial_image=limits.takes_initial_image,
        takes_negative_prompt=limits.takes_negative_prompt,
        takes_guidance_scale=limits.takes_guidance_scale,
    )


def _limits_from_proto(limits: model_pb2.GenerationLimits) -> ports.GenerationLimits:
    return ports.GenerationLimits(
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
    )
