"""Everything that a report shows, fetched from the gateway."""

from __future__ import annotations

from dataclasses import dataclass

from likeness import Candidate, Client, Metric, Model, Round, Session, SessionDetails
from likeness.report.pictures import Picture, embed

_THUMBNAIL_SIDE_PIXELS = 384


@dataclass(frozen=True)
class ReportData:
    """What the page is rendered from.

    Attributes:
        pictures: By content hash; every candidate's that has one.
        best_png: The best picture's bytes as the generator wrote them; None if nothing was scored.
        profile: Name of the deployment's profile.
        version: Version of the gateway.
    """

    session: Session
    rounds: tuple[Round, ...]
    target: Picture
    best: Picture | None
    best_png: bytes | None
    pictures: dict[str, Picture]
    metrics: tuple[Metric, ...]
    models: tuple[Model, ...]
    profile: str
    version: str

    def picture(self, candidate: Candidate) -> Picture | None:
        """A candidate's picture, if it was made."""
        return self.pictures.get(candidate.image.content_hash) if candidate.image else None


def collect(client: Client, details: SessionDetails) -> ReportData:
    """Fetches the pictures of a session, and which models and metrics made and judged them."""
    session = details.session
    pictures = {}
    for item in details.rounds:
        for candidate in item.candidates:
            if candidate.image and candidate.image.content_hash not in pictures:
                data = client.get_image_bytes(candidate.image)
                pictures[candidate.image.content_hash] = embed(data, max_side_pixels=_THUMBNAIL_SIDE_PIXELS)
    best_png = client.get_image_bytes(session.best.image) if session.best and session.best.image else None
    status = client.status()
    return ReportData(
        session=session,
        rounds=details.rounds,
        target=embed(client.get_image_bytes(session.target)),
        best=embed(best_png) if best_png else None,
        best_png=best_png,
        pictures=pictures,
        metrics=client.metrics(),
        models=client.models().models,
        profile=status.profile,
        version=status.version,
    )
