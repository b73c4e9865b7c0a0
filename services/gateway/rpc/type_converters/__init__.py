"""likeness.types.v1 <-> the gateway's domain. Shared by the public edge (rpc/) and the backend clients (backends/)."""

from services.gateway.rpc.type_converters.images import (
    image_info_to_proto,
    image_to_proto,
    noise_mix_to_proto,
    picture_from_proto,
    record_from_proto,
    record_to_proto,
)
from services.gateway.rpc.type_converters.models import model_from_proto, model_to_proto
from services.gateway.rpc.type_converters.scores import (
    item_error_from_proto,
    item_error_to_proto,
    metric_from_proto,
    metric_to_proto,
    score_from_proto,
    score_to_proto,
)
from services.gateway.rpc.type_converters.understanding import (
    aspect_from_proto,
    aspect_to_proto,
    edit_from_proto,
    edit_to_proto,
    feedback_from_proto,
    feedback_to_proto,
    tree_from_proto,
    tree_to_proto,
)

__all__ = [
    "aspect_from_proto",
    "aspect_to_proto",
    "edit_from_proto",
    "edit_to_proto",
    "feedback_from_proto",
    "feedback_to_proto",
    "image_info_to_proto",
    "image_to_proto",
    "item_error_from_proto",
    "item_error_to_proto",
    "metric_from_proto",
    "metric_to_proto",
    "model_from_proto",
    "model_to_proto",
    "noise_mix_to_proto",
    "picture_from_proto",
    "record_from_proto",
    "record_to_proto",
    "score_from_proto",
    "score_to_proto",
    "tree_from_proto",
    "tree_to_proto",
]
