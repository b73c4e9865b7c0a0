"""Everything that the report of a race shows, fetched from the gateway."""

from __future__ import annotations

from dataclasses import dataclass

from likeness import Client, NotFound, RaceDetails
from likeness.report.pictures import Picture, embed

MAX_PICTURED_TARGETS = 24
"""A page of hundreds of pictures would be too large to send; every value is in the CSV and JSON beside it."""

_SIDE_PIXELS = 256


@dataclass(frozen=True)
class RaceReport:
    """What the page is rendered from.

    Attributes:
        pictures: By content hash, of the first targets and of what entrants made of them; absent ones are deleted.
        higher_is_better: Direction of each metric's own value; a metric that the deployment lost is absent.
        profile: Name of the deployment's profile.
        version: Version of the gateway.
    """

    details: RaceDetails
    pictures: dict[str, Picture]
    higher_is_better: dict[str, bool]
    profile: str
    version: str


def collect_race(client: Client, details: RaceDetails) -> RaceReport:
    """Fetches the pictures of a race, and how its metrics read."""
    hashes = [target.image.content_hash for target in details.race.targets[:MAX_PICTURED_TARGETS]]
    hashes += [entry.best_content_hash for entry in details.entries if entry.target_index < MAX_PICTURED_TARGETS]
    pictures = {}
    for content_hash in dict.fromkeys(filter(None, hashes)):
        try:
            pictures[content_hash] = embed(client.get_image_bytes(content_hash), max_side_pixels=_SIDE_PIXELS)
        except NotFound:
            continue
    status = client.status()
    return RaceReport(
        details=details,
        pictures=pictures,
        higher_is_better={metric.id: metric.higher_is_better for metric in client.metrics()},
        profile=status.profile,
        version=status.version,
    )
