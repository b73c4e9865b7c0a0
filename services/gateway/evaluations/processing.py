"""From items to results, for streams and jobs alike. A bad item fails alone; only what all items need raises."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.common.errors import InvalidInputError, LikenessError, NotFoundError
from services.gateway.domain import ItemError
from services.gateway.evaluations import validation
from services.gateway.evaluations.model import (
    EvaluatedImage,
    EvaluationItem,
    EvaluationItemError,
    EvaluationSettings,
    ItemResult,
    Prompts,
)
from services.gateway.evaluations.pairs import Pair, PairScoring
from services.gateway.evaluations.pictures import ItemPictures, NamedPicture
from services.gateway.evaluations.prompts import PromptPictures
from services.gateway.generation import FinishedImage
from services.gateway.loops.text import storable
from services.gateway.ports import CandidateScores, MetricInfo
from services.gateway.scorable import ScorableImage

MAX_BATCH = 256
"""Items that are worth one call of `process`."""


@dataclass
class _Work:
    """An item on its way."""

    item: EvaluationItem
    target: ScorableImage | None = None
    made: list[FinishedImage | ItemError] = field(default_factory=list)
    """Of an item with prompts."""
    candidates: list[ScorableImage] = field(default_factory=list)
    """Those pictures that there are."""
    scores: list[CandidateScores] = field(default_factory=list)
    error: LikenessError | None = None


@dataclass(frozen=True)
class ItemProcessor:
    """Makes, finds and scores the pictures of items."""

    pictures: ItemPictures
    prompts: PromptPictures
    pairs: PairScoring

    async def process(
        self, items: Sequence[EvaluationItem], settings: EvaluationSettings, *, tenant_id: str, call_id: str
    ) -> list[ItemResult]:
        """Results in the order of the items. Cancelling it cancels the calls under way.

        Args:
            items: Up to MAX_BATCH; those with prompts are best given one by one, since the slowest decides.
            settings: Settings of their evaluation.
            tenant_id: Whose they are.
            call_id: Id of the call in the logs of all services.

        Raises:
            LikenessError: what items need does not answer, although it was asked again; no item is at fault.
        """
        known = (await self.pairs.metrics()).offered
        works = [_checked(item, settings, known) for item in items]
        await self._make(works, settings, tenant_id=tenant_id, call_id=call_id)
        await self._find(works, tenant_id)
        await self._score(works, settings, tenant_id=tenant_id, call_id=call_id)
        return [_result(work) for work in works]

    async def _make(
        self, works: Sequence[_Work], settings: EvaluationSettings, *, tenant_id: str, call_id: str
    ) -> None:
        generation = settings.generation

        async def make(work: _Work, prompts: Prompts) -> None:
            assert generation is not None
            try:
                work.made = await self.prompts.make(
                    work.item, prompts, generation, tenant_id=tenant_id, call_id=call_id
                )
            except (InvalidInputError, NotFoundError) as error:
                work.error = error
            good = [one for one in work.made if isinstance(one, FinishedImage)]
            work.candidates = [ScorableImage.given(one.data, one.info.pixel_hash) for one in good]

        asked = [(work, work.item.subject) for work in works if work.error is None]
        try:
            async with asyncio.TaskGroup() as group:
                for work, subject in asked:
                    if isinstance(subject, Prompts):
                        group.create_task(make(work, subject))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _find(self, works: Sequence[_Work], tenant_id: str) -> None:
        named: list[tuple[_Work, NamedPicture]] = []
        for work in works:
            if work.error is not None:
                continue
            if work.item.target is not None:
                named.append((work, NamedPicture("target", work.item.target)))
            if work.item.subject is not None and not isinstance(work.item.subject, Prompts):
                named.append((work, NamedPicture("image", work.item.subject)))
        found = await self.pictures.find(tenant_id, [one for _, one in named])
        for (work, one), picture in zip(named, found, strict=True):
            if isinstance(picture, LikenessError):
                work.error = work.error or picture
            elif one.field == "target":
                work.target = picture
            else:
                work.candidates = [picture]

    async def _score(
        self, works: Sequence[_Work], settings: EvaluationSettings, *, tenant_id: str, call_id: str
    ) -> None:
        scored = [work for work in works if work.error is None]
        pairs = [pair for work in scored for pair in _pairs(work)]
        answers = iter(await self.pairs.score(pairs, settings.metrics, tenant_id=tenant_id, request_id=call_id))
        for work in scored:
            for _ in work.candidates:
                answer = next(answers)
                if isinstance(answer, LikenessError):
                    work.error = work.error or answer
                else:
                    work.scores.append(answer)


def failed(item: EvaluationItem, error: LikenessError) -> ItemResult:
    """Result of an item that an error of the tree stands for."""
    said = ItemError(error.reason.value, error.message, error.field)
    # What an item says may be too long, or hold what cannot be stored: that may be why it failed.
    most = validation.MAX_LABEL_CHARACTERS
    item_id, group, system = (storable(one)[:most] for one in (item.item_id, item.group, item.system))
    why = EvaluationItemError(error.code, storable(said))
    return ItemResult(item.offset, item_id, group, system, item.digest, error=why)


def _checked(item: EvaluationItem, settings: EvaluationSettings, known: Mapping[str, MetricInfo]) -> _Work:
    try:
        validation.check_item(item, settings, known)
    except InvalidInputError as error:
        return _Work(item, error=error)
    return _Work(item)


def _pairs(work: _Work) -> list[Pair]:
    if not isinstance(work.item.subject, Prompts):
        return [Pair(work.target, work.item.text, candidate) for candidate in work.candidates]
    texts = [work.item.text or one.record.prompt for one in work.made if isinstance(one, FinishedImage)]
    return [Pair(work.target, text, one) for text, one in zip(texts, work.candidates, strict=True)]


def _result(work: _Work) -> ItemResult:
    item = work.item
    if work.error is not None:
        return failed(item, work.error)
    scores = iter(work.scores)
    if not isinstance(item.subject, Prompts):
        assert item.subject is not None
        images = [_scored(next(scores), content_hash=item.subject.content_hash)]
    else:
        images = [
            _scored(next(scores), made=one) if isinstance(one, FinishedImage) else EvaluatedImage(error=storable(one))
            for one in work.made
        ]
    return ItemResult(item.offset, item.item_id, item.group, item.system, item.digest, images=tuple(images))


def _scored(scores: CandidateScores, *, made: FinishedImage | None = None, content_hash: str = "") -> EvaluatedImage:
    return EvaluatedImage(
        scores=tuple(replace(one, error=storable(one.error)) if one.error else one for one in scores.scores),
        record=made.record if made else None,
        content_hash=made.info.content_hash if made else content_hash,
        text_truncated=scores.text_truncated or (made is not None and made.prompt_truncated),
    )
