"""Step-level batching: pictures join and leave the denoiser's batch between steps.

One thread owns the denoisers. Every turn of its loop takes in what has come, begins waiting pictures for which there is
room, and takes one denoising step: the running pictures of one group (one model, one size), each at its own timestep
with its own scheduler, guidance scale and seed, go through the denoiser in one call. A picture that is done leaves, is
decoded with others that are done, and its place is free for the next step. So a new picture waits at most one step
where its group has room; which waiting pictures begin is said in `precedence.py`, which group steps in `rotation.py`.

No lock guards the work: one is held to add to the open slots and to copy them, everything in them belongs to the
engine's thread, and other threads only set a slot's cancellation flag, which the thread reads before and after every
denoising step.

The same request gives the same picture whatever its batch mates are, but for rounding: kernels sum in another order
in another batch shape. Mean absolute difference to the picture made alone, of 255 levels, by backend:

    CPU, float32        at most 0.05, mostly 0 (`tests/generator/engine/test_batch_mates.py`)
    GPU, any precision  not measured yet

Deterministic pictures are the same to the bit on one machine and build. They are a group of their own that runs one
picture at a time, so that no call ever has another shape: prompts are encoded, latents denoised and decoded alone.
They pay for it with the gain of batching: they come at the pace of batches of one, in turns with other groups.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from concurrent.futures import Future

import torch

from services.common.errors import CancelledError, DeadlineError, LikenessError, Reason, UnavailableError
from services.common.telemetry import get_logger
from services.generator import metrics
from services.generator.domain import EngineItem, GenerationRecord, Priority
from services.generator.engine import observing
from services.generator.engine.admission import Admission
from services.generator.engine.base import Engine, EngineStats, Failed, Finished, Queued, Started
from services.generator.engine.batch_limits import BatchLimits
from services.generator.engine.delivery import Delivery, generation_failed
from services.generator.engine.group import Group, GroupKey
from services.generator.engine.model_table import ModelTable
from services.generator.engine.precedence import Precedence
from services.generator.engine.rotation import Rotation
from services.generator.engine.slots import Slot, SlotSubmission
from services.generator.pipelines import LoadedModel
from services.generator.reading import computing

log = get_logger(__name__)

DEFAULT_MAX_WAITING_ITEMS = 256
MAX_RUNNING_BATCHES = 4
"""Pictures of one model that are on their way at once, in full batches: pictures of many sizes do not fill memory."""


class StepEngine(Engine):
    """Engine over model families."""

    def __init__(
        self, models: Mapping[str, LoadedModel], *, max_waiting_items: int = DEFAULT_MAX_WAITING_ITEMS
    ) -> None:
        """Starts the thread.

        Args:
            models: Loaded models by id. The engine's thread is their only user from now on.
            max_waiting_items: Items beyond the running ones that are accepted before QUEUE_FULL.
        """
        self._models = ModelTable(models)
        self._max_waiting = max_waiting_items
        self._paces = self._models.paces
        self._limits = BatchLimits(self._models)
        self._groups: dict[Hashable, Group] = {}
        self._rotation = Rotation()
        self._precedence = Precedence()
        self._admission = Admission(max_waiting_items, self._places, self._paces, self._precedence)
        self._delivery = Delivery(self._paces, self._end, self._end_unwanted)
        self._memory_gauges = observing.MemoryGauges()
        self._open: dict[Slot, None] = {}
        """Slots that have not ended, oldest first; guarded by the lock, as is `_closing`."""
        self._lock = threading.Lock()
        self._closing = False
        self._something_came = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="denoiser", daemon=True)
        self._thread.start()

    def submit(
        self,
        items: Sequence[EngineItem],
        *,
        priority: Priority = Priority.NORMAL,
        deadline_seconds: float | None = None,
    ) -> SlotSubmission:
        """Queues checked items, all or none."""
        submission = SlotSubmission(items, self._key, priority=priority, deadline_seconds=deadline_seconds)
        new = list(submission.slots.values())
        with self._lock:
            if not self.is_alive():
                raise _stopping()
            for slot in new:
                self._models.check(slot.item.record.model)
            self._admission.check(list(self._open), new, deadline_seconds)
            self._tell_places(submission)
            self._open |= dict.fromkeys(new)
        self._something_came.set()
        return submission

    def stats(self) -> EngineStats:
        """Load of the engine."""
        slots = self._snapshot()
        waiting = sum(slot.denoising is None for slot in slots)
        return EngineStats(
            waiting_items=waiting,
            running_items=len(slots) - waiting,
            max_waiting_items=self._max_waiting,
            seconds_per_item=max((pace.item_seconds.value for pace in list(self._paces.values())), default=0.0),
        )

    def add(self, model: LoadedModel) -> Future[None]:
        """Takes one more model."""
        future = self._models.add(model)
        self._something_came.set()
        return future

    def remove(self, model_id: str) -> Future[None]:
        """Lets a model go when its last picture has ended."""
        future = self._models.remove(model_id)
        self._something_came.set()
        return future

    def is_alive(self) -> bool:
        """Whether the thread runs and takes items."""
        return self._thread.is_alive() and not self._closing

    def close(self) -> None:
        """Ends running items before their next step and waits for the thread."""
        with self._lock:
            self._closing = True
        self._something_came.set()
        self._thread.join()

    def _key(self, record: GenerationRecord) -> GroupKey:
        group = self._models[record.model].family.group(record)
        return GroupKey(record.model, group, record.deterministic, record.width_pixels * record.height_pixels)

    def _places(self, key: Hashable) -> int:
        group = self._groups.get(key)
        return self._limits.of(key).denoise if group is None else group.limit

    def _snapshot(self) -> list[Slot]:
        with self._lock:
            return list(self._open)

    def _tell_places(self, submission: SlotSubmission) -> None:
        """Tells the reader of new pictures how many are ahead of each."""
        new = submission.slots.values()
        waiting = [slot for slot in self._open if slot.denoising is None]
        order = self._precedence.order([*waiting, *new])
        ahead = {slot: len(self._open) - len(waiting) + place for place, slot in enumerate(order)}
        for slot in new:
            submission.hand_over(Queued(slot.item.item_id, ahead[slot]))

    # Below: the engine's thread only.

    def _loop(self) -> None:
        try:
            with torch.inference_mode():
                while not self._closing:
                    self._turn()
        except Exception:
            log.exception("engine_died")
        finally:
            with self._lock:
                self._closing = True
            for slot in self._snapshot():
                self._fail(slot, _stopping())
            self._models.close(_stopping())

    def _turn(self) -> None:
        self._something_came.clear()
        self._end_unwanted()
        self._change_models()
        slots = self._snapshot()
        if not slots:
            metrics.WAITING_ITEMS.set(0)
            metrics.RUNNING_ITEMS.set(0)
            if not self._closing:
                self._something_came.wait()
            return
        with computing():
            self._admit([slot for slot in slots if slot.denoising is None])
            running = {key: group for key, group in self._groups.items() if group.running}
            if running:
                key = self._rotation.next(running)
                self._step(key, running[key])
        self._groups = {key: group for key, group in self._groups.items() if not group.is_as_new}
        self._rest_adapters({group.model.card.id for group in running.values()})

    def _change_models(self) -> None:
        """Takes in models that have come, and lets those go that shall leave and have no pictures any more."""
        self._models.take_in()
        left = self._models.leavers({slot.item.record.model for slot in self._snapshot()})
        if left:
            self._groups = {key: group for key, group in self._groups.items() if group.model.card.id not in left}
        for future in left.values():
            future.set_result(None)

    def _rest_adapters(self, models: Collection[str]) -> None:
        """Lets adapters of these models go that no picture uses any more, where too many are loaded."""
        used: dict[str, set[str]] = {model: set() for model in models}
        for group in self._groups.values():
            for slot in group.running:
                used.setdefault(group.model.card.id, set()).add(slot.item.record.adapter)
        for model in models:
            self._models[model].family.adapters.unload_unused(used[model])

    def _admit(self, waiting: Sequence[Slot]) -> None:
        """Begins the waiting pictures for which there is room, as `precedence.py` orders them."""
        self._limits.look({slot.item.record.model for slot in waiting if slot.key not in self._groups})
        on_their_way = Counter(group.model.card.id for group in self._groups.values() for _ in group.running)
        chosen: dict[Hashable, list[Slot]] = {}
        full: set[str] = set()
        begun: list[Slot] = []
        for slot in self._precedence.order(waiting):
            model = self._models[slot.item.record.model]
            group = self._groups.setdefault(slot.key, Group(model, self._limits.of(slot.key)))
            mates = chosen.setdefault(slot.key, [])
            if on_their_way[model.card.id] >= MAX_RUNNING_BATCHES * model.max_batch:
                # Nobody passes the first that is kept out, or a rare size might wait for ever.
                full.add(model.card.id)
            if model.card.id not in full and len(group.running) + len(mates) < group.limit:
                mates.append(slot)
                begun.append(slot)
                on_their_way[model.card.id] += 1
        self._precedence.began(waiting, begun)
        for key, slots in chosen.items():
            group, began = self._groups[key], time.perf_counter()
            for slot, lost in group.begin(slots):
                self._fail(slot, generation_failed(slot, lost))
            observing.begun(slots)
            # Encoding prompts and initial images holds up the others as denoising does.
            self._rotation.charge(key, (time.perf_counter() - began) / max(len(group.running), 1))
        metrics.WAITING_ITEMS.set(sum(slot.denoising is None and not slot.ended for slot in waiting))
        metrics.RUNNING_ITEMS.set(sum(len(group.running) for group in self._groups.values()))

    def _step(self, key: Hashable, group: Group) -> None:
        """One denoising step of a group, and pictures of those that are done with it."""
        batch = group.running[: group.limit]
        for slot in batch:
            if not slot.has_started:
                slot.has_started = True
                slot.emit(Started(slot.item.item_id, slot.item.record.denoising_steps, len(batch)))
        began = time.perf_counter()
        lost = group.step(batch)
        spent = time.perf_counter() - began
        metrics.STEP_SECONDS.labels(group.model.card.id).observe(spent)
        metrics.BATCH_ITEMS.labels(group.model.card.id).observe(len(batch))
        self._memory_gauges.look(group.model.device)
        for slot, why in lost:
            self._fail(slot, generation_failed(slot, why))
        self._end_unwanted()
        if self._closing:
            return
        stepped = [slot for slot in batch if not slot.ended]
        self._delivery.report(group.model.card.id, stepped, spent / len(batch), len(batch))
        self._delivery.deliver(group, [slot for slot in stepped if not slot.steps_left])
        self._delivery.show(group, [slot for slot in stepped if slot.is_preview_due])
        # With what decoding pictures and previews took.
        self._rotation.charge(key, (time.perf_counter() - began) / len(batch))

    def _end_unwanted(self) -> None:
        """Ends what was cancelled, and what still waits when its time is over."""
        for slot in self._snapshot():
            if slot.cancel_requested:
                self._fail(slot, CancelledError())
            elif slot.is_too_late:
                problem = "the time limit was over before the picture could begin"
                self._fail(slot, DeadlineError(Reason.DEADLINE_EXCEEDED, problem))

    def _fail(self, slot: Slot, error: LikenessError) -> None:
        self._end(slot, Failed(slot.item.item_id, error))

    def _end(self, slot: Slot, event: Finished | Failed) -> None:
        outcome = _outcome(event)
        metrics.PICTURES.labels(slot.item.record.model, outcome).inc()
        observing.ended(slot, outcome)
        if slot.key in self._groups:
            self._groups[slot.key].leave(slot)
        with self._lock:
            self._open.pop(slot, None)
        slot.emit(event)


def _outcome(event: Finished | Failed) -> str:
    if isinstance(event, Finished):
        return "made"
    return "cancelled" if isinstance(event.error, CancelledError) else "failed"


def _stopping() -> UnavailableError:
    return UnavailableError(Reason.BACKEND_UNAVAILABLE, "the generator is stopping; try again", retry_after_seconds=1.0)
