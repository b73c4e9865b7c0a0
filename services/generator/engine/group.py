"""Pictures of one model that can share denoiser calls, and the calls."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image

from services.generator.batch_memory import Batches
from services.generator.domain import GenerationRecord
from services.generator.engine.slots import Slot
from services.generator.engine.splitter import Lost, Splitter
from services.generator.families import linear_steps
from services.generator.families.base import Denoising
from services.generator.pipelines import LoadedModel


class GroupKey(NamedTuple):
    """What pictures must have in common to share a call."""

    model: str
    group: Hashable
    """As the model's family says."""
    deterministic: bool
    """Whether the pictures share no call after all, so that every call has the shape it always has."""
    pixels: int
    """Of each picture."""


class Group:
    """Running pictures, oldest first, and how many of them a call can take. The engine's thread is its only user."""

    def __init__(self, model: LoadedModel, most: Batches) -> None:
        """Takes the model, and how many pictures a call is for unless memory runs out."""
        self.model = model
        self.running: list[Slot] = []
        self._most = most
        self._predicting = Splitter(most.denoise, model=model.card.id, work="denoise")
        self._decoding = Splitter(most.decode, model=model.card.id, work="decode")
        self._advancing_together = Splitter(most.denoise, model=model.card.id, work="advance")
        # One by one: a scheduler that fails has changed its state already and cannot be asked again.
        self._advancing = Splitter(1, model=model.card.id, work="advance")

    @property
    def limit(self) -> int:
        """Pictures in one denoiser call at most."""
        return self._predicting.limit

    @property
    def is_as_new(self) -> bool:
        """Whether nothing would be lost with the group: it is empty and has not been short of memory."""
        return not self.running and (self._predicting.limit, self._decoding.limit) == self._most

    def begin(self, slots: Sequence[Slot]) -> list[tuple[Slot, Lost]]:
        """Takes pictures in; returns those that could not begin."""
        beginning = Splitter(len(slots), model=self.model.card.id, work="begin")
        begun = beginning.run(slots, lambda part: self.model.family.begin(*_what_to_begin(part)))
        lost = []
        for slot, denoising in zip(slots, begun, strict=True):
            if isinstance(denoising, Lost):
                lost.append((slot, denoising))
            else:
                slot.begin(denoising)
                self.running.append(slot)
        return lost

    def step(self, batch: Sequence[Slot]) -> list[tuple[Slot, Lost]]:
        """One denoising step of some running pictures; returns those that could not take it.

        When it returns, the step has been taken on the device too.
        """
        family = self.model.family
        outputs = self._predicting.run(batch, lambda part: family.predict(_denoisings(part)).unbind())
        predicted = [pair for pair in zip(batch, outputs, strict=True) if not isinstance(pair[1], Lost)]
        linear = [pair for pair in predicted if _has_factors(pair[0])]
        others = [pair for pair in predicted if not _has_factors(pair[0])]
        advanced = [
            *zip(linear, self._advancing_together.run(linear, _advance_together), strict=True),
            *zip(others, self._advancing.run(others, self._advance), strict=True),
        ]
        if self.model.device.type == "cuda":
            # Kernels run behind Python's back: without waiting, progress and cancellation would run ahead of them.
            torch.cuda.current_stream(self.model.device).synchronize()
        results = [*zip(batch, outputs, strict=True), *((slot, result) for (slot, _), result in advanced)]
        return [(slot, result) for slot, result in results if isinstance(result, Lost)]

    def _advance(self, predicted: Sequence[tuple[Slot, Any]]) -> list[None]:
        for slot, output in predicted:
            (one,) = _denoisings([slot])
            self.model.family.advance(one, output)
        return [None for _ in predicted]

    def decode(self, slots: Sequence[Slot]) -> list[Image.Image | Lost | None]:
        """Pictures of finished latents; None where the model's safety checker withheld one."""
        return self._decoding.run(slots, lambda part: self.model.family.decode(_denoisings(part)))

    def decode_as_they_stand(self, slots: Sequence[Slot]) -> list[Image.Image | Lost | None]:
        """Pictures between two steps, which are left as they are."""
        standing = [one.as_it_stands() for one in _denoisings(slots)]
        return self._decoding.run(standing, self.model.family.decode)

    def are_numbers(self, slots: Sequence[Slot]) -> list[bool]:
        """Whether the latents of pictures are free of NaN and infinity."""
        finite = torch.stack([one.latents.isfinite().all() for one in _denoisings(slots)])
        checked: list[bool] = finite.tolist()
        return checked

    def leave(self, slot: Slot) -> None:
        """Gives the place of a picture that has ended free."""
        if slot in self.running:
            self.running.remove(slot)


def _what_to_begin(
    slots: Sequence[Slot],
) -> tuple[list[GenerationRecord], dict[str, Image.Image], dict[str, Image.Image]]:
    """Records, and the initial images and masks that they name."""
    items = [slot.item for slot in slots]
    pictures = {one.record.initial_image_content_hash: one.initial_image for one in items if one.initial_image}
    masks = {one.record.mask_content_hash: one.mask for one in items if one.mask}
    return [one.record for one in items], pictures, masks


def _has_factors(slot: Slot) -> bool:
    return slot.denoising is not None and slot.denoising.factors is not None


def _advance_together(predicted: Sequence[tuple[Slot, Any]]) -> list[None]:
    linear_steps.step(_denoisings([slot for slot, _ in predicted]), [output for _, output in predicted])
    return [None for _ in predicted]


def _denoisings(slots: Sequence[Slot]) -> list[Denoising]:
    return [slot.denoising for slot in slots if slot.denoising is not None]
