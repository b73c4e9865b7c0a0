"""Words of the gateway: sessions, rounds, candidates and what happens to them. Plain values; no transport, no SQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.gateway.access.caller import DEFAULT_TENANT


class Aspect(StrEnum):
    """What a refinement round looks at, in ImageRepainter's order."""

    OVERALL = "overall"
    STYLE = "style"
    COLOR = "color"
    DETAIL = "detail"


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
class ItemError:
    """Why one item failed; `reason` is a value of services.common.errors.Reason."""

    reason: str
    message: str
    field: str = ""


@dataclass(frozen=True)
class ImageInfo:
    """What is known of a stored picture."""

    content_hash: str
    pixel_hash: str
    media_type: str
    width_pixels: int
    height_pixels: int
    size_bytes: int


@dataclass(frozen=True)
class Feature:
    """A named property of a picture or an object; confidence 0..1, 0 when unknown."""

    name: str
    value: str
    aspect: Aspect | None = None
    confidence: float = 0.0


@dataclass(frozen=True)
class ObjectNode:
    """One object of a picture; questions are (question, answer) pairs."""

    name: str
    features: tuple[Feature, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Relation:
    """subject predicate object, such as car, left of, cat."""

    subject: str
    predicate: str
    object: str


@dataclass(frozen=True)
class Tree:
    """Image Understanding Tree of ImageRepainter."""

    base_caption: str
    overall_features: tuple[Feature, ...] = ()
    objects: tuple[ObjectNode, ...] = ()
    relations: tuple[Relation, ...] = ()


@dataclass(frozen=True)
class PromptEdit:
    """One change of a prompt."""

    property: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Feedback:
    """What should change."""

    text: str
    aspect: Aspect | None = None
    edits: tuple[PromptEdit, ...] = ()


@dataclass(frozen=True)
class ProposedPrompt:
    """A prompt to try and how it came about."""

    text: str
    origin: str
    edits: tuple[PromptEdit, ...] = ()


@dataclass(frozen=True)
class PromptAttempt:
    """A prompt tried before, with its loop score."""

    prompt: str
    round_number: int
    score: float


@dataclass(frozen=True)
class NoisePart:
    """One noise of a mix, by its seed. `cells` are factors of the weight in a square grid; empty: 1 everywhere."""

    seed: int
    weight: float
    cells: tuple[float, ...] = ()


@dataclass(frozen=True)
class GenerationRecord:
    """Everything needed to make the same picture again."""

    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance_scale: float
    scheduler: str
    width_pixels: int
    height_pixels: int
    model: str
    model_revision: str
    noise_mix: tuple[NoisePart, ...] = ()
    deterministic: bool = False
    strength: float = 0.0
    initial_image_content_hash: str = ""
    mask_content_hash: str = ""
    second_strength: float = 0.0
    adapter: str = ""
    adapter_scale: float = 0.0
    adapter_revision: str = ""


@dataclass(frozen=True)
class Score:
    """One metric's value; `normalized` is 0..1 with 1 best; on `error` both values are 0.

    `cells` are normalized values in a square grid over the target, empty if the metric has none. `text_truncated` says
    that the metric left the end of the text out.
    """

    metric: str
    revision: str
    raw: float
    normalized: float
    higher_is_better: bool
    minimum: float | None = None
    maximum: float | None = None
    error: ItemError | None = None
    cells: tuple[float, ...] = ()
    text_truncated: bool = False


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


# Events. Durable ones are stored with a sequence; CandidateProgress is live only.


@dataclass(frozen=True)
class StateChanged:
    """The session's state changed."""

    state: SessionState
    stop_reason: StopReason | None = None
    error: ItemError | None = None
    paused: PausedLoop | None = None


@dataclass(frozen=True)
class TargetUnderstood:
    """A strategy described the target."""

    tree: Tree
    prompt: str


@dataclass(frozen=True)
class RoundStarted:
    """A round began; its candidates have prompts only."""

    round: Round


@dataclass(frozen=True)
class CandidateProgress:
    """A denoising step was done; both numbers 0 while queued."""

    candidate_id: str
    step: int
    total_steps: int


@dataclass(frozen=True)
class CandidateGenerated:
    """A picture is stored."""

    candidate: Candidate


@dataclass(frozen=True)
class CandidateScored:
    """Scores are stored."""

    candidate: Candidate


@dataclass(frozen=True)
class CandidateFailed:
    """A candidate failed."""

    candidate: Candidate


@dataclass(frozen=True)
class RoundFinished:
    """A round is done."""

    round: Round


@dataclass(frozen=True)
class FeedbackGiven:
    """A person gave feedback."""

    feedback: Feedback
    revised_prompt: str


@dataclass(frozen=True)
class CandidatesRanked:
    """A person ranked candidates."""

    ranking: Ranking


EventBody = (
    StateChanged
    | TargetUnderstood
    | RoundStarted
    | CandidateProgress
    | CandidateGenerated
    | CandidateScored
    | CandidateFailed
    | RoundFinished
    | FeedbackGiven
    | CandidatesRanked
)


@dataclass(frozen=True)
class SessionEvent:
    """An event of a session; sequence 0 marks a live event."""

    session_id: str
    sequence: int
    create_time: datetime
    body: EventBody = field(repr=False)
