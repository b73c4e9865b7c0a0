"""Whether new pictures may join the queue, and when those that wait will start."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain

from services.common.errors import OverloadedError, Reason
from services.generator.engine.pace import Pace
from services.generator.engine.precedence import Precedence
from services.generator.engine.slots import Slot

_UNKNOWN_SECONDS_PER_ITEM = 1.0
_SHORTEST_RETRY_SECONDS = 0.1


class Admission:
    """Keeps the queue bounded and turns away what would wait past its deadline."""

    def __init__(
        self,
        max_waiting_items: int,
        places: Callable[[Hashable], int],
        paces: Mapping[str, Pace],
        precedence: Precedence,
    ) -> None:
        """Takes the engine's limits.

        Args:
            max_waiting_items: Pictures that may wait.
            places: How many pictures of a key run at once.
            paces: How fast each model is.
            precedence: Who of those that wait begins first.
        """
        self._max_waiting = max_waiting_items
        self._places = places
        self._paces = paces
        self._precedence = precedence

    def check(self, present: Sequence[Slot], new: Sequence[Slot], deadline_seconds: float | None) -> None:
        """Checks pictures that want to join those that wait or run.

        Raises:
            OverloadedError: QUEUE_FULL; says when there is room, or that the wait is longer than the deadline allows.
        """
        waiting = sum(slot.denoising is None for slot in present)
        over = waiting + len(new) - self._max_waiting
        if over > 0:
            message = f"{waiting} pictures wait already; {len(new)} more would be over {self._max_waiting}"
            raise _overloaded(message, self._seconds_to_start(present, over))
        if deadline_seconds is None:
            return
        starts = self._starts([*present, *new])
        waits = [slot for slot in new if starts[slot]]
        late = max((self._seconds_to_end(slot, starts[slot]) for slot in waits), default=0.0)
        if late > deadline_seconds:
            message = f"the last picture would be there in {late:.1f} s, the deadline is in {deadline_seconds:.1f} s"
            raise _overloaded(message, late - deadline_seconds)

    def _seconds_to_start(self, present: Sequence[Slot], count: int) -> float:
        """Time until so many of the waiting pictures have started."""
        starts = sorted((steps * self._pace(slot).step_seconds.value for slot, steps in self._starts(present).items()))
        known = starts[count - 1] if count <= len(starts) else 0.0
        return known or count * _UNKNOWN_SECONDS_PER_ITEM

    def _seconds_to_end(self, slot: Slot, starts_after_steps: int) -> float:
        pace = self._pace(slot)
        return (starts_after_steps + slot.steps_left) * pace.step_seconds.value + pace.decode_seconds.value

    def _pace(self, slot: Slot) -> Pace:
        return self._paces[slot.item.record.model]

    def _starts(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """After how many steps of its group each waiting picture starts; only what begins before it counts."""
        running = [slot for slot in slots if slot.denoising is not None]
        waiting = [slot for slot in slots if slot.denoising is None]
        by_key: dict[Hashable, list[Slot]] = {}
        for slot in [*running, *self._precedence.order(waiting)]:
            by_key.setdefault(slot.key, []).append(slot)
        of_groups = (starts_after_steps(group, self._places(key)) for key, group in by_key.items())
        return dict(chain.from_iterable(starts.items() for starts in of_groups))


def starts_after_steps(slots: Sequence[Slot], places: int) -> dict[Slot, int]:
    """After how many steps each waiting picture of one group starts; 0 where there is room now.

    Args:
        slots: All of the group, those that wait in the order in which they begin.
        places: Pictures that run at once.
    """
    running = sorted(slot.steps_left for slot in slots if slot.denoising is not None)
    # More may be running than there are places, when memory has run out: the first that end make no room.
    free_after = [*[0] * max(places - len(running), 0), *running[max(len(running) - places, 0) :]]
    starts = {}
    for slot in slots:
        if slot.denoising is None:
            starts[slot] = heapq.heappop(free_after)
            heapq.heappush(free_after, starts[slot] + slot.steps_left)
    return starts


def _overloaded(message: str, retry_after_seconds: float) -> OverloadedError:
    return OverloadedError(
        Reason.QUEUE_FULL, message, retry_after_seconds=max(retry_after_seconds, _SHORTEST_RETRY_SECONDS)
    )
