"""What every step of a run works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from services.gateway import domain
from services.gateway.loops.retry import RetryPolicy, retried
from services.gateway.loops.state import Lease, RunState
from services.gateway.ports import GeneratorPort, ObjectStore, RefinerPort
from services.gateway.scorable import ScorableImage, Scoring
from services.gateway.store.runs import RunRepository

T = TypeVar("T")


@dataclass(frozen=True)
class Tools:
    """The backends and stores of a gateway, as runs need them."""

    generator: GeneratorPort
    refiner: RefinerPort
    scoring: Scoring
    objects: ObjectStore
    retry: RetryPolicy
    generation_timeout_seconds: float


@dataclass(frozen=True)
class Work:
    """One run under a lease.

    Attributes:
        lease: The right to write.
        runs: Where results go.
        tools: What makes them.
        progress: Called with each denoising step.
    """

    lease: Lease
    runs: RunRepository
    tools: Tools
    progress: Callable[[str, domain.CandidateProgress], None]

    async def retried(self, call: Callable[[], Awaitable[T]]) -> T:
        """Result of a backend's call, tried again while that makes sense."""
        return await retried(self.tools.retry, call)

    def target(self, state: RunState) -> ScorableImage:
        """The stored target."""
        return ScorableImage.whole(state.session.target, self.tools.objects, field="target")

    def picture(self, candidate: domain.Candidate) -> ScorableImage:
        """The stored picture of a candidate that has one."""
        assert candidate.image is not None
        return ScorableImage.whole(candidate.image, self.tools.objects, field=f"candidates[{candidate.id}].image")


def request_id(state: RunState) -> str:
    """What ties a backend's log lines to a round."""
    return f"{state.session.id}-r{state.session.round_count}"
