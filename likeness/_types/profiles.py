"""Personal metrics (CLPIPS): profiles, their versions, and how well a learned metric agrees with a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from likeness._types.images import ImageSource

RankedPictures = (
    tuple[ImageSource, Sequence[ImageSource]] | tuple[ImageSource, Sequence[ImageSource], Sequence[int | float]]
)
"""One person's order of pictures made for a target: the target; 2 to 64 pictures, most similar first; and, where their
order does not say it, the place of each, smallest most similar, equal places tied."""


class FitDecision(StrEnum):
    """Which weights a fit ended with. UNKNOWN stands for a decision that a newer server may send."""

    FITTED = "fitted"
    FITTED_UNCHECKED = "fitted_unchecked"
    PARENT = "parent"
    LPIPS = "lpips"
    UNKNOWN = "unknown"


class HeadRecipe(StrEnum):
    """Where weights come from: LPIPS, the paper's margin loss, or the convex fit. UNKNOWN as in `FitDecision`."""

    PUBLISHED = "published"
    MARGIN = "margin"
    CONVEX = "convex"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Coefficient:
    """A coefficient of agreement, at most 1.

    Attributes:
        low: Lower end of its 95 % interval; None where none is defined.
        p: Probability of such a value if there were no agreement.
        band: Its band in words, such as "moderate"; "" where none is defined.
    """

    value: float
    low: float | None
    high: float | None
    p: float
    band: str = ""


@dataclass(frozen=True)
class Alignment:
    """Agreement of one metric with a person: a row of the CLPIPS paper's table 3.

    Attributes:
        spearman: Spearman's rho of human rank and distance, over all pictures.
        agreement: ICC(2,k), absolute agreement.
        consistency: ICC(3,k), consistency.
    """

    spearman: Coefficient
    agreement: Coefficient
    consistency: Coefficient


@dataclass(frozen=True)
class AlignmentGain:
    """Learned metric minus LPIPS, by paired bootstrap over targets: a row of the paper's table 4.

    Attributes:
        low: Lower end of the 95 % interval.
        p: Two-sided p of no difference.
    """

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class FitReport:
    """What a fit found. Held out means: by weights that were learned without the target in question.

    What is held out is None with one target, and where the rankings leave a coefficient undefined.

    Attributes:
        explanation: Why it decided so, in one sentence.
        target_count: Targets of the rankings.
        fitted_icc2k: ICC(2,k) on held-out rankings when learned; the decision rests on it and the next two.
        parent_icc2k: ICC(2,k) of the parent on the same rankings.
        lpips_icc2k: ICC(2,k) of LPIPS on the same rankings.
        lpips: LPIPS against the person.
        learned: The learned weights, held out, against the person.
        spearman_gain: Gain in rho; better agreement is positive, here and below.
    """

    decision: FitDecision
    explanation: str
    ranking_count: int
    target_count: int
    fitted_icc2k: float | None = None
    parent_icc2k: float | None = None
    lpips_icc2k: float | None = None
    lpips: Alignment | None = None
    learned: Alignment | None = None
    spearman_gain: AlignmentGain | None = None
    agreement_gain: AlignmentGain | None = None
    consistency_gain: AlignmentGain | None = None


@dataclass(frozen=True)
class ProfileVersion:
    """The weights of a profile at one time; version 1 is a copy of the parent's and has no report.

    Attributes:
        revision: As scores by this version carry it.
    """

    number: int
    revision: str
    recipe: HeadRecipe
    create_time: datetime
    report: FitReport | None = None


@dataclass(frozen=True)
class Profile:
    """A personal metric.

    Attributes:
        base_metric: LPIPS metric whose backbone it uses.
        parent: Profile that it starts from and falls back to; "" for LPIPS.
        active: The version that scores.
        ranking_count: Rankings that it has learned from.
    """

    id: str
    display_name: str
    base_metric: str
    parent: str
    active: ProfileVersion
    version_count: int
    ranking_count: int
    create_time: datetime
    update_time: datetime

    @property
    def metric(self) -> str:
        """Its id as a metric, wherever a metric can be named."""
        return f"clpips:{self.id}"
