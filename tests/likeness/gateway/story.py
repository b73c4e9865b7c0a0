"""What a session of the test gateway goes through: the events of a loop, with drawn pictures and made-up scores."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from likeness.gateway.v1 import session_pb2
from likeness.types.v1 import image_pb2, model_pb2, score_pb2, understanding_pb2

STEPS = 4
PROMPTS = (
    ("a small red car on a meadow", "a red car on a meadow, pixel art"),
    ("a large red car on a meadow, pixel art", "a large red bus on a meadow, pixel art"),
    ("a large red car left of a cat on a meadow, pixel art", "a large blue car left of a cat on a meadow, pixel art"),
    ("a large red car left of a small cat on a meadow, pixel art", "a large red car left of a dog, pixel art"),
)
BASE_PROMPTS = ("a red car on a meadow", PROMPTS[0][1], PROMPTS[1][0], PROMPTS[2][0])


def target_picture() -> Image.Image:
    """A car on a meadow, as 64 x 64 RGB."""
    return _draw(red=200, body=40)


def png(picture: Image.Image, text: dict[str, str] | None = None) -> bytes:
    """Encoded with iTXt chunks."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    out = io.BytesIO()
    picture.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def preview(step: int) -> bytes:
    """A small JPEG, another one for each step."""
    out = io.BytesIO()
    Image.new("L", (16, 16), step).save(out, "JPEG")
    return out.getvalue()


def image_info(data: bytes) -> image_pb2.ImageInfo:
    """Address and size of encoded bytes."""
    with Image.open(io.BytesIO(data)) as picture:
        width, height = picture.size
        media_type = Image.MIME[picture.format or "PNG"]
        pixels = hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()
    digest = hashlib.sha256(data).hexdigest()
    return image_pb2.ImageInfo(
        content_hash=digest,
        pixel_hash=pixels,
        media_type=media_type,
        width_pixels=width,
        height_pixels=height,
        size_bytes=len(data),
    )


def tree() -> understanding_pb2.UnderstandingTree:
    """The tree of the target."""
    u = understanding_pb2
    return u.UnderstandingTree(
        base_caption="a large red car left of a small cat on a meadow, pixel art, high quality",
        overall_features=[
            u.Feature(name="background", value="meadow", aspect=u.ASPECT_OVERALL, confidence=0.98),
            u.Feature(name="style", value="pixel art", aspect=u.ASPECT_STYLE, confidence=0.87),
            u.Feature(name="quality", value="high", aspect=u.ASPECT_DETAIL, confidence=0.71),
        ],
        objects=[
            u.ObjectNode(
                name="car",
                features=[
                    u.Feature(name="size", value="large", aspect=u.ASPECT_DETAIL, confidence=0.93),
                    u.Feature(name="color", value="red", aspect=u.ASPECT_COLOR, confidence=0.99),
                ],
                questions=[u.QuestionAnswer(question="What color is the car?", answer="red")],
            ),
            u.ObjectNode(name="cat", features=[u.Feature(name="size", value="small", aspect=u.ASPECT_DETAIL)]),
        ],
        relations=[u.Relation(subject="car", predicate="left of", object="cat")],
    )


def scores(closeness: float) -> list[score_pb2.Score]:
    """A higher-is-better, a lower-is-better and an unbounded metric for a picture that is `closeness` (0..1) alike."""
    up, down = score_pb2.DIRECTION_HIGHER_IS_BETTER, score_pb2.DIRECTION_LOWER_IS_BETTER
    return [
        score_pb2.Score(
            metric="clip-embedded", revision="9c1e", raw=2 * closeness - 1, normalized=closeness, direction=up,
            minimum=-1, maximum=1,
        ),
        score_pb2.Score(
            metric="phash", revision="1", raw=round(64 * (1 - closeness)), normalized=closeness, direction=down,
            minimum=0, maximum=64,
        ),
        score_pb2.Score(metric="psnr", revision="1", raw=9 + 12 * closeness, normalized=closeness / 1.4, direction=up),
    ]  # fmt: skip


def personal_score(metric: str, revision: str, closeness: float) -> score_pb2.Score:
    """What a profile says of a picture that is `closeness` (0..1) alike."""
    down = score_pb2.DIRECTION_LOWER_IS_BETTER
    raw = 1 - closeness
    return score_pb2.Score(metric=metric, revision=revision, raw=raw, normalized=closeness, direction=down, minimum=0)


def record(prompt: str, seed: int) -> model_pb2.GenerationRecord:
    """A generation record."""
    return model_pb2.GenerationRecord(
        prompt=prompt,
        seed=seed,
        steps=STEPS,
        guidance_scale=3.0,
        scheduler="DPMSolverMultistepScheduler",
        width_pixels=64,
        height_pixels=64,
        model="generator-embedded",
        model_revision="5f1d2c90",
    )


@dataclass(frozen=True)
class Plan:
    """One round to play."""

    number: int
    strategy: str
    base_prompt: str
    prompts: tuple[str, ...]
    first_closeness: float


def loop_plans(rounds: int, candidates: int, strategy: str, first_prompt: str) -> Iterator[Plan]:
    """Rounds of an automatic loop, each closer to the target than the one before."""
    for number in range(1, rounds + 1):
        known = PROMPTS[(number - 1) % len(PROMPTS)]
        prompts = tuple(known[index % len(known)] for index in range(candidates))
        base = first_prompt if first_prompt and number == 1 else BASE_PROMPTS[(number - 1) % len(BASE_PROMPTS)]
        yield Plan(number, strategy, base, prompts, 0.6 + 0.3 * (number - 1) / max(rounds, 4))


def play_round(
    plan: Plan, best_before: float | None, store: Callable[[bytes], image_pb2.ImageInfo]
) -> Iterator[session_pb2.SessionEvent]:
    """Events of one round; the finished round is in the last one. `store` keeps pictures."""
    u = understanding_pb2
    round_ = session_pb2.Round(
        number=plan.number, strategy=plan.strategy, base_prompt=plan.base_prompt, aspect=1 + (plan.number - 1) % 4
    )
    for index, prompt in enumerate(plan.prompts, 1):
        edit = u.PromptEdit(property="style", before="", after="pixel art")
        origin = "human" if plan.strategy == "human" else "tree" if index == 1 else "synonym"
        round_.candidates.add(
            id=f"r{plan.number}c{index}", round_number=plan.number, prompt=prompt, origin=origin, edits=[edit]
        )
    yield session_pb2.SessionEvent(round_started=session_pb2.RoundStarted(round=round_))
    for index, candidate in enumerate(round_.candidates):
        for step in range(STEPS + 1):
            progress = session_pb2.CandidateProgress(candidate_id=candidate.id, step=step, total_steps=STEPS)
            yield session_pb2.SessionEvent(candidate_progress=progress)
        closeness = plan.first_closeness + 0.01 * index
        made = record(candidate.prompt, 1000 * plan.number + index)
        text = {"likeness": json.dumps({"prompt": made.prompt, "seed": made.seed})}
        candidate.record.CopyFrom(made)
        candidate.image.CopyFrom(store(png(_draw(int(255 * closeness), 20 + 5 * plan.number + index), text)))
        yield session_pb2.SessionEvent(candidate_generated=session_pb2.CandidateGenerated(candidate=candidate))
        candidate.scores.extend(scores(closeness))
        candidate.loop_score = closeness
        yield session_pb2.SessionEvent(candidate_scored=session_pb2.CandidateScored(candidate=candidate))
    best = max(round_.candidates, key=lambda item: item.loop_score)
    round_.best_candidate_id = best.id
    if best_before is not None:
        round_.gain = best.loop_score - best_before
    if plan.strategy != "human":
        round_.feedback.text = "The target has a cat to the right of the car."
        round_.feedback.aspect = u.ASPECT_OVERALL
    yield session_pb2.SessionEvent(round_finished=session_pb2.RoundFinished(round=round_))


def _draw(red: int, body: int) -> Image.Image:
    picture = Image.new("RGB", (64, 64), (120, 190, 240))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 40, 64, 64), fill=(80, 160, 70))
    pen.rectangle((8, 50 - body // 2, 8 + body, 50), fill=(red, 40, 40))
    pen.ellipse((12, 46, 22, 56), fill=(20, 20, 20))
    pen.ellipse((body - 8, 46, body + 2, 56), fill=(20, 20, 20))
    return picture
