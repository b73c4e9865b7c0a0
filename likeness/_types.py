"""What the client returns: frozen values in the words of the contracts. Scores carry their direction; times are UTC."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from PIL import Image


class Aspect(StrEnum):
    """Part of a picture that a round looks at, in ImageRepainter's order."""

    OVERALL = "overall"
    STYLE = "style"
    COLOR = "color"
    DETAIL = "detail"


class SessionState(StrEnum):
    """What a session is doing. UNKNOWN stands for a state that a newer server may send."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"
    UNKNOWN = "unknown"


class StopReason(StrEnum):
    """Why a loop stopped."""

    ROUNDS_DONE = "rounds_done"
    TARGET_REACHED = "target_reached"
    PLATEAU = "plateau"
    BUDGET_SPENT = "budget_spent"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Health(StrEnum):
    """How a part of the system is: DEGRADED works with less, slower or without a cache."""

    SERVING = "serving"
    DEGRADED = "degraded"
    NOT_SERVING = "not_serving"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ItemError:
    """Why one item failed while others went on; `reason` is stable, `message` is for people."""

    reason: str
    message: str
    field: str = ""


@dataclass(frozen=True)
class ImageInfo:
    """A stored picture: its address (`content_hash`, SHA-256 of the bytes) and size. Holds no pixels."""

    content_hash: str
    pixel_hash: str
    media_type: str
    width_pixels: int
    height_pixels: int
    size_bytes: int


ImageSource = str | Path | bytes | Image.Image | ImageInfo
"""A picture to send: path of a file, encoded bytes, Pillow image, or a picture that the server already holds."""


@dataclass(frozen=True)
class Feature:
    """A named property, such as style = pixel art; confidence 0..1, 0 when the model does not say."""

    name: str
    value: str
    aspect: Aspect | None = None
    confidence: float = 0.0


@dataclass(frozen=True)
class QuestionAnswer:
    """A question that was asked of the picture, and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class ObjectNode:
    """One object of the picture."""

    name: str
    features: tuple[Feature, ...] = ()
    questions: tuple[QuestionAnswer, ...] = ()


@dataclass(frozen=True)
class Relation:
    """subject predicate object, such as car, left of, cat."""

    subject: str
    predicate: str
    object: str


@dataclass(frozen=True)
class UnderstandingTree:
    """Image Understanding Tree of ImageRepainter: caption, overall features, objects, relations."""

    base_caption: str
    overall_features: tuple[Feature, ...] = ()
    objects: tuple[ObjectNode, ...] = ()
    relations: tuple[Relation, ...] = ()


@dataclass(frozen=True)
class PromptEdit:
    """One change of a prompt; an empty `before` is an addition, an empty `after` a removal."""

    property: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Feedback:
    """What should change, said by a person or found by comparing two pictures."""

    text: str
    aspect: Aspect | None = None
    edits: tuple[PromptEdit, ...] = ()


@dataclass(frozen=True)
class RevisedPrompt:
    """A prompt revised by feedback, ready for `submit_prompt` or as the first prompt of a loop."""

    text: str
    edits: tuple[PromptEdit, ...] = ()


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


@dataclass(frozen=True)
class Score:
    """One metric's value for one picture.

    Attributes:
        raw: Value in the metric's own units, between `minimum` and `maximum` where those exist.
        normalized: The same mapped to 0..1, where 1 is best whatever the direction.
        error: Set when this metric failed; both values are then 0.
    """

    metric: str
    revision: str
    raw: float
    normalized: float
    higher_is_better: bool
    minimum: float | None = None
    maximum: float | None = None
    error: ItemError | None = None


@dataclass(frozen=True)
class ImageScores:
    """Scores of one candidate, in the order asked for; empty, with an error, if the candidate failed."""

    scores: tuple[Score, ...]
    error: ItemError | None = None
    text_truncated: bool = False


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
class Session:
    """The regeneration of one target picture. `name` is "sessions/{session}"."""

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
class GenerationLimits:
    """Allowed and default values of a generator model. The first scheduler is the default."""

    default_steps: int
    max_steps: int
    default_guidance_scale: float
    width_pixels: int
    height_pixels: int
    size_multiple_pixels: int
    max_side_pixels: int
    schedulers: tuple[str, ...]
    token_limit: int


@dataclass(frozen=True)
class Model:
    """A model that a service runs; role is "generator", "embedder" or "language"."""

    id: str
    revision: str
    role: str
    source: str
    embedded: bool
    license: str
    generation_limits: GenerationLimits | None = None


@dataclass(frozen=True)
class ModelList:
    """Models of every service that answers, the default generator first; `unreachable` services did not."""

    models: tuple[Model, ...]
    unreachable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """A metric of the deployment.

    Attributes:
        input: "image_image" or "text_image".
        computed_by_default: Whether it is computed when a request names no metrics.
        selects_by_default: Whether it is part of the loop score when a session names no selection metrics.
    """

    id: str
    revision: str
    description: str
    input: str
    higher_is_better: bool
    minimum: float | None
    maximum: float | None
    preprocessing: str
    embedding_model: str
    token_limit: int | None
    embedded: bool
    license: str
    computed_by_default: bool = False
    selects_by_default: bool = False


@dataclass(frozen=True)
class Strategy:
    """A way to steer the loop."""

    id: str
    revision: str
    description: str
    embedded: bool


@dataclass(frozen=True)
class ComponentStatus:
    """State of one part of the system."""

    component: str
    health: Health
    detail: str = ""


@dataclass(frozen=True)
class Status:
    """State of the system: the worst of the parts that requests need, and each part."""

    health: Health
    components: tuple[ComponentStatus, ...]
    version: str
    profile: str


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
