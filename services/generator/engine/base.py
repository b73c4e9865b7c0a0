"""The engine interface: items go in, events come out. The engine behind it decides what shares a denoiser call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from services.common.errors import LikenessError
from services.generator.domain import EngineItem, Priority
from services.generator.pipelines import LoadedModel


@dataclass(frozen=True)
class Queued:
    """The item waits behind `items_ahead` others of this engine; more urgent ones may still come before it."""

    item_id: str
    items_ahead: int


@dataclass(frozen=True)
class Started:
    """The first denoising step begins, in a call for `batch_size` pictures; later steps may have other mates."""

    item_id: str
    total_steps: int
    batch_size: int


@dataclass(frozen=True)
class StepDone:
    """Denoising step `step` of `total_steps`, from 1, is done. Only the newest unread one is kept."""

    item_id: str
    step: int
    total_steps: int
    seconds_left: float


@dataclass(frozen=True)
class Preview:
    """The picture as it stands after step `step`, 8-bit RGB in full size. Only the newest unread one is kept."""

    item_id: str
    step: int
    picture: Image.Image


@dataclass(frozen=True)
class Finished:
    """The picture, 8-bit RGB; last event of the item."""

    item: EngineItem
    picture: Image.Image

    @property
    def item_id(self) -> str:
        """Item that the picture belongs to."""
        return self.item.item_id


@dataclass(frozen=True)
class Failed:
    """Why there is no picture; last event of the item. Cancelled items end so, with CancelledError."""

    item_id: str
    error: LikenessError


EngineEvent = Queued | Started | StepDone | Preview | Finished | Failed


@dataclass(frozen=True)
class EngineStats:
    """What the engine is doing now. `seconds_per_item` is a running mean, 0 before the first picture."""

    waiting_items: int
    running_items: int
    max_waiting_items: int
    seconds_per_item: float


class Submission(Protocol):
    """Accepted items: read their events, or cancel them."""

    def events(self) -> AsyncGenerator[EngineEvent, None]:
        """Events of all items until each has its last one. One reader; memory is bounded however slowly it reads."""
        ...

    def cancel(self, item_id: str | None = None) -> None:
        """Cancels one item, or all; each that has not ended ends with Failed before its next denoising step."""
        ...


class Engine(ABC):
    """Owner of the denoisers of one replica."""

    @abstractmethod
    def submit(
        self,
        items: Sequence[EngineItem],
        *,
        priority: Priority = Priority.NORMAL,
        deadline_seconds: float | None = None,
    ) -> Submission:
        """Queues checked items, all or none. Call it on the event loop that will read the events.

        Args:
            items: At least one.
            priority: Which waiting items begin first.
            deadline_seconds: Time left until nobody wants the pictures any more; None if there is no such time. An item
                that still waits then ends with Failed, with DeadlineError. One that has begun goes on.

        Raises:
            OverloadedError: QUEUE_FULL, with an estimate of when there is room; the queue holds no more pictures, or
                would keep these past the deadline.
            UnavailableError: the engine is closed.
        """

    @abstractmethod
    def add(self, model: LoadedModel) -> Future[None]:
        """Takes one more model, whose only user the engine is from now on; any thread may call it.

        Items of the model may be submitted when the future is done. It fails with UnavailableError if the engine stops.
        """

    @abstractmethod
    def remove(self, model_id: str) -> Future[None]:
        """Lets a model go when its last open item has ended; any thread may call it. No new items are taken meanwhile.

        Nothing of the engine holds the model when the future is done, which fails with UnavailableError if the engine
        stops.
        """

    @abstractmethod
    def stats(self) -> EngineStats:
        """Load of the engine; callable from any thread."""

    @abstractmethod
    def is_alive(self) -> bool:
        """Whether the engine can take items."""

    @abstractmethod
    def close(self) -> None:
        """Ends running items before their next step and waits for the engine to stop; every open item fails."""
