"""Pictures, and how each was made."""

from __future__ import annotations

from likeness.types.v1 import image_pb2, model_pb2
from services.gateway import domain
from services.gateway.profiles.model import PictureInput


def image_info_to_proto(info: domain.ImageInfo) -> image_pb2.ImageInfo:
    """What is known of a stored picture."""
    return image_pb2.ImageInfo(
        content_hash=info.content_hash,
        pixel_hash=info.pixel_hash,
        media_type=info.media_type,
        width_pixels=info.width_pixels,
        height_pixels=info.height_pixels,
        size_bytes=info.size_bytes,
    )


def image_to_proto(data: bytes) -> image_pb2.Image:
    """A picture by its bytes, as backends take it."""
    return image_pb2.Image(data=data)


def picture_from_proto(image: image_pb2.Image) -> PictureInput:
    """A picture as a caller names it."""
    return PictureInput(image.data if image.WhichOneof("content") == "data" else None, image.content_hash)


def record_to_proto(record: domain.GenerationRecord) -> model_pb2.GenerationRecord:
    """Everything needed to make the same picture again."""
    return model_pb2.GenerationRecord(
        prompt=record.prompt,
        negative_prompt=record.negative_prompt,
        seed=record.seed,
        steps=record.steps,
        guidance_scale=record.guidance_scale,
        scheduler=record.scheduler,
        width_pixels=record.width_pixels,
        height_pixels=record.height_pixels,
        model=record.model,
        model_revision=record.model_revision,
        noise_mix=noise_mix_to_proto(record.noise_mix),
        deterministic=record.deterministic,
        strength=record.strength,
        initial_image_content_hash=record.initial_image_content_hash,
        mask_content_hash=record.mask_content_hash,
        second_strength=record.second_strength,
        adapter=record.adapter,
        adapter_scale=record.adapter_scale,
        adapter_revision=record.adapter_revision,
    )


def noise_mix_to_proto(mix: tuple[domain.NoisePart, ...]) -> list[model_pb2.NoisePart]:
    """Noises of a mix."""
    return [model_pb2.NoisePart(seed=part.seed, weight=part.weight, cells=part.cells) for part in mix]


def record_from_proto(record: model_pb2.GenerationRecord) -> domain.GenerationRecord:
    """Everything needed to make the same picture again."""
    return domain.GenerationRecord(
        prompt=record.prompt,
        negative_prompt=record.negative_prompt,
        seed=record.seed,
        steps=record.steps,
        guidance_scale=record.guidance_scale,
        scheduler=record.scheduler,
        width_pixels=record.width_pixels,
        height_pixels=record.height_pixels,
        model=record.model,
        model_revision=record.model_revision,
        noise_mix=tuple(domain.NoisePart(part.seed, part.weight, tuple(part.cells)) for part in record.noise_mix),
        deterministic=record.deterministic,
        strength=record.strength,
        initial_image_content_hash=record.initial_image_content_hash,
        mask_content_hash=record.mask_content_hash,
        second_strength=record.second_strength,
        adapter=record.adapter,
        adapter_scale=record.adapter_scale,
        adapter_revision=record.adapter_revision,
    )
