"""In which order waiting pictures begin."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from services.generator.domain import Priority
from services.generator.engine.slots import Slot

MOST_OVERTAKEN = 16


class Precedence:
    """Orders the waiting pictures of each model by priority, those of one priority by age.

    When 16 pictures have begun ahead of the one that has waited longest, that one is next whatever its priority, and
    the count begins anew. So each waiting picture begins in the end, however many urgent ones come, and these lose one
    place in 17 to others at most. Pictures that have begun are never thrown out.
    """

    def __init__(self) -> None:
        self._overtaken: Counter[str] = Counter()
        """How many have begun ahead of the longest waiting one, by model."""

    def order(self, waiting: Sequence[Slot]) -> list[Slot]:
        """Waiting pictures in the order in which they begin, as far as there is room for them. Any thread may call it.

        Args:
            waiting: In the order in which they came.
        """
        by_model: dict[str, list[Slot]] = {}
        for slot in waiting:
            by_model.setdefault(slot.item.record.model, []).append(slot)
        return [slot for model, slots in by_model.items() for slot in _order(slots, self._overtaken[model])]

    def began(self, waiting: Sequence[Slot], begun: Sequence[Slot]) -> None:
        """Notes which pictures leave the queue.

        Args:
            waiting: All that waited, in the order in which they came.
            begun: Those of them that begin, in the order in which they do.
        """
        left = dict.fromkeys(waiting)
        for slot in begun:
            model = slot.item.record.model
            oldest = next(one for one in left if one.item.record.model == model)
            self._overtaken[model] = 0 if slot is oldest else self._overtaken[model] + 1
            del left[slot]


def _order(slots: Sequence[Slot], overtaken: int) -> list[Slot]:
    ages = {slot: age for age, slot in enumerate(slots)}
    lanes = {priority: deque(slot for slot in slots if slot.priority is priority) for priority in reversed(Priority)}
    order = []
    while heads := [lane[0] for lane in lanes.values() if lane]:
        oldest = min(heads, key=ages.__getitem__)
        chosen = oldest if overtaken >= MOST_OVERTAKEN else heads[0]
        overtaken = 0 if chosen is oldest else overtaken + 1
        lanes[chosen.priority].popleft()
        order.append(chosen)
    return order
