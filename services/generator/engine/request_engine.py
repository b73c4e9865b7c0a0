"""Request-level batching: one thread owns the pipelines and runs waiting items of one kind in one pipeline call.

No lock guards the work: items enter through a queue, everything after it belongs to the engine's thread, and other
threads only set an item's cancellation flag, which the thread reads after every denoising step.

Batch mates do not change a picture but for rounding: on a CPU in float32 a picture made in a batch differs from the
one made alone by at most 0.05 of 255 levels on average (`tests/generator/test_generate.py`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence

import torch
from PIL import Image

from services.common.errors import CancelledError, LikenessError, OverloadedError, Reason, UnavailableError
from services.common.telemetry import get_logger
from services.generator import metrics
from services.generator.domain import EngineItem
from services.generator.engine.base import Engine, EngineStats, Failed, Finished, Queued, Started, StepDone
from services.generator.engine.pace import BatchClock, Pace
from services.generator.engine.pipeline_batch import BatchKey, batch_key, run_batch
from services.generator.engine.slots import Slot, SlotSubmission
from services.generator.pipelines import LoadedModel

log = get_logger(__name__)

DEFAULT_MAX_WAITING_ITEMS = 256


class _BatchEndedError(Exception):
    """Raised out of the pipeline when no item of the batch is open any more."""


class RequestEngine(Engine):
    """Engine over stock pipeline calls."""

    def __init__(
        self, models: Mapping[str, LoadedModel], *, max_waiting_items: int = DEFAULT_MAX_WAITING_ITEMS
    ) -> None:
        """Starts the thread.

        Args:
            models: Loaded models by id. The engine's thread is their only user from now on.
            max_waiting_items: Items beyond the running batch that are accepted before QUEUE_FULL.
        """
        self._models = dict(models)
        self._max_waiting = max_waiting_items
        self._inbox: queue.SimpleQueue[Slot | None] = queue.SimpleQueue()
        self._waiting: list[Slot] = []
        self._batch_limits: dict[BatchKey, int] = {}
        self._pace = Pace()
        # Each counter has one writer: submit() the first, the engine's thread the others.
        self._accepted = 0
        self._left_queue = 0
        self._running = 0
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="denoiser", daemon=True)
        self._thread.start()

    def submit(self, items: Sequence[EngineItem]) -> SlotSubmission:
        """Queues checked items, all or none."""
        if not self.is_alive():
            raise _stopping()
        waiting = self._accepted - self._left_queue
        over = waiting + len(items) - self._max_waiting
        if over > 0:
            message = f"{waiting} pictures wait already; {len(items)} more would be over {self._max_waiting}"
            raise OverloadedError(Reason.QUEUE_FULL, message, retry_after_seconds=self._pace.seconds_for(over))
        submission = SlotSubmission(items)
        ahead = waiting + self._running
        self._accepted += len(items)
        for place, slot in enumerate(submission.slots.values()):
            submission.receive(Queued(slot.item.item_id, ahead + place))
            self._inbox.put(slot)
        return submission

    def stats(self) -> EngineStats:
        """Load of the engine."""
        return EngineStats(
            waiting_items=self._accepted - self._left_queue,
            running_items=self._running,
            max_waiting_items=self._max_waiting,
            seconds_per_item=self._pace.seconds_per_item,
        )

    def is_alive(self) -> bool:
        """Whether the thread runs and takes items."""
        return self._thread.is_alive() and not self._closing

    def close(self) -> None:
        """Ends running items before their next step and waits for the thread."""
        self._closing = True
        self._inbox.put(None)
        self._thread.join()

    # Below: the engine's thread only.

    def _loop(self) -> None:
        while not self._closing:
            self._take_inbox(wait=not self._waiting)
            batch = self._next_batch()
            self._running = len(batch)
            if batch:
                self._run(batch)
            self._running = 0
        self._take_inbox(wait=False)
        for slot in self._waiting:
            self._fail(slot, _stopping())
        self._set_waiting([])

    def _take_inbox(self, *, wait: bool) -> None:
        """Moves what came in to the waiting items and ends those cancelled meanwhile."""
        arrived: list[Slot | None] = [self._inbox.get()] if wait else []
        while not self._inbox.empty():
            arrived.append(self._inbox.get())
        self._waiting += [slot for slot in arrived if slot is not None]
        cancelled = [slot for slot in self._waiting if slot.cancel_requested]
        self._set_waiting([slot for slot in self._waiting if slot not in cancelled])
        for slot in cancelled:
            self._end_if_cancelled(slot)

    def _set_waiting(self, slots: list[Slot]) -> None:
        self._left_queue += len(self._waiting) - len(slots)
        self._waiting = slots
        metrics.WAITING_ITEMS.set(self._accepted - self._left_queue)

    def _next_batch(self) -> list[Slot]:
        """The longest-waiting item and those that can share its call, oldest first."""
        if not self._waiting:
            return []
        key = batch_key(self._waiting[0].item.record)
        room = self._batch_limits.get(key, self._models[key.model].max_batch)
        batch = [slot for slot in self._waiting if batch_key(slot.item.record) == key][:room]
        self._set_waiting([slot for slot in self._waiting if slot not in batch])
        return batch

    def _run(self, batch: Sequence[Slot]) -> None:
        """Makes the pictures of a batch; every slot has ended afterwards."""
        records = [slot.item.record for slot in batch]
        model = self._models[records[0].model]
        metrics.BATCH_ITEMS.labels(model.card.id).observe(len(batch))
        for slot in batch:
            slot.emit(Started(slot.item.item_id, records[0].steps, len(batch)))
        clock = BatchClock(self._pace, records[0].steps, model.card.id)
        try:
            pictures = run_batch(model, records, lambda done, broken: self._after_step(batch, done, broken, clock))
        except _BatchEndedError:
            return
        except Exception as error:
            out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
            log.exception("batch_failed", model=model.card.id, items=len(batch), out_of_memory=out_of_memory)
        else:
            clock.finish(len(batch))
            for slot, picture in zip(batch, pictures, strict=True):
                self._deliver(slot, picture)
            return
        # Outside the handler: while the exception lives, its traceback holds the failed batch's tensors.
        self._run_parts(batch, out_of_memory=out_of_memory)

    def _run_parts(self, failed: Sequence[Slot], *, out_of_memory: bool) -> None:
        """Runs a failed batch again in two parts, down to single items, so that one bad item takes no other along."""
        key = batch_key(failed[0].item.record)
        if out_of_memory:
            torch.cuda.empty_cache()
            self._batch_limits[key] = max(len(failed) // 2, 1)
        if len(failed) == 1:
            size = f"{key.width_pixels} x {key.height_pixels} pixels"
            problem = f"not enough memory for {size}" if out_of_memory else "the denoiser failed; see the server's log"
            self._fail(failed[0], _generation_failed(problem))
            return
        middle = (len(failed) + 1) // 2
        for part in (failed[:middle], failed[middle:]):
            still_open = [slot for slot in part if not slot.ended and not self._end_if_cancelled(slot)]
            if still_open:
                self._run(still_open)

    def _after_step(self, batch: Sequence[Slot], done: int, broken: frozenset[int], clock: BatchClock) -> None:
        seconds_left = clock.step_done(done)
        for index, slot in enumerate(batch):
            if slot.ended or self._end_if_cancelled(slot):
                continue
            record = slot.item.record
            if self._closing:
                self._fail(slot, _stopping())
            elif index in broken:
                problem = "the denoiser gave values that are no numbers; try another guidance scale or scheduler"
                self._fail(slot, _generation_failed(problem))
            else:
                metrics.STEPS.labels(record.model).inc()
                slot.emit(StepDone(slot.item.item_id, done, record.steps, seconds_left))
        # Waiting items are cancelled here too, or they would keep their place until the whole batch is done.
        self._take_inbox(wait=False)
        if all(slot.ended for slot in batch):
            raise _BatchEndedError

    def _deliver(self, slot: Slot, picture: Image.Image | None) -> None:
        if slot.ended or self._end_if_cancelled(slot):
            return
        if picture is None:
            self._fail(slot, _generation_failed("the model's safety checker withheld the picture"))
            return
        slot.emit(Finished(slot.item, picture))
        metrics.PICTURES.labels(slot.item.record.model, "made").inc()

    def _end_if_cancelled(self, slot: Slot) -> bool:
        if not slot.cancel_requested:
            return False
        self._fail(slot, CancelledError())
        return True

    def _fail(self, slot: Slot, error: LikenessError) -> None:
        outcome = "cancelled" if isinstance(error, CancelledError) else "failed"
        metrics.PICTURES.labels(slot.item.record.model, outcome).inc()
        slot.emit(Failed(slot.item.item_id, error))


def _generation_failed(problem: str) -> LikenessError:
    return LikenessError(Reason.GENERATION_FAILED, problem)


def _stopping() -> UnavailableError:
    return UnavailableError(Reason.BACKEND_UNAVAILABLE, "the generator is stopping; try again", retry_after_seconds=1.0)
