"""Step-level batching: pictures join and leave the denoiser's batch between steps.

One thread owns the denoisers. Every turn of its loop takes in what has come, begins waiting pictures for which there is
room, and takes one denoising step: the running pictures of one group (one model, one size), each at its own timestep
with its own scheduler, guidance scale and seed, go through the denoiser in one call. A picture that is done leaves, is
decoded with others that are done, and its place is free for the next step. So a new picture waits at most one step
where its group has room; which group steps is said in `rotation.py`.

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
from collections.abc import Hashable, Mapping, Sequence

import torch
from PIL import Image

from services.common.errors import CancelledError, LikenessError, Reason, UnavailableError
from services.common.telemetry import get_logger
from services.generator import metrics
from services.generator.domain import EngineItem, GenerationRecord
from services.generator.engine.admission import Admission
from services.generator.engine.base import Engine, EngineStats, Failed, Finished, Preview, Queued, Started, StepDone
from services.generator.engine.group import Group, GroupKey
from services.generator.engine.pace import Pace
from services.generator.engine.rotation import Rotation
from services.generator.engine.slots import Slot, SlotSubmission
from services.generator.engine.splitter import Lost
from services.generator.pipelines import LoadedModel

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
        self._models = dict(models)
        self._max_waiting = max_waiting_items
        self._paces = {model: Pace() for model in models}
        self._groups: dict[Hashable, Group] = {}
        self._rotation = Rotation()
        self._admission = Admission(max_waiting_items, self._places, self._paces)
        self._open: dict[Slot, None] = {}
        """Slots that have not ended, oldest first; guarded by the lock, as is `_closing`."""
        self._lock = threading.Lock()
        self._closing = False
        self._something_came = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="denoiser", daemon=True)
        self._thread.start()

    def submit(self, items: Sequence[EngineItem], *, deadline_seconds: float | None = None) -> SlotSubmission:
        """Queues checked items, all or none."""
        submission = SlotSubmission(items, self._key)
        new = list(submission.slots.values())
        with self._lock:
            if not self.is_alive():
                raise _stopping()
            self._admission.check(list(self._open), new, deadline_seconds)
            for ahead, slot in enumerate(new, start=len(self._open)):
                submission.hand_over(Queued(slot.item.item_id, ahead))
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
            seconds_per_item=max((pace.item_seconds.value for pace in self._paces.values()), default=0.0),
        )

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
        return GroupKey(record.model, self._models[record.model].family.group(record), record.deterministic)

    def _places(self, key: Hashable) -> int:
        group = self._groups.get(key)
        return self._largest_batch(key) if group is None else group.limit

    def _largest_batch(self, key: Hashable) -> int:
        assert isinstance(key, GroupKey)
        return 1 if key.deterministic else self._models[key.model].max_batch

    def _snapshot(self) -> list[Slot]:
        with self._lock:
            return list(self._open)

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

    def _turn(self) -> None:
        self._something_came.clear()
        self._end_cancelled()
        slots = self._snapshot()
        if not slots:
            metrics.WAITING_ITEMS.set(0)
            if not self._closing:
                self._something_came.wait()
            return
        self._admit([slot for slot in slots if slot.denoising is None])
        running = {key: group for key, group in self._groups.items() if group.running}
        if running:
            key = self._rotation.next(running)
            self._step(key, running[key])
        self._groups = {key: group for key, group in self._groups.items() if not group.is_as_new}

    def _admit(self, waiting: Sequence[Slot]) -> None:
        """Begins the waiting pictures for which there is room, oldest first."""
        on_their_way = Counter(group.model.card.id for group in self._groups.values() for _ in group.running)
        chosen: dict[Hashable, list[Slot]] = {}
        full: set[str] = set()
        for slot in waiting:
            model = self._models[slot.item.record.model]
            group = self._groups.setdefault(slot.key, Group(model, self._largest_batch(slot.key)))
            mates = chosen.setdefault(slot.key, [])
            if on_their_way[model.card.id] >= MAX_RUNNING_BATCHES * model.max_batch:
                # Nobody passes the oldest that is kept out, or a rare size might wait for ever.
                full.add(model.card.id)
            if model.card.id not in full and len(group.running) + len(mates) < group.limit:
                mates.append(slot)
                on_their_way[model.card.id] += 1
        for key, slots in chosen.items():
            for slot, lost in self._groups[key].begin(slots):
                self._fail(slot, _generation_failed(slot, lost))
        metrics.WAITING_ITEMS.set(sum(slot.denoising is None and not slot.ended for slot in waiting))

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
        self._rotation.charge(key, spent / len(batch))
        metrics.STEP_SECONDS.labels(group.model.card.id).observe(spent)
        metrics.BATCH_ITEMS.labels(group.model.card.id).observe(len(batch))
        for slot, why in lost:
            self._fail(slot, _generation_failed(slot, why))
        self._end_cancelled()
        if self._closing:
            return
        stepped = [slot for slot in batch if not slot.ended]
        self._report(group.model.card.id, stepped, spent / len(batch))
        self._deliver(group, [slot for slot in stepped if not slot.steps_left])
        self._show(group, [slot for slot in stepped if slot.is_preview_due])

    def _report(self, model: str, stepped: Sequence[Slot], seconds_per_picture: float) -> None:
        """Tells the readers of a step."""
        pace = self._paces[model]
        now = time.perf_counter()
        for slot in stepped:
            pace.step_seconds.add(now - slot.stepped_at)
            slot.stepped_at = now
            slot.denoiser_seconds += seconds_per_picture
            done, steps = slot.steps_done, slot.item.record.denoising_steps
            seconds_left = (now - slot.started_at) / done * slot.steps_left + pace.decode_seconds.value
            slot.emit(StepDone(slot.item.item_id, done, steps, seconds_left))
        metrics.STEPS.labels(model).inc(len(stepped))

    def _deliver(self, group: Group, done: Sequence[Slot]) -> None:
        """Decodes finished latents and ends their pictures."""
        if not done:
            return
        # Before the decoder, so that NaN never becomes pixels.
        for slot, is_fine in zip(done, group.are_numbers(done), strict=True):
            if not is_fine:
                problem = "the denoiser gave values that are no numbers; try another guidance scale or scheduler"
                self._fail(slot, LikenessError(Reason.GENERATION_FAILED, problem))
        fine = [slot for slot in done if not slot.ended]
        began = time.perf_counter()
        pictures = group.decode(fine)
        spent = time.perf_counter() - began
        self._end_cancelled()
        for slot, picture in zip(fine, pictures, strict=True):
            if slot.ended:
                continue
            if isinstance(picture, Lost):
                self._fail(slot, _generation_failed(slot, picture))
            elif picture is None:
                problem = "the model's safety checker withheld the picture"
                self._fail(slot, LikenessError(Reason.GENERATION_FAILED, problem))
            else:
                pace = self._paces[group.model.card.id]
                pace.decode_seconds.add(spent)
                pace.item_seconds.add(slot.denoiser_seconds + spent / len(fine))
                self._end(slot, Finished(slot.item, picture), "made")

    def _show(self, group: Group, due: Sequence[Slot]) -> None:
        """Shows pictures between two steps. One that cannot be shown is left out: the picture itself may still come."""
        if not due:
            return
        fine = [slot for slot, is_fine in zip(due, group.are_numbers(due), strict=True) if is_fine]
        for slot, picture in zip(fine, group.decode_as_they_stand(fine), strict=True):
            if isinstance(picture, Image.Image):
                slot.emit(Preview(slot.item.item_id, slot.steps_done, picture))

    def _end_cancelled(self) -> None:
        for slot in self._snapshot():
            if slot.cancel_requested:
                self._fail(slot, CancelledError())

    def _fail(self, slot: Slot, error: LikenessError) -> None:
        outcome = "cancelled" if isinstance(error, CancelledError) else "failed"
        self._end(slot, Failed(slot.item.item_id, error), outcome)

    def _end(self, slot: Slot, event: Finished | Failed, outcome: str) -> None:
        metrics.PICTURES.labels(slot.item.record.model, outcome).inc()
        if slot.key in self._groups:
            self._groups[slot.key].leave(slot)
        with self._lock:
            self._open.pop(slot, None)
        slot.emit(event)


def _generation_failed(slot: Slot, lost: Lost) -> LikenessError:
    if lost.error is not None:
        return lost.error
    record = slot.item.record
    size = f"{record.width_pixels} x {record.height_pixels} pixels"
    problem = f"not enough memory for {size}" if lost.out_of_memory else "the denoiser failed; see the server's log"
    return LikenessError(Reason.GENERATION_FAILED, problem)


def _stopping() -> UnavailableError:
    return UnavailableError(Reason.BACKEND_UNAVAILABLE, "the generator is stopping; try again", retry_after_seconds=1.0)
