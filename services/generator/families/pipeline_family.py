"""What the families of the larger stock pipelines share: how a picture begins, and its steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from PIL import Image

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.generator import noise, schedulers
from services.generator.adapters.switch import selection
from services.generator.domain import GenerationRecord
from services.generator.families import guidance, history_steps, linear_steps, pictures
from services.generator.families.base import NO_IMAGES, Conditioning, Denoising, Family
from services.generator.families.kept import Kept

PROMPT = "prompt_embeds"
"""Name of the text embedding [tokens, channels] in a picture's conditioning."""

_ALONE = "alone"
"""Marks prompts in the cache that were encoded one by one."""

_MAX_SCHEDULES = 64
"""Schedulers that are kept with their timesteps; one takes a few KB beside what all of its kind share."""


class Given(NamedTuple):
    """A picture to start from, and where it is made anew; None: everywhere."""

    picture: Image.Image
    mask: Image.Image | None


@dataclass(frozen=True)
class Start:
    """Timesteps to do, the latents [C, H, W] before the first of them, and what the family keeps for itself."""

    timesteps: tuple[torch.Tensor, ...]
    latents: torch.Tensor
    extra: dict[str, Any] = field(default_factory=dict)


class PipelineFamily(Family):
    """A text-to-image pipeline with prompts, schedule and noise as its `__call__` has them for one picture."""

    mixes_noise = True

    _needed_parts: ClassVar[tuple[str, ...]]
    """Parts that a pipeline folder may lack, but that prompts cannot be read without."""

    def __init__(self, pipeline: Any, **options: Any) -> None:
        """Takes a pipeline that is on its device and that nobody else uses from now on.

        Raises:
            UnavailableError: MODEL_UNAVAILABLE, naming the parts the pipeline was loaded without.
        """
        super().__init__(pipeline, **options)
        self._linear_steps = linear_steps.LinearSteps()
        self._history_steps = history_steps.HistorySteps()
        self._schedules: Kept[Any] = Kept(_MAX_SCHEDULES)
        """Schedulers with their timesteps set, by all that these depend on."""
        missing = [part for part in self._needed_parts if getattr(pipeline, part) is None]
        if missing:
            message = f"a {type(pipeline).__name__} cannot read prompts without {' and '.join(missing)}"
            raise UnavailableError(Reason.MODEL_UNAVAILABLE, message)

    @property
    @abstractmethod
    def size_multiple_pixels(self) -> int:
        """Sides of pictures are multiples of it."""

    def group(self, record: GenerationRecord) -> Hashable:
        """Size of the picture, and its adapter with the scale."""
        return record.width_pixels, record.height_pixels, selection(record)

    def begin(
        self,
        records: Sequence[GenerationRecord],
        initial_images: Mapping[str, Image.Image] = NO_IMAGES,
        masks: Mapping[str, Image.Image] = NO_IMAGES,
    ) -> list[Denoising]:
        """Encodes prompts and draws noise as the pipeline does.

        Raises:
            InvalidInputError: a record asks for what the pipeline would ignore, round off or fail at.
        """
        for record in records:
            self._check(record)
        shared = [text for record in records if not record.deterministic for text in self._texts(record)]
        self.adapters.use(records[0])
        changed = self.adapters.text_selection(records[0])
        keys = [(text, changed) for text in shared]
        found = self.prompts.get(keys, lambda missing: self._encode([text for text, _ in missing]))
        encoded = dict(zip(shared, found, strict=True))
        return [
            self._begin(
                one,
                self._encoded_alone(one, changed) if one.deterministic else encoded,
                Given(initial_images[one.initial_image_content_hash], masks.get(one.mask_content_hash))
                if one.strength
                else None,
            )
            for one in records
        ]

    def _texts(self, record: GenerationRecord) -> list[str]:
        unconditional = self._unconditional_text(record)
        return [record.prompt] if unconditional is None else [record.prompt, unconditional]

    def _encoded_alone(self, record: GenerationRecord, changed: Hashable) -> dict[str, Conditioning]:
        """Texts of a deterministic record, encoded one by one: what was in a batch is rounded in another way."""

        def encode(keys: list[tuple[str, Hashable, str]]) -> list[Conditioning]:
            return [one for text, *_ in keys for one in self._encode([text])]

        texts = self._texts(record)
        found = self.prompts.get([(text, changed, _ALONE) for text in texts], encode)
        return dict(zip(texts, found, strict=True))

    def _check(self, record: GenerationRecord) -> None:
        if record.strength and not self.takes_initial_image:
            raise InvalidInputError("initial_image", "is not taken by this model", allowed="unset")
        for name, side in (("width_pixels", record.width_pixels), ("height_pixels", record.height_pixels)):
            if side % self.size_multiple_pixels:
                raise InvalidInputError(name, f"is {side}", allowed=f"multiples of {self.size_multiple_pixels}")

    def _begin(self, record: GenerationRecord, encoded: dict[str, Conditioning], given: Given | None) -> Denoising:
        conditioning = dict(encoded[record.prompt])
        if self._is_guided(record):
            text = self._unconditional_text(record)
            zeros = {name: torch.zeros_like(tensor) for name, tensor in conditioning.items()}
            half = zeros if text is None else encoded[text]
            conditioning |= guidance.unconditional(half, record.guidance_scale, self.device)
        dtype = conditioning[PROMPT].dtype
        conditioning |= self._further_conditioning(record, dtype)
        scheduler = self._scheduler(record)
        # On the CPU whatever the device: the same seed gives the same noise everywhere.
        generator = torch.Generator("cpu").manual_seed(record.seed)
        start = self._start(record, given, scheduler, dtype, generator)
        # What a family keeps for itself, it does something with between steps.
        plain = None if start.extra else (scheduler, start.timesteps, start.latents)
        return Denoising(
            record=record,
            conditioning=conditioning,
            scheduler=scheduler,
            timesteps=start.timesteps,
            latents=start.latents,
            generator=generator,
            extra=start.extra,
            factors=plain and self._linear_steps.factors(*plain),
            history=plain and self._history_steps.begin(*plain),
        )

    def _scheduler(self, record: GenerationRecord) -> Any:
        """A fresh scheduler with the picture's timesteps."""
        own = self.pipeline.scheduler

        def with_timesteps() -> Any:
            scheduler = schedulers.build(record.scheduler, own)
            # On the CPU: schedulers compare and index with timesteps; on a GPU each time would wait for its kernels.
            scheduler.set_timesteps(**self._timestep_arguments(record, scheduler), device="cpu")
            return scheduler

        key = (own, record.scheduler, record.steps, record.width_pixels, record.height_pixels)
        return schedulers.copied(self._schedules.find(key, with_timesteps))

    def _start(
        self,
        record: GenerationRecord,
        given: Given | None,  # noqa: ARG002
        scheduler: Any,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> Start:
        """Where denoising starts: at the first timestep from noise. Families that take initial images know more."""
        drawn = self._noise(record, dtype, generator).to(self.device)
        # Flow matching has no such number: it starts from the noise as it is.
        return Start(tuple(scheduler.timesteps), drawn * getattr(scheduler, "init_noise_sigma", 1.0))

    def _pictures(self, decoded: torch.Tensor) -> list[Image.Image | None]:
        """RGB pictures of the decoder's output [B, 3, H, W] from -1 to 1."""
        return [*pictures.of_decoded(self.pipeline.image_processor, decoded)]

    def advance(self, one: Denoising, output: torch.Tensor) -> None:
        """Takes the step of a picture alone, by its factors or history where it has some."""
        if one.factors is not None:
            linear_steps.step([one], [output])
        else:
            super().advance(one, output)

    def _step(self, one: Denoising, timestep: torch.Tensor, output: torch.Tensor) -> schedulers.Stepped:
        if one.history is not None:
            return one.history.step(one.step, output)
        # Some schedulers tell batch and channels apart: they get a batch of one.
        stepped = schedulers.step(one.scheduler, output[None], timestep, one.latents[None], one.generator)
        return schedulers.Stepped(stepped.latents[0], stepped.clean[0])

    def _is_guided(self, record: GenerationRecord) -> bool:
        """Whether the denoiser is called for an unconditional half as well."""
        return record.guidance_scale > 1

    def _unconditional_text(self, record: GenerationRecord) -> str | None:
        """Text of the unconditional half; None if there is no such half, or zeros stand for it."""
        return record.negative_prompt if self._is_guided(record) else None

    @abstractmethod
    def _encode(self, texts: list[str]) -> list[Conditioning]:
        """What the denoiser is told of each text."""

    @abstractmethod
    def _further_conditioning(self, record: GenerationRecord, dtype: torch.dtype) -> Conditioning:
        """What the denoiser is told of a picture besides texts."""

    def _timestep_arguments(self, record: GenerationRecord, scheduler: Any) -> dict[str, Any]:  # noqa: ARG002
        """What the scheduler makes a picture's timesteps of."""
        return {"num_inference_steps": record.steps}

    def _noise(self, record: GenerationRecord, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
        """Noise [C, H, W] of unit variance on the CPU."""
        factor = self.pipeline.vae_scale_factor
        height, width = record.height_pixels // factor, record.width_pixels // factor
        return noise.draw(record, (self._channels, height, width), dtype, generator)

    @property
    @abstractmethod
    def _channels(self) -> int:
        """Channels of the latents."""


def by_text(encoded: Conditioning) -> list[Conditioning]:
    """Embeddings [texts, ...] by name, taken apart."""
    columns = [tensor.unbind() for tensor in encoded.values()]
    return [dict(zip(encoded, row, strict=True)) for row in zip(*columns, strict=True)]


def told(batch: Sequence[Denoising], name: str) -> torch.Tensor:
    """Conditioning of a name [B, ...]."""
    return torch.stack([one.conditioning[name] for one in batch])


def scaled_latents(batch: Sequence[Denoising]) -> torch.Tensor:
    """Latents [B, ...] as the denoiser takes them: some schedulers scale them to unit variance."""
    return torch.cat([one.scheduler.scale_model_input(one.latents[None], one.timesteps[one.step]) for one in batch])


def next_timesteps(batch: Sequence[Denoising]) -> torch.Tensor:
    """Timesteps [B] float32 of the pictures' next steps; schedulers count in whole numbers or in fractions."""
    timesteps = torch.stack([one.timesteps[one.step].to(torch.float32) for one in batch])
    return timesteps.to(batch[0].latents.device)
