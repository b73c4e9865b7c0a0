"""Sessions, their loops, rounds and candidates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.gateway.access.caller import DEFAULT_TENANT
from services.gateway.domain.images import GenerationRecord, ImageInfo, NoisePart
from services.gateway.domain.scores import ItemError, Score
from services.gateway.domain.understanding import Aspect, Feedback, PromptEdit, Tree


class SessionState(StrEnum):
    """What a session is doing."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"
    PAUSED = "paused"


class StopReason(StrEnum):
    """Why a loop stopped."""

    ROUNDS_DONE = "rounds_done"
    TARGET_REACHED = "target_reached"
    PLATEAU = "plateau"
    BUDGET_SPENT = "budget_spent"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True)
class Candidate:
    """A prompt, its picture and the picture's scores. `id` is "r<round>c<index>", both from 1.

    `noise_mix` are the noises to start from; empty means the noise of `seed` alone.
    """

    id: str
    round_number: int
    prompt: str
    origin: str
    seed: int
    edits: tuple[PromptEdit, ...] = ()
    noise_mix: tuple[NoisePart, ...] = ()
    image: ImageInfo | None = None
    record: GenerationRecord | None = None
    scores: tuple[Score, ...] = ()
    loop_score: float | None = None
    error: ItemError | None = None


@dataclass(frozen=True)
class Round:
    """One round of a session."""

    number: int
    strategy: str
    aspect: Aspect | None
    base_prompt: str
    candidates: tuple[Candidate, ...]
    create_time: datetime
    best_candidate_id: str = ""
    feedback: Feedback | None = None
    gain: float | None = None
    finished: bool = False


@dataclass(frozen=True)
class SessionSettings:
    """How candidates are made and scored, defaults filled in."""

    metrics: tuple[str, ...]
    selection_metrics: tuple[str, ...]
    generator_model: str
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    show_scores: bool = True


@dataclass(frozen=True)
class LoopSettings:
    """How an automatic loop runs, defaults filled in. Gains and scores are loop scores, 0..1."""

    strategy: str
    rounds: int
    candidates: int
    image_budget: int
    target_score: float | None = None
    plateau_rounds: int | None = None
    plateau_gain: float = 0.001
    first_prompt: str = ""
    fresh_noise: bool = False
    seconds_budget: float | None = None


@dataclass(frozen=True)
class PausedLoop:
    """An automatic loop that a person took over, with all that is needed to go on with it.

    Attributes:
        settings: Its settings.
        rounds_done: Rounds that it has finished.
        images_made: Pictures that it has made.
        seconds_spent: Seconds that it has run.
        first_round: Number of its first round.
        restart_round: Unfinished rounds before this one are left as they are.
        next_prompt: Prompt that its next round starts from; empty means the best so far.
    """

    settings: LoopSettings
    rounds_done: int
    images_made: int
    seconds_spent: float
    first_round: int
    restart_round: int
    next_prompt: str


@dataclass(frozen=True)
class Ranking:
    """Candidate ids, most similar first."""

    candidate_ids: tuple[str, ...]
    create_time: datetime


@dataclass(frozen=True)
class Session:
    """A session as stored."""

    id: str
    display_name: str
    target: ImageInfo
    settings: SessionSettings
    state: SessionState
    create_time: datetime
    update_time: datetime
    round_count: int = 0
    best: Candidate | None = None
    tree: Tree | None = None
    stop_reason: StopReason | None = None
    error: ItemError | None = None
    last_event_sequence: int = 0
    tenant_id: str = DEFAULT_TENANT
    paused: PausedLoop | None = None
