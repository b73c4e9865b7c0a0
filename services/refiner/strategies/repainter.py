"""ImageRepainter's loop on a captioner: prompts come from what is seen in the target, and from nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from services.common.errors import InvalidInputError
from services.common.images import DecodedImage
from services.refiner.domain import (
    MAX_PROMPT_CHARACTERS,
    Aspect,
    Feedback,
    LanguageModelInfo,
    PromptEdit,
    ProposedPrompt,
    Revision,
    StrategyInfo,
    aspect_of_round,
)
from services.refiner.strategies.base import Critique, CritiqueRequest, ProposalRequest
from services.refiner.strategies.critic import KEEP, Critic
from services.refiner.strategies.hypotheses import Hypotheses
from services.refiner.understanding.base import Understander, WeightedCaption, normalized
from services.refiner.understanding.comparing import aspect_of_edit
from services.refiner.understanding.editing import PromptEditor
from services.refiner.understanding.feedback import FeedbackReader
from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.scene_prompt import Property
from services.refiner.understanding.synonyms import Rephraser
from services.refiner.understanding.tree import UnderstandingTree

_CODE_REVISION = "1"
_MIN_SHARE = 0.08
"""Least probability of a reading that is worth a picture."""
_RECHECK_SHARE = 0.25
"""Least probability of a reading of an earlier round's aspect that is worth another picture."""
_SYNONYM_DILUTES_BELOW = 0.35
"""One alternative less probable than this gets a synonym beside it: it then takes a quarter of four pictures."""
_GIVEN_TREE_SHARE = 0.5
"""Weight of a tree that the caller sends and the captioner did not see."""
_MAX_HISTORY = 512


class Repainter:
    """Understand, propose, critique and revise by any understander."""

    def __init__(self, understander: Understander, parser: PromptParser, model: LanguageModelInfo) -> None:
        self._understander = understander
        self._parser = parser
        self._editor = PromptEditor(parser)
        self._hypotheses = Hypotheses(parser, self._editor)
        self._critic = Critic(parser, self._hypotheses, _MIN_SHARE)
        self._rephraser = Rephraser(parser)
        self._reader = FeedbackReader(parser)
        self._model = model
        revision = hashlib.sha256(f"repainter:{_CODE_REVISION}:{model.id}:{model.revision}".encode()).hexdigest()[:16]
        description = f"ImageRepainter's loop: prompts from what {model.id} sees in the target, one aspect a round."
        self._info = StrategyInfo("repainter", revision, description, model.embedded)

    @property
    def info(self) -> StrategyInfo:
        """What it is."""
        return self._info

    @property
    def models(self) -> tuple[LanguageModelInfo, ...]:
        """The captioner."""
        return (self._model,)

    async def understand(self, image: DecodedImage) -> tuple[UnderstandingTree, str]:
        """Tree and first prompt, at most MAX_PROMPT_CHARACTERS long."""
        description = await self._understander.describe(image)
        return description.tree, description.prompt[:MAX_PROMPT_CHARACTERS]

    async def propose(self, request: ProposalRequest) -> list[ProposedPrompt]:
        """The base prompt, other readings of the target worth a picture, and at most one synonym.

        A sure captioner gives few prompts: the pictures then go to fresh seeds of the base prompt.
        """
        captions = self._captions((await self._understander.describe(request.target)).captions, request.tree)
        others = self._alternatives(request, captions)
        if request.round_number == 1:
            others = self._other_captions(request, captions) + others
        proposals = [ProposedPrompt(request.base_prompt, "base")]
        proposals += [proposal for proposal, _ in others if len(proposal.text) <= MAX_PROMPT_CHARACTERS]
        dilutes = len(others) == 1 and others[0][1] < _SYNONYM_DILUTES_BELOW
        if (dilutes or request.round_number == 1) and len(proposals) < request.prompt_count:
            known = {proposal.text for proposal in proposals}
            synonyms = self._rephraser.rephrase(request.base_prompt, 1, request.seed, known)
            proposals += [ProposedPrompt(text, "synonym") for text in synonyms]
        return proposals[: request.prompt_count]

    async def critique(self, request: CritiqueRequest) -> Critique:
        """Feedback in the aspect; agreement over all attributes."""
        target = await self._understander.describe(request.target)
        picture = await self._understander.describe(request.best)
        captions = self._captions(target.captions, request.tree)
        return self._critic.critique(request.best_prompt, captions, picture.captions, request.aspect)

    async def revise(self, prompt: str, feedback: Feedback) -> Revision:
        """Applies the feedback's edits, or else what its words ask for, in its aspect if it names one.

        Raises:
            InvalidInputError: the words add an object to as many as the embedded models can draw.
        """
        if feedback.edits:
            edits = _in_aspect(feedback.edits, feedback.aspect)
        elif feedback.text.startswith(KEEP):
            edits = ()
        else:
            edits = self._reader.read(prompt, feedback.text, feedback.aspect)
        revision = self._editor.apply(prompt, edits)
        # Only a person asks for more than can be drawn: what a critic sees was drawn, or told by a person's tree.
        if not feedback.edits:
            self._check_count(revision)
        return revision

    def _check_count(self, revision: Revision) -> None:
        most, count = self._parser.vocabulary.most_objects, len(self._parser.parse(revision.prompt).scene.objects)
        if self._model.embedded and count > most and any(_is_addition(edit) for edit in revision.edits):
            problem = f"asks for {count} objects, and the embedded models draw at most {most}"
            raise InvalidInputError("feedback.text", problem, allowed="to replace an object, or to remove one as well")

    def _captions(
        self, captions: Sequence[WeightedCaption], tree: UnderstandingTree | None
    ) -> Sequence[WeightedCaption]:
        """Captions of the target; a tree that a person or another model made counts as much as all of them."""
        if tree is None or not tree.base_caption.strip():
            return captions
        if any(caption.text == " ".join(tree.base_caption.split()) for caption in captions):
            return captions
        given = WeightedCaption(tree.base_caption, _GIVEN_TREE_SHARE / (1 - _GIVEN_TREE_SHARE))
        return normalized([given, *captions])

    def _alternatives(
        self, request: ProposalRequest, captions: Sequence[WeightedCaption]
    ) -> list[tuple[ProposedPrompt, float]]:
        """Readings worth a picture with their shares: of the round's aspect, and of earlier ones still open."""
        history = request.history[-_MAX_HISTORY:]
        earlier = {aspect_of_round(number) for number in range(1, request.round_number)} - {request.aspect}
        found: dict[str, tuple[ProposedPrompt, float]] = {}
        for aspect in (request.aspect, *sorted(earlier)):
            least, origin = (_MIN_SHARE, "alternative") if aspect is request.aspect else (_RECHECK_SHARE, "recheck")
            readings = self._hypotheses.readings(request.base_prompt, captions, aspect)
            weighed = self._hypotheses.weigh(readings, history, aspect)
            for reading in sorted(weighed[1:], key=lambda reading: -reading.share):
                if reading.share >= least and reading.edits:
                    proposal = ProposedPrompt(reading.prompt, origin, reading.edits)
                    found.setdefault(reading.prompt, (proposal, reading.share))
        return list(found.values())

    def _other_captions(
        self, request: ProposalRequest, captions: Sequence[WeightedCaption]
    ) -> list[tuple[ProposedPrompt, float]]:
        """Other captions of the target, where the captioner's words are not the vocabulary's: they are its synonyms."""
        if self._parser.parse(captions[0].text).complete:
            return []
        others = [caption for caption in captions if caption.text != request.base_prompt]
        return [
            (ProposedPrompt(caption.text, "caption"), caption.probability) for caption in others[: request.prompt_count]
        ]


def _is_addition(edit: PromptEdit) -> bool:
    address = Property.parse(edit.property)
    return address is not None and address.index is not None and address.name is None and edit.after != ""


def _in_aspect(edits: Sequence[PromptEdit], aspect: Aspect | None) -> tuple[PromptEdit, ...]:
    """Edits of the aspect, and the colors that a change of style or of a thing brings or takes away."""
    if aspect is None:
        return tuple(edits)
    inside = [edit for edit in edits if aspect_of_edit(edit) in (None, aspect)]
    if not inside or aspect not in (Aspect.OVERALL, Aspect.STYLE):
        return tuple(inside)
    forced = [edit for edit in edits if edit.property.endswith(".color") and not (edit.before and edit.after)]
    return (*inside, *(edit for edit in forced if edit not in inside))
