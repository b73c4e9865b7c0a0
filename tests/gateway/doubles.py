"""Stand-ins for the backends at the gateway's seam, for fault injection. They really draw, and really compare pixels.

A prompt is a color: "rgb 10 20 30". The generator paints it with noise of the seed, the scorer measures the mean
difference of pixels, the critic says which way the colors should move and the revision moves them. So a loop over them
converges like a real one, and everything in it is deterministic.
"""

from __future__ import annotations

import asyncio
import io
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from PIL import Image, ImageChops, ImageStat

from services.common.errors import InternalError, LikenessError, NotFoundError, Reason
from services.common.images import content_hash
from services.gateway import domain, ports

STEPS = 3
SIZE = (16, 16)


def draw(prompt: str, seed: int) -> bytes:
    """PNG of the color that a prompt names, with noise of a seed."""
    color = _color(prompt)
    noise = random.Random(seed)
    picture = Image.new("RGB", SIZE)
    picture.putdata(
        [tuple(max(0, min(255, c + noise.randint(-8, 8))) for c in color) for _ in range(SIZE[0] * SIZE[1])]
    )
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def likeness(first: bytes, second: bytes, channel: int | None = None) -> float:
    """1 less the mean absolute difference of two pictures, in one channel or all; 0..1."""
    difference = ImageChops.difference(_open(first), _open(second))
    means = ImageStat.Stat(difference).mean
    chosen = means if channel is None else [means[channel]]
    return 1.0 - sum(chosen) / len(chosen) / 255.0


class Generator:
    """Paints colors. `failures` are raised one a call; `broken` item failures by prompt; `gate` holds every step."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.items: list[ports.GenerationItem] = []
        self.made: Counter[str] = Counter()
        self.failures: list[LikenessError] = []
        self.fail_after_pictures: int | None = None
        self.failure_after_pictures: LikenessError = InternalError()
        self.hold_after_pictures: int | None = None
        self.broken: dict[str, domain.ItemError] = {}
        self.fail_item = ""
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0
        self.finished = 0
        self.steps_done = 0
        self.requests: list[tuple[str, str]] = []
        self.timeouts: list[float] = []
        self.priorities: list[ports.Priority] = []

    async def generate(
        self,
        items: Sequence[ports.GenerationItem],
        *,
        model: str,
        request_id: str,
        timeout_seconds: float,
        priority: ports.Priority,
    ) -> AsyncIterator[ports.GenerationEvent]:
        """Streams events, one picture after the other."""
        self.calls.append([item.item_id for item in items])
        self.items += items
        self.requests.append((model, request_id))
        self.timeouts.append(timeout_seconds)
        self.priorities.append(priority)
        if self.failures:
            self.finished += 1
            raise self.failures.pop(0)
        try:
            for count, item in enumerate(items):
                if self.fail_after_pictures is not None and count >= self.fail_after_pictures:
                    self.fail_after_pictures = None
                    raise self.failure_after_pictures
                if self.hold_after_pictures is not None and count >= self.hold_after_pictures:
                    self.hold_after_pictures = None
                    self.gate.clear()
                for step in range(STEPS + 1):
                    left = float(STEPS - step) if step else None
                    yield ports.GenerationProgress(item.item_id, step, STEPS if step else 0, count, left)
                    if item.preview_interval_steps and 0 < step < STEPS and step % item.preview_interval_steps == 0:
                        yield ports.GenerationPreview(item.item_id, step, draw(item.prompt, step))
                    await self.gate.wait()
                    self.steps_done += 1
                if item.item_id == self.fail_item:
                    yield ports.GenerationFailure(item.item_id, domain.ItemError("GENERATION_FAILED", "no paint"))
                    continue
                if item.prompt in self.broken:
                    yield ports.GenerationFailure(item.item_id, self.broken[item.prompt])
                    continue
                self.made[f"{item.item_id} {item.prompt} {item.seed}"] += 1
                yield ports.GeneratedImage(item.item_id, draw(item.prompt, item.seed), record(item), False)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        self.finished += 1

    async def go_on_until(self, enough: Callable[[], bool]) -> None:
        """Lets all pictures go a step at a time until it is enough, and holds them: no machine is so fast that it makes
        many more."""
        while not enough():
            self.gate.set()
            self.gate.clear()
            await asyncio.sleep(0.001)

    async def list_models(self) -> list[ports.ModelInfo]:
        """Two models; only the first mixes noises."""
        limits = ports.GenerationLimits(STEPS, 50, 3.0, *SIZE, 16, 128, ("ddim",), 77, mixes_noise=True)
        large = replace(limits, mixes_noise=False)
        return [
            ports.ModelInfo("paint", "p1", "generator", "paint", True, "Apache-2.0", limits),
            ports.ModelInfo("paint-large", "p2", "generator", "paint-large", False, "MIT", large),
        ]


class Refiner:
    """Strategies "painter" (varies and moves colors) and "stubborn" (never changes the prompt)."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failures: list[LikenessError] = []
        self.aspects: list[domain.Aspect | None] = []
        self.histories: list[int] = []

    async def understand(self, strategy: str, image: bytes, *, request_id: str) -> tuple[domain.Tree, str]:
        """A gray start."""
        self._called("understand")
        tree = domain.Tree("a color", (domain.Feature("style", "flat", domain.Aspect.STYLE, 0.5),))
        return tree, "rgb 128 128 128"

    async def propose(
        self,
        strategy: str,
        *,
        target: bytes,
        tree: domain.Tree | None,
        base_prompt: str,
        round_number: int,
        prompt_count: int,
        aspect: domain.Aspect | None,
        history: Sequence[domain.PromptAttempt],
        seed: int,
        request_id: str,
    ) -> list[domain.ProposedPrompt]:
        """The base prompt and one neighbor."""
        self._called("propose")
        self.aspects.append(aspect)
        self.histories.append(len(history))
        proposed = [domain.ProposedPrompt(base_prompt, "tree" if round_number == 1 else "revision")]
        if strategy == "painter":
            moved = [c + random.Random(seed + i).randint(-20, 20) for i, c in enumerate(_color(base_prompt))]
            edits = (domain.PromptEdit("color", base_prompt, _name(moved)),)
            proposed.append(domain.ProposedPrompt(_name(moved), "synonym", edits))
        return proposed[:prompt_count]

    async def critique(
        self,
        strategy: str,
        *,
        target: bytes,
        best: bytes,
        best_prompt: str,
        tree: domain.Tree | None,
        aspect: domain.Aspect | None,
        round_number: int,
        request_id: str,
    ) -> tuple[domain.Feedback, float]:
        """Which way each channel should move."""
        self._called("critique")
        wanted = [int(a - b) for a, b in zip(_mean(target), _mean(best), strict=True)]
        if strategy == "stubborn":
            wanted = [0, 0, 0]
        return domain.Feedback(f"move {wanted[0]} {wanted[1]} {wanted[2]}", aspect), likeness(target, best)

    async def revise(
        self, strategy: str, prompt: str, feedback: domain.Feedback, *, request_id: str
    ) -> tuple[str, tuple[domain.PromptEdit, ...]]:
        """Half of the way that "move r g b" says."""
        self._called("revise")
        words = feedback.text.split()
        if words[:1] != ["move"]:
            return f"{prompt} ", (domain.PromptEdit("text", prompt, f"{prompt} "),)
        moved = _name([c + int(m) // 2 for c, m in zip(_color(prompt), words[1:4], strict=True)])
        return moved, (domain.PromptEdit("color", prompt, moved),)

    async def list_strategies(self) -> list[ports.StrategyInfo]:
        """Two strategies."""
        return [ports.StrategyInfo(name, "r1", name, True) for name in ("painter", "stubborn")]

    async def list_models(self) -> list[ports.ModelInfo]:
        """None."""
        return []

    def _called(self, verb: str) -> None:
        self.calls.append(verb)
        if self.failures:
            raise self.failures.pop(0)


class Objects:
    """Bytes in memory."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.failures: list[LikenessError] = []

    async def put(self, data: bytes) -> str:
        """Stores bytes."""
        if self.failures:
            raise self.failures.pop(0)
        address = content_hash(data)
        self.data[address] = data
        return address

    async def get(self, address: str) -> bytes:
        """Stored bytes."""
        if address not in self.data:
            raise NotFoundError(Reason.IMAGE_NOT_FOUND, "image", address)
        return self.data[address]

    async def delete(self, address: str) -> None:
        """Removes bytes."""
        self.data.pop(address, None)

    async def check(self) -> None:
        """Always fine."""


def record(item: ports.GenerationItem) -> domain.GenerationRecord:
    """What the generator says of a picture."""
    scale, steps = item.guidance_scale or 3.0, item.steps or STEPS
    mix = item.noise_mix
    return domain.GenerationRecord(item.prompt, "", item.seed, steps, scale, "ddim", *SIZE, "paint", "p1", mix)


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB").resize(SIZE)


def _mean(data: bytes) -> list[float]:
    return ImageStat.Stat(_open(data)).mean


def _color(prompt: str) -> tuple[int, ...]:
    words = prompt.split()
    if words[:1] == ["rgb"] and len(words) >= 4:
        return tuple(int(word) for word in words[1:4])
    noise = random.Random(prompt)
    return tuple(noise.randint(0, 255) for _ in range(3))


def _name(color: Sequence[int]) -> str:
    return "rgb " + " ".join(str(max(0, min(255, c))) for c in color)
