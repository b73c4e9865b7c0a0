"""Words of personal metrics. Plain values; see the contract (profile_service.proto, head.proto) for their meaning."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.common.heads import Recipe
from services.gateway.domain import ImageInfo

METRIC_PREFIX = "clpips:"
"""A profile scores as the metric of this and its id."""


class FitDecision(StrEnum):
    """Which head a fit ended with."""

    FITTED = "fitted"
    FITTED_UNCHECKED = "fitted-unchecked"
    PARENT = "parent"
    LPIPS = "lpips"


@dataclass(frozen=True)
class Coefficient:
    """A coefficient with its 95 % interval, None where none is defined."""

    value: float
    low: float | None
    high: float | None
    p: float
    band: str


@dataclass(frozen=True)
class Alignment:
    """Agreement of one metric with a person: Spearman's rho, ICC(2,k), ICC(3,k)."""

    spearman: Coefficient
    agreement: Coefficient
    consistency: Coefficient


@dataclass(frozen=True)
class AlignmentGain:
    """Learned minus LPIPS, by paired bootstrap over targets, with a 95 % interval."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class HeldOutReport:
    """LPIPS and the learned head on rankings that the head has not seen."""

    fitted_icc2k: float
    parent_icc2k: float
    lpips_icc2k: float
    lpips: Alignment
    learned: Alignment
    spearman_gain: AlignmentGain
    agreement_gain: AlignmentGain
    consistency_gain: AlignmentGain


@dataclass(frozen=True)
class FitReport:
    """What a fit found; nothing is held out with one target."""

    decision: FitDecision
    explanation: str
    ranking_count: int
    target_count: int
    held_out: HeldOutReport | None = None


@dataclass(frozen=True)
class ProfileVersion:
    """What is known of the weights of a profile at one time; version 1 is a copy of the parent's and has no report."""

    number: int
    revision: str
    recipe: Recipe
    create_time: datetime
    report: FitReport | None = None


@dataclass(frozen=True)
class Profile:
    """A personal metric."""

    id: str
    display_name: str
    base_metric: str
    parent: str
    active: ProfileVersion
    version_count: int
    ranking_count: int
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True)
class ProfileRanking:
    """A person's order of pictures of a target, by content hashes; `source` is the session it comes from, or "".

    The smallest place is the most similar, equal places are ties.
    """

    target: str
    pictures: tuple[str, ...]
    places: tuple[float, ...]
    source: str = ""


@dataclass(frozen=True)
class PictureInput:
    """A picture as a caller names it: by its bytes, or by the content hash of a stored one."""

    data: bytes | None
    content_hash: str = ""


@dataclass(frozen=True)
class RankingInput:
    """A ranking as a caller gives it; no places mean the order of the pictures."""

    target: PictureInput | None
    pictures: tuple[PictureInput, ...]
    places: tuple[float, ...] = ()


@dataclass
class Album:
    """Pictures by content hash: what is known of them, and the bytes of those that came with a request."""

    infos: dict[str, ImageInfo] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict, repr=False)
