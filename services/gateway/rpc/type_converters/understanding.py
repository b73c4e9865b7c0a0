"""Trees, prompts and feedback."""

from __future__ import annotations

from likeness.types.v1 import understanding_pb2
from services.gateway import domain

_ASPECT_TO_PROTO = {
    None: understanding_pb2.ASPECT_UNSPECIFIED,
    domain.Aspect.OVERALL: understanding_pb2.ASPECT_OVERALL,
    domain.Aspect.STYLE: understanding_pb2.ASPECT_STYLE,
    domain.Aspect.COLOR: understanding_pb2.ASPECT_COLOR,
    domain.Aspect.DETAIL: understanding_pb2.ASPECT_DETAIL,
}
_ASPECT_FROM_PROTO = {value: aspect for aspect, value in _ASPECT_TO_PROTO.items()}


def aspect_to_proto(aspect: domain.Aspect | None) -> understanding_pb2.Aspect.ValueType:
    """Aspect; None is ASPECT_UNSPECIFIED."""
    return _ASPECT_TO_PROTO[aspect]


def aspect_from_proto(aspect: int) -> domain.Aspect | None:
    """Aspect; a value this version does not know counts as unspecified, as proto3 asks of open enums."""
    return _ASPECT_FROM_PROTO.get(aspect)  # type: ignore[call-overload,no-any-return]


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


def _feature_to_proto(feature: domain.Feature) -> understanding_pb2.Feature:
    return understanding_pb2.Feature(
        name=feature.name,
        value=feature.value,
        aspect=aspect_to_proto(feature.aspect),
        confidence=feature.confidence,
    )


def _feature_from_proto(feature: understanding_pb2.Feature) -> domain.Feature:
    return domain.Feature(feature.name, feature.value, aspect_from_proto(feature.aspect), feature.confidence)
