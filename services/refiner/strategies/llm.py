"""ImageRepainter's loop, and OPT2I's use of the score history, by a multimodal language model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from services.common.errors import Reason, UnavailableError
from services.common.images import DecodedImage
from services.common.language_model import LanguageModel, Question
from services.refiner.domain import (
    MAX_PROMPT_CHARACTERS,
    Aspect,
    Feedback,
    LanguageModelInfo,
    PromptAttempt,
    PromptEdit,
    ProposedPrompt,
    Revision,
    StrategyInfo,
)
from services.refiner.language import instructions, schemas
from services.refiner.strategies.base import Critique, CritiqueRequest, ProposalRequest
from services.refiner.understanding.base import Description, Understander, WeightedCaption
from services.refiner.understanding.tree import Feature, ObjectNode, QuestionAnswer, Relation, UnderstandingTree

_CODE_REVISION = "1"
_MAX_HISTORY = 20
_PROPOSAL_TEMPERATURE = 0.8


class LanguageModelUnderstander:
    """Builds the tree in the paper's three steps: look, ask about every object, write the prompt."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    async def describe(self, image: DecodedImage) -> Description:
        """Tree and prompt of a picture; one caption, since a chat model gives no probabilities."""
        look = await self._model.ask(Question("look", instructions.LOOK, ("{}", image.rgb), schemas.TREE))
        data = _json(objects=look["objects"], caption=look["base_caption"])
        details = await self._model.ask(Question("ask", instructions.ASK, (data, image.rgb), schemas.OBJECTS))
        tree = _tree(look, details)
        data = _json(tree=dataclasses.asdict(tree))
        written = await self._model.ask(Question("write", instructions.WRITE, (data,), schemas.PROMPT))
        prompt = _prompt(written["prompt"]) or tree.base_caption
        if not prompt:
            problem = "the language model described the picture in characters that cannot be printed"
            raise UnavailableError(Reason.LANGUAGE_MODEL_UNAVAILABLE, problem)
        return Description((WeightedCaption(prompt, 1.0),), tree, prompt)


class LanguageModelStrategy:
    """The four verbs by a chat model."""

    def __init__(self, model: LanguageModel, understander: Understander) -> None:
        self._model = model
        self._understander = understander
        revision = hashlib.sha256(f"llm:{_CODE_REVISION}:{model.name}".encode()).hexdigest()[:16]
        self._info = StrategyInfo(
            "llm",
            revision,
            f"ImageRepainter's loop by the language model {model.name[:80]}, with score history.",
            False,
        )

    @property
    def info(self) -> StrategyInfo:
        """What it is."""
        return self._info

    @property
    def models(self) -> tuple[LanguageModelInfo, ...]:
        """The chat model; its weights and their revision are the endpoint's business."""
        return (LanguageModelInfo(self._model.name, "", "openai-compatible endpoint", False, "unknown"),)

    async def understand(self, image: DecodedImage) -> tuple[UnderstandingTree, str]:
        """Tree and first prompt."""
        description = await self._understander.describe(image)
        return description.tree, description.prompt

    async def propose(self, request: ProposalRequest) -> list[ProposedPrompt]:
        """The base prompt, then the model's prompts; repeated and tried ones are left out."""
        base = ProposedPrompt(request.base_prompt, "base")
        if request.prompt_count == 1:
            return [base]
        tree = request.tree or (await self._understander.describe(request.target)).tree
        data = _json(
            base_prompt=request.base_prompt,
            tree=dataclasses.asdict(tree),
            aspect=request.aspect.value,
            wanted=request.prompt_count - 1,
            history=_history(request.history),
        )
        question = Question(
            "propose",
            instructions.PROPOSE,
            (data,),
            schemas.prompts(request.prompt_count),
            temperature=_PROPOSAL_TEMPERATURE,
            seed=request.seed,
        )
        answer = await self._model.ask(question)
        tried = {attempt.prompt for attempt in request.history} | {request.base_prompt}
        texts = dict.fromkeys(_prompt(text) for text in answer["prompts"])
        fresh = [text for text in texts if text and text not in tried]
        origin = "synonym" if request.aspect is Aspect.OVERALL else "revision"
        return [base, *(ProposedPrompt(text, origin) for text in fresh[: request.prompt_count - 1])]

    async def critique(self, request: CritiqueRequest) -> Critique:
        """What differs in the aspect, as the model sees it."""
        tree = request.tree or (await self._understander.describe(request.target)).tree
        data = _json(prompt=request.best_prompt, aspect=request.aspect.value, tree=dataclasses.asdict(tree))
        question = Question(
            "critique", instructions.CRITIQUE, (data, request.target.rgb, request.best.rgb), schemas.CRITIQUE
        )
        answer = await self._model.ask(question)
        feedback = Feedback(_prompt(answer["feedback"]), request.aspect, _edits(answer["edits"]))
        return Critique(feedback, float(answer["agreement"]))

    async def revise(self, prompt: str, feedback: Feedback) -> Revision:
        """The prompt as the model changes it."""
        if not feedback.text.strip() and not feedback.edits:
            return Revision(prompt)
        data = _json(
            prompt=prompt,
            feedback=feedback.text,
            aspect=feedback.aspect.value if feedback.aspect else "",
            edits=[dataclasses.asdict(edit) for edit in feedback.edits],
        )
        answer = await self._model.ask(Question("revise", instructions.REVISE, (data,), schemas.REVISION))
        revised = _prompt(answer["prompt"])
        if not revised or revised == prompt:
            return Revision(prompt)
        return Revision(revised, _edits(answer["edits"]))


def _json(**data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


def _prompt(text: str) -> str:
    """One line of printable text: control characters have no place in a prompt."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:MAX_PROMPT_CHARACTERS]


def _history(attempts: Sequence[PromptAttempt]) -> list[dict[str, Any]]:
    """The best attempts, worst first, as OPT2I shows them: the model continues the climb."""
    best: dict[str, float] = {}
    for attempt in attempts:
        best[attempt.prompt] = max(attempt.score, best.get(attempt.prompt, 0.0))
    ordered = sorted(best.items(), key=lambda item: item[1])[-_MAX_HISTORY:]
    return [{"prompt": prompt, "score": round(score, 4)} for prompt, score in ordered]


def _edits(rows: list[dict[str, str]]) -> tuple[PromptEdit, ...]:
    edits = (PromptEdit(_prompt(row["property"]), _prompt(row["before"]), _prompt(row["after"])) for row in rows)
    return tuple(edit for edit in edits if edit.property and edit.before != edit.after)


def _features(rows: list[dict[str, str]]) -> tuple[Feature, ...]:
    return tuple(Feature(_prompt(row["name"]), _prompt(row["value"]), Aspect(row["aspect"])) for row in rows)


def _tree(look: dict[str, Any], details: dict[str, Any]) -> UnderstandingTree:
    """The two looks as one tree: objects of the first, with what the second says of them."""
    known = {row["name"].lower(): row for row in details["objects"]}
    objects = []
    for name in look["objects"]:
        row = known.get(name.lower(), {"questions": [], "features": []})
        questions = tuple(QuestionAnswer(_prompt(q["question"]), _prompt(q["answer"])) for q in row["questions"])
        objects.append(ObjectNode(_prompt(name), _features(row["features"]), questions))
    relations = tuple(
        Relation(_prompt(row["subject"]), _prompt(row["predicate"]), _prompt(row["object"]))
        for row in look["relations"]
    )
    return UnderstandingTree(
        _prompt(look["base_caption"]), _features(look["overall_features"]), tuple(objects), relations
    )
