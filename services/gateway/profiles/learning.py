"""What a fit asks of the scorer: compares the pictures of all rankings, and learns a head from the differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.common.heads import Backbone, Head
from services.gateway import batches
from services.gateway.ports import DifferenceVector, FitOutcome, RankedDifferences, ScorerPort
from services.gateway.profiles.model import Album, ProfileRanking
from services.gateway.profiles.pictures import Pictures
from services.gateway.scorable import ScorableImage

MAX_RANKINGS = 256
"""Rankings that the scorer learns from at once, so that a profile has."""
BYTES_PER_VALUE = 2


class Differences(Protocol):
    """Difference vectors, made where they are not known."""

    async def find(
        self,
        backbone: Backbone,
        preprocessing: str,
        target: ScorableImage,
        candidates: Sequence[ScorableImage],
        *,
        request_id: str,
    ) -> list[DifferenceVector]:
        """Vectors in the order of the candidates. New ones are of what the scorer has now, whatever was asked for."""
        ...


class Learner:
    """Learns heads from rankings. Stores nothing."""

    def __init__(self, scorer: ScorerPort, differences: Differences, pictures: Pictures) -> None:
        self._scorer = scorer
        self._differences = differences
        self._pictures = pictures

    async def learn(
        self,
        tenant_id: str,
        parent: Head,
        rankings: Sequence[ProfileRanking],
        album: Album,
        *,
        tastes: Sequence[Head],
        request_id: str,
    ) -> FitOutcome:
        """The head to use from now on.

        Args:
            tenant_id: Whose the pictures are.
            parent: Head to start from and to fall back to.
            rankings: All rankings of a person, 1 to MAX_RANKINGS.
            album: What is known of their pictures; stored ones that it lacks are added.
            tastes: Heads of other people. Those of another backbone are left out.
            request_id: For logs.

        Raises:
            InvalidInputError: too many rankings or pictures.
            NotFoundError: IMAGE_NOT_FOUND; METRIC_NOT_FOUND, the scorer has no such backbone any more.
            UnavailableError: MODEL_UNAVAILABLE, the parent is of another backbone than the scorer has.
        """
        _check_counts(parent.backbone, rankings)
        catalog = await self._scorer.list_metrics()
        preprocessing = catalog.find(parent.backbone.metric, field="profile_id").preprocessing
        named = (hash_ for one in rankings for hash_ in (one.target, *one.pictures))
        await self._pictures.add_stored(tenant_id, named, album)
        compared = []
        for one in rankings:
            target = self._pictures.find(one.target, album)
            candidates = [self._pictures.find(hash_, album) for hash_ in one.pictures]
            vectors = await self._differences.find(
                parent.backbone, preprocessing, target, candidates, request_id=request_id
            )
            _check_backbone(parent.backbone, vectors)
            compared.append(RankedDifferences(target.pixel_hash, tuple(vectors), one.places))
        alike = [taste for taste in tastes if taste.backbone == parent.backbone]
        return await self._scorer.fit_head(parent, compared, tastes=alike, request_id=request_id)


def _check_counts(backbone: Backbone, rankings: Sequence[ProfileRanking]) -> None:
    if len(rankings) > MAX_RANKINGS:
        problem = f"would give the profile {len(rankings)} rankings"
        raise InvalidInputError("rankings", problem, allowed=f"{MAX_RANKINGS} in all")
    pictures = sum(len(one.pictures) for one in rankings)
    most = batches.MAX_CALL_BYTES // (BYTES_PER_VALUE * backbone.channels)
    if pictures > most:
        problem = f"would give the profile {pictures:,} ranked pictures"
        raise InvalidInputError("rankings", problem, allowed=f"{most:,} in all")


def _check_backbone(backbone: Backbone, vectors: Sequence[DifferenceVector]) -> None:
    for vector in vectors:
        if vector.backbone_revision != backbone.revision:
            message = (
                f"the profile starts from weights for {backbone.metric} of revision {backbone.revision}, the scorer has"
                f" {vector.backbone_revision} now; fit its parent again first"
            )
            raise UnavailableError(Reason.MODEL_UNAVAILABLE, message)
