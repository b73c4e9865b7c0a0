"""The regeneration of a target: session, rounds, candidates. Times are UTC."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from PIL import Image

from likeness._types.images import GenerationRecord, ImageInfo
from likeness._types.scores import ItemError, Score
from likeness._types.understanding import Aspect, Feedback, PromptEdit, UnderstandingTree


class SessionState(StrEnum):
    """What a session is doing. UNKNOWN stands for a state that a newer server may send."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"
    PAUSED = "paused"
    UNKNOWN = "unknown"


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
    """A prompt, the picture it gave and the picture's scores.

    Attributes:
        id: Unique in the session, such as "r2c3".
        origin: How the prompt came about, such as "human", "tree", "synonym" or "revision".
        edits: Changes against the round's base prompt.
        loop_score: Mean normalized value of the selection metrics, 0..1; None before it is known.
    """

    id: str
    round_number: int
    prompt: str
    origin: str = ""
    edits: tuple[PromptEdit, ...] = ()
    image: ImageInfo | None = None
    record: GenerationRecord | None = None
    scores: tuple[Score, ...] = ()
    loop_score: float | None = None
    error: ItemError | None = None

    def score(self, metric: str) -> Score | None:
        """The score of a metric, if it was computed."""
        return next((score for score in self.scores if score.metric == metric), None)


@dataclass(frozen=True)
class Round:
    """One round: prompts tried, pictures made, the best of them, feedback for the next.

    Attributes:
        gain: Loop score of the best candidate less that of the best before this round; None in the first round.
    """

    number: int
    strategy: str
    aspect: Aspect | None
    base_prompt: str
    candidates: tuple[Candidate, ...]
    create_time: datetime
    best_candidate_id: str = ""
    feedback: Feedback | None = None
    gain: float | None = None

    @property
    def best(self) -> Candidate | None:
        """The round's best candidate; None before scores are known."""
        return next((item for item in self.candidates if item.id == self.best_candidate_id), None)


@dataclass(frozen=True)
class Ranking:
    """Candidate ids in the order that a person gave them, most similar to the target first."""

    candidate_ids: tuple[str, ...]
    create_time: datetime


@dataclass(frozen=True)
class SessionSettings:
    """How candidates are made and scored; None means the model's default.

    Attributes:
        metrics: Metrics to compute.
        selection_metrics: Metrics whose mean normalized value is the loop score.
        seed: Seed from which every seed of the session is derived.
        show_scores: False hides scores from the person; they are computed all the same.
    """

    metrics: tuple[str, ...] = ()
    selection_metrics: tuple[str, ...] = ()
    generator_model: str = ""
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    show_scores: bool = True


@dataclass(frozen=True)
class LoopSettings:
    """How an automatic loop runs, defaults filled in. Gains and scores are loop scores, 0..1.

    Attributes:
        target_score: Loop score at which to stop; None never does.
        plateau_rounds: Rounds in a row without a gain of `plateau_gain` after which to stop; None never does.
        image_budget: Most pictures to make.
        first_prompt: Prompt to begin with; "" is the strategy's own.
        fresh_noise: Whether every picture starts from a fresh seed's noise.
        seconds_budget: Seconds after which no further round begins; None is never.
    """

    strategy: str
    rounds: int
    candidates: int
    target_score: float | None = None
    plateau_rounds: int | None = None
    plateau_gain: float = 0.001
    image_budget: int = 0
    first_prompt: str = ""
    fresh_noise: bool = False
    seconds_budget: float | None = None


@dataclass(frozen=True)
class PausedLoop:
    """An automatic loop that a person took over. What the person makes counts neither here nor for its budgets.

    Attributes:
        rounds_done: Rounds that it has finished.
        images_made: Pictures that it has made.
        seconds_spent: Seconds that it has run, pauses left out.
    """

    settings: LoopSettings
    rounds_done: int
    images_made: int
    seconds_spent: float


@dataclass(frozen=True)
class Session:
    """The regeneration of one target picture. `name` is "sessions/{session}".

    Attributes:
        paused_loop: The loop that `resume_loop` goes on with; None unless one is paused.
    """

    name: str
    display_name: str
    target: ImageInfo
    settings: SessionSettings
    state: SessionState
    create_time: datetime
    update_time: datetime
    round_count: int = 0
    best: Candidate | None = None
    tree: UnderstandingTree | None = None
    stop_reason: StopReason | None = None
    error: ItemError | None = None
    last_event_sequence: int = 0
    paused_loop: PausedLoop | None = None

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True)
class SessionDetails:
    """A session with its rounds in order and its rankings, oldest first."""

    session: Session
    rounds: tuple[Round, ...]
    rankings: tuple[Ranking, ...] = ()


@dataclass(frozen=True)
class RegenerationResult:
    """What `regenerate` found.

    Attributes:
        session: The session as it is at the end; it stays on the server.
        rounds: Its rounds in order.
        best: The candidate most like the target by loop score.
        best_png: Its picture as the generator wrote it: the text chunk "likeness" holds the generation record.
    """

    session: Session
    rounds: tuple[Round, ...]
    best: Candidate
    best_png: bytes = field(repr=False)

    @property
    def prompt(self) -> str:
        """The best candidate's prompt."""
        return self.best.prompt

    @property
    def best_image(self) -> Image.Image:
        """The best candidate's picture."""
        picture = Image.open(io.BytesIO(self.best_png))
        picture.load()
        return picture
