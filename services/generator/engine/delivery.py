"""What readers get after a denoising step: progress, finished pictures, previews."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from PIL import Image

from services.common.errors import LikenessError, Reason
from services.generator import metrics
from services.generator.engine.base import Failed, Finished, Preview, StepDone
from services.generator.engine.group import Group
from services.generator.engine.pace import Pace
from services.generator.engine.slots import Slot, emit_together
from services.generator.engine.splitter import Lost


class Delivery:
    """Tells readers of steps, and makes pictures of latents for them. The engine's thread is its only user."""

    def __init__(
        self,
        paces: Mapping[str, Pace],
        end: Callable[[Slot, Finished | Failed], None],
        end_unwanted: Callable[[], None],
    ) -> None:
        """Takes how fast each model is, what ends a slot, and what ends those that nobody wants any more."""
        self._paces = paces
        self._end = end
        self._end_unwanted = end_unwanted

    def report(self, model: str, stepped: Sequence[Slot], seconds_per_picture: float, batch_pictures: int) -> None:
        """Tells the readers of a step, which was a call for so many pictures."""
        pace = self._paces[model]
        now = time.perf_counter()
        events = []
        for slot in stepped:
            pace.step_seconds.add(now - slot.stepped_at)
            slot.stepped_at = now
            slot.denoiser_seconds += seconds_per_picture
            slot.batch_pictures += batch_pictures
            done, steps = slot.steps_done, slot.item.record.denoising_steps
            seconds_left = (now - slot.started_at) / done * slot.steps_left + pace.decode_seconds.value
            events.append((slot, StepDone(slot.item.item_id, done, steps, seconds_left)))
        emit_together(events)
        metrics.STEPS.labels(model).inc(len(stepped))

    def deliver(self, group: Group, done: Sequence[Slot]) -> None:
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
        metrics.DECODE_SECONDS.labels(group.model.card.id).observe(spent)
        self._end_unwanted()
        for slot, picture in zip(fine, pictures, strict=True):
            if slot.ended:
                continue
            if isinstance(picture, Lost):
                self._fail(slot, generation_failed(slot, picture))
            elif picture is None:
                problem = "the model's safety checker withheld the picture"
                self._fail(slot, LikenessError(Reason.GENERATION_FAILED, problem))
            else:
                pace = self._paces[group.model.card.id]
                pace.decode_seconds.add(spent)
                pace.item_seconds.add(slot.denoiser_seconds + spent / len(fine))
                self._end(slot, Finished(slot.item, picture))

    def show(self, group: Group, due: Sequence[Slot]) -> None:
        """Shows pictures between two steps. One that cannot be shown is left out: the picture itself may still come."""
        if not due:
            return
        fine = [slot for slot, is_fine in zip(due, group.are_numbers(due), strict=True) if is_fine]
        for slot, picture in zip(fine, group.decode_as_they_stand(fine), strict=True):
            if isinstance(picture, Image.Image):
                slot.emit(Preview(slot.item.item_id, slot.steps_done, picture))

    def _fail(self, slot: Slot, error: LikenessError) -> None:
        self._end(slot, Failed(slot.item.item_id, error))


def generation_failed(slot: Slot, lost: Lost) -> LikenessError:
    """Why a picture is lost, as its reader is told."""
    if lost.error is not None:
        return lost.error
    record = slot.item.record
    size = f"{record.width_pixels} x {record.height_pixels} pixels"
    problem = f"not enough memory for {size}" if lost.out_of_memory else "the denoiser failed; see the server's log"
    return LikenessError(Reason.GENERATION_FAILED, problem)
