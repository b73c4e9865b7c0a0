"""Models, their limits and adapters."""

from __future__ import annotations

from likeness.types.v1 import model_pb2
from services.gateway import ports

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
