"""Heads as messages: what the gateway and the scorer both send."""

from __future__ import annotations

from likeness.types.v1 import head_pb2
from services.common.heads import Head, Recipe

RECIPES = {
    Recipe.PUBLISHED: head_pb2.HEAD_RECIPE_PUBLISHED,
    Recipe.MARGIN: head_pb2.HEAD_RECIPE_MARGIN,
    Recipe.CONVEX: head_pb2.HEAD_RECIPE_CONVEX,
}


def head_to_proto(head: Head) -> head_pb2.Head:
    """The message of a head."""
    return head_pb2.Head(
        metric=head.backbone.metric,
        backbone_revision=head.backbone.revision,
        layer_channels=head.backbone.layers,
        weights=head.weights,
        recipe=RECIPES[head.recipe],
        parent_revision=head.parent,
        revision=head.revision,
    )
