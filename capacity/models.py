"""What a picture costs: step times by batch, and where each number comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["measured", "published", "assumed"]


@dataclass(frozen=True)
class Number:
    """A number that a result rests on."""

    name: str
    value: float
    unit: str
    origin: Origin
    source: str
    """Where it was measured or published, or why it is assumed."""


@dataclass(frozen=True)
class Curve:
    """Seconds that a replica's one thread spends.

    Attributes:
        fixed_seconds: Of a denoiser call, whatever its batch.
        picture_seconds: Of a denoiser call, for every picture in it.
        end_seconds: Of encoding the prompt and decoding the picture, for every picture.
    """

    fixed_seconds: float
    picture_seconds: float
    end_seconds: float = 0.0

    def step(self, batch: int) -> float:
        """Seconds of a denoiser call."""
        return self.fixed_seconds + self.picture_seconds * batch


@dataclass(frozen=True)
class Model:
    """A generator model on a kind of machine, in replicas of one accelerator each."""

    name: str
    steps: int
    max_batch: int
    curve: Curve
    max_waiting: int = 256
    """Pictures that wait in a replica; more are refused (`services/generator/engine/step_engine.py`)."""
    max_open_calls: int = 64
    """Calls that a replica takes; more wait at the proxy (`services/generator/deployment.py`)."""
    max_queued_calls: int = 128
    """Calls that wait at the proxy; more are refused."""

    @property
    def alone_seconds(self) -> float:
        """Of a picture that shares nothing."""
        return self.steps * self.curve.step(1) + self.curve.end_seconds

    def pictures_per_second(self, batch: int | None = None) -> float:
        """Of a replica whose batches all have so many pictures; full ones if left out."""
        size = batch or self.max_batch
        return size / (self.steps * self.curve.step(size) + size * self.curve.end_seconds)


def affine(first: float, slope: float, *, end_seconds: float = 0.0) -> Curve:
    """A curve whose batch of one takes `first` seconds, `slope` of it more for each further picture."""
    return Curve(first * (1 - slope), first * slope, end_seconds)
