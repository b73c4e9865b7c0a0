"""What a model family does for the step-level engine: one denoiser call for pictures at different steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from PIL import Image

from services.generator.adapters.switch import Adapters
from services.generator.domain import GenerationRecord
from services.generator.families import large_pictures
from services.generator.families.history_steps import History
from services.generator.families.large_pictures import DEFAULT_MAX_DECODE_PIXELS
from services.generator.families.prompt_cache import PromptCache
from services.generator.schedulers import Stepped

Conditioning = Mapping[str, torch.Tensor]
"""What the denoiser is told of one picture, by name; tensors without a batch dimension. A guided picture carries its
unconditional half under names of its own."""

NO_IMAGES: Mapping[str, Image.Image] = MappingProxyType({})


@dataclass
class Denoising:
    """One picture on its way. Owned by the engine's thread."""

    record: GenerationRecord
    conditioning: Conditioning
    scheduler: Any
    """Of this picture alone, its timesteps set: schedulers keep state between steps."""
    timesteps: Sequence[torch.Tensor]
    latents: torch.Tensor
    """[...] without a batch dimension, as the scheduler keeps them."""
    generator: torch.Generator
    """Draws the noise of ancestral samplers; its first draw made the initial noise unless that is a mix."""
    step: int = 0
    """Denoising steps done."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What a family keeps for itself."""
    clean: torch.Tensor | None = None
    """What the scheduler took the finished latents for in the newest step, shaped as `latents`."""
    factors: torch.Tensor | None = None
    """What the scheduler's steps multiply latents and outputs with [steps, 4], see `linear_steps.py`."""
    history: History | None = None
    """What the scheduler's steps are made of, see `history_steps.py`. Without this and factors each step is the
    scheduler's own to take."""

    @property
    def is_done(self) -> bool:
        """Whether the latents are those of a finished picture."""
        return self.step >= len(self.timesteps)

    def as_it_stands(self) -> Denoising:
        """A copy that can be decoded between two steps."""
        latents = self.latents if self.clean is None else self.clean.to(self.latents.dtype)
        # Some decoders draw noise of their own: the picture's generator must stay as it is.
        return replace(self, latents=latents, generator=torch.Generator("cpu").manual_seed(self.record.seed))


class Family(ABC):
    """A loaded model taken apart. Only the engine's thread may call it; no state of a picture is kept here."""

    mixes_noise: ClassVar[bool] = False
    """Whether `begin` makes the initial noise of a record with a `noise_mix`; the model's card says so."""

    takes_initial_image: ClassVar[bool] = False
    """Whether `begin` starts from the initial image of a record with a `strength`, with masks and second passes; the
    model's card says so."""

    takes_negative_prompt: ClassVar[bool] = True
    """Whether there is an unconditional half that reads a negative prompt; the model's card says so."""

    def __init__(self, pipeline: Any, *, max_decode_pixels: int = DEFAULT_MAX_DECODE_PIXELS) -> None:
        """Takes a pipeline that is on its device and that nobody else uses from now on.

        Args:
            pipeline: Of a class that the family is for.
            max_decode_pixels: Pixels in one call of the decoder; see `large_pictures.py`.
        """
        self.pipeline = pipeline
        self._max_decode_pixels = max_decode_pixels
        self.device: torch.device = pipeline.device
        self.prompts = PromptCache()
        self.adapters = Adapters(pipeline)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the text encoder that reads the longest prompts."""
        return self.pipeline.tokenizer

    @property
    def takes_guidance_scale(self) -> bool:
        """Whether the guidance scale changes pictures; the model's card says so."""
        return True

    @property
    def context_tokens(self) -> int:
        """Tokens of a prompt that the text encoder reads, marks included."""
        return int(self.tokenizer.model_max_length)

    @abstractmethod
    def group(self, record: GenerationRecord) -> Hashable:
        """What pictures that share a denoiser call have in common: latent shape, adapter, all that a call has once.

        Never steps, scheduler, seed, prompt or guidance scale. A function of the record alone; any thread may call it.
        """

    @abstractmethod
    def begin(
        self,
        records: Sequence[GenerationRecord],
        initial_images: Mapping[str, Image.Image] = NO_IMAGES,
        masks: Mapping[str, Image.Image] = NO_IMAGES,
    ) -> list[Denoising]:
        """Encodes prompts (in one pass where they are many) and draws the initial noise of pictures of one group.

        Prompts of a deterministic record go through the text encoder one by one.

        Args:
            records: Of one group.
            initial_images: Those that the records name, by content hash, RGB in the size of the group's pictures.
            masks: Likewise, L.
        """

    def predict(self, batch: Sequence[Denoising]) -> torch.Tensor:
        """Guided model output [B, ...] for pictures of one group at their own next steps, from one denoiser call.

        A guided and an unguided picture may share a call. What one picture gets does not depend on its batch mates but
        for rounding.
        """
        self.adapters.use(batch[0].record)
        return self._predict(batch)

    @abstractmethod
    def _predict(self, batch: Sequence[Denoising]) -> torch.Tensor:
        """What `predict` gives, with the denoiser as it is."""

    def decode(self, batch: Sequence[Denoising]) -> list[Image.Image | None]:
        """RGB pictures of finished latents of one group; None where the model's safety checker withheld it.

        Large pictures are decoded in parts, see `large_pictures.py`; what fits into one call is not.
        """
        pixels = batch[0].record.width_pixels * batch[0].record.height_pixels
        together = max(self._max_decode_pixels // pixels, 1)
        with large_pictures.tiled(self.pipeline, pixels, self._max_decode_pixels):
            parts = [self._decode(batch[start : start + together]) for start in range(0, len(batch), together)]
        return [picture for part in parts for picture in part]

    @abstractmethod
    def _decode(self, batch: Sequence[Denoising]) -> list[Image.Image | None]:
        """What `decode` gives, in one call of the decoder."""

    def advance(self, one: Denoising, output: torch.Tensor) -> None:
        """Takes the scheduler's step with a model output [...] of this picture."""
        timestep = one.timesteps[one.step]
        one.latents, one.clean = self._step(one, timestep, output)
        one.step += 1

    @abstractmethod
    def _step(self, one: Denoising, timestep: torch.Tensor, output: torch.Tensor) -> Stepped:
        """Latents [...] after the step."""
