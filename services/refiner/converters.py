"""Protobuf messages to the refiner's values and back. The only file of the refiner that knows the contracts' fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from likeness.refiner.v1 import refiner_service_pb2 as pb
from likeness.types.v1 import image_pb2, model_pb2, understanding_pb2
from services.common.errors import InvalidInputError
from services.refiner.domain import (
    Aspect,
    Feedback,
    LanguageModelInfo,
    PromptAttempt,
    PromptEdit,
    ProposedPrompt,
    Revision,
    StrategyInfo,
)
from services.refiner.strategies.base import Critique
from services.refiner.understanding.tree import Feature, ObjectNode, QuestionAnswer, Relation, UnderstandingTree

_ASPECTS: dict[Aspect, understanding_pb2.Aspect.ValueType] = {
    Aspect.OVERALL: understanding_pb2.ASPECT_OVERALL,
    Aspect.STYLE: understanding_pb2.ASPECT_STYLE,
    Aspect.COLOR: understanding_pb2.ASPECT_COLOR,
    Aspect.DETAIL: understanding_pb2.ASPECT_DETAIL,
}
_ASPECTS_BACK: dict[int, Aspect] = {number: aspect for aspect, number in _ASPECTS.items()}
_ASPECT_NAMES = ", ".join(understanding_pb2.Aspect.Name(number) for number in _ASPECTS.values())


def image_bytes(image: image_pb2.Image, field: str) -> bytes:
    """Bytes of a picture; InvalidInputError if it comes by hash, which only the gateway resolves."""
    if image.WhichOneof("content") != "data":
        problem = "is sent by content hash" if image.WhichOneof("content") else "is missing"
        raise InvalidInputError(field, problem, allowed="the picture's bytes")
    return image.data


def aspect_from(number: int, field: str) -> Aspect | None:
    """An aspect, None if unset; InvalidInputError for numbers that this version does not know."""
    if number == understanding_pb2.ASPECT_UNSPECIFIED:
        return None
    aspect = _ASPECTS_BACK.get(number)
    if aspect is None:
        raise InvalidInputError(field, f"{number} is no aspect", allowed=_ASPECT_NAMES)
    return aspect


def attempts_from(messages: Iterable[pb.PromptAttempt]) -> list[PromptAttempt]:
    """The history of a request."""
    return [PromptAttempt(message.prompt, message.round_number, message.score) for message in messages]


def edits_from(messages: Iterable[understanding_pb2.PromptEdit]) -> tuple[PromptEdit, ...]:
    """Edits of a request."""
    return tuple(PromptEdit(message.property, message.before, message.after) for message in messages)


def feedback_from(message: understanding_pb2.Feedback) -> Feedback:
    """Feedback of a request."""
    return Feedback(message.text, aspect_from(message.aspect, "feedback.aspect"), edits_from(message.edits))


def tree_from(message: understanding_pb2.UnderstandingTree) -> UnderstandingTree:
    """Tree of a request. Aspects that this version does not know are dropped: a tree is help, not an order."""
    return UnderstandingTree(
        base_caption=message.base_caption,
        overall_features=_features_from(message.overall_features),
        objects=tuple(
            ObjectNode(
                node.name,
                _features_from(node.features),
                tuple(QuestionAnswer(question.question, question.answer) for question in node.questions),
            )
            for node in message.objects
        ),
        relations=tuple(Relation(r.subject, r.predicate, r.object) for r in message.relations),
    )


def _features_from(messages: Iterable[understanding_pb2.Feature]) -> tuple[Feature, ...]:
    return tuple(Feature(m.name, m.value, _ASPECTS_BACK.get(m.aspect), m.confidence) for m in messages)


def tree_message(tree: UnderstandingTree) -> understanding_pb2.UnderstandingTree:
    """A tree on the wire."""
    return understanding_pb2.UnderstandingTree(
        base_caption=tree.base_caption,
        overall_features=_feature_messages(tree.overall_features),
        objects=[
            understanding_pb2.ObjectNode(
                name=node.name,
                features=_feature_messages(node.features),
                questions=[
                    understanding_pb2.QuestionAnswer(question=q.question, answer=q.answer) for q in node.questions
                ],
            )
            for node in tree.objects
        ],
        relations=[
            understanding_pb2.Relation(subject=r.subject, predicate=r.predicate, object=r.object)
            for r in tree.relations
        ],
    )


def _feature_messages(features: Iterable[Feature]) -> list[understanding_pb2.Feature]:
    return [
        understanding_pb2.Feature(
            name=feature.name,
            value=feature.value,
            aspect=_aspect_number(feature.aspect),
            confidence=feature.confidence,
        )
        for feature in features
    ]


def _aspect_number(aspect: Aspect | None) -> understanding_pb2.Aspect.ValueType:
    return _ASPECTS[aspect] if aspect else understanding_pb2.ASPECT_UNSPECIFIED


def _edit_messages(edits: Iterable[PromptEdit]) -> list[understanding_pb2.PromptEdit]:
    return [
        understanding_pb2.PromptEdit(property=edit.property, before=edit.before, after=edit.after) for edit in edits
    ]


def propose_response(proposals: Sequence[ProposedPrompt]) -> pb.ProposeResponse:
    """Prompts of a round on the wire."""
    return pb.ProposeResponse(
        prompts=[
            pb.ProposedPrompt(text=proposal.text, origin=proposal.origin, edits=_edit_messages(proposal.edits))
            for proposal in proposals
        ]
    )


def critique_response(critique: Critique) -> pb.CritiqueResponse:
    """Feedback on the wire."""
    feedback = critique.feedback
    message = understanding_pb2.Feedback(
        aspect=_aspect_number(feedback.aspect), text=feedback.text, edits=_edit_messages(feedback.edits)
    )
    return pb.CritiqueResponse(feedback=message, agreement=critique.agreement)


def revise_response(revision: Revision) -> pb.ReviseResponse:
    """A revised prompt on the wire."""
    return pb.ReviseResponse(prompt=revision.prompt, edits=_edit_messages(revision.edits))


def list_response(strategies: Iterable[StrategyInfo], models: Iterable[LanguageModelInfo]) -> pb.ListStrategiesResponse:
    """The catalogue on the wire."""
    return pb.ListStrategiesResponse(
        strategies=[
            pb.Strategy(id=s.id, revision=s.revision, description=s.description, embedded=s.embedded)
            for s in strategies
        ],
        models=[
            model_pb2.Model(
                id=model.id,
                revision=model.revision,
                role=model_pb2.MODEL_ROLE_LANGUAGE,
                source=model.source,
                embedded=model.embedded,
                license=model.license,
            )
            for model in models
        ],
    )
