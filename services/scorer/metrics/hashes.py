"""Perceptual hashes of the imagehash package: ahash, phash, dhash, whash, colorhash, crophash.

The hash bits are the embedding (0.0 or 1.0 each), so they are cached like any other. Raw value: the package's own
difference of two hashes, that is the Hamming distance in bits; normalized = 1 - distance / bits. The crop-resistant
hash has one 64-bit hash per segment of the picture; its raw value is the package's segment score (number of the
target's segments without a match, plus a tie-breaker below 1), which is not symmetric; normalized = 1 - raw / segments.

Bits are exactly those that imagehash gives for the normalized RGB picture. Sources: imagehash; Steinebach et al. 2014,
"Efficient Cropping-Resistant Robust Image Hashing", DOI 10.1109/ARES.2014.85.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image

from services.scorer.metrics import crop_resistant
from services.scorer.metrics.base import (
    Embedder,
    EmbedderSpec,
    EmbeddingMetric,
    MetricInput,
    MetricSpec,
    Value,
    Vector,
)
from services.scorer.pictures import Picture

LICENSE = "BSD-2-Clause"
REVISION = f"imagehash-{imagehash.__version__}"
PREPROCESSING = "rgb8-1"
SEGMENT_BITS = 64


@dataclass(frozen=True)
class HashKind:
    """One way to hash a picture."""

    id: str
    name: str
    bits: int
    function: Callable[[Image.Image], imagehash.ImageHash]


KINDS = (
    HashKind("ahash", "Average hash: pixels brighter than the mean of 8 x 8", 64, imagehash.average_hash),
    HashKind("phash", "Perceptual hash: low frequencies of the picture's DCT", 64, imagehash.phash),
    HashKind("dhash", "Difference hash: horizontal brightness steps", 64, imagehash.dhash),
    HashKind("whash", "Wavelet hash: low frequencies of the Haar transform", 64, imagehash.whash),
    HashKind("colorhash", "Color hash: shares of black, gray and six hues", 42, imagehash.colorhash),
)
CROP_RESISTANT = "crophash"


class HashEmbedder(Embedder):
    """Bits of a fixed-length hash as 0.0 and 1.0."""

    def __init__(self, kind: HashKind) -> None:
        super().__init__(_embedder_spec(kind.id, kind.bits))
        self._kind = kind

    def embed(self, pictures: Sequence[Picture]) -> list[Vector]:
        """Vectors [bits] of 0.0 and 1.0."""
        return [_bits(self._kind.function(picture.rgb)) for picture in pictures]


class CropResistantEmbedder(Embedder):
    """Bits of one hash per segment, one after another."""

    def __init__(self) -> None:
        super().__init__(_embedder_spec(CROP_RESISTANT, None))

    def embed(self, pictures: Sequence[Picture]) -> list[Vector]:
        """Vectors [segments * 64] of 0.0 and 1.0; every picture has at least one segment."""
        hashes = (crop_resistant.segment_hashes(picture.rgb) for picture in pictures)
        return [np.concatenate([_bits(segment) for segment in segments]) for segments in hashes]


def build() -> list[EmbeddingMetric]:
    """All hash metrics."""
    metrics = [_metric(HashEmbedder(kind), kind.name, kind.bits, _compare_bits) for kind in KINDS]
    name = "Crop-resistant hash: a difference hash of every bright or dark segment"
    return [*metrics, _metric(CropResistantEmbedder(), name, None, _compare_segments)]


def _metric(
    embedder: Embedder, name: str, bits: int | None, compare: Callable[[Vector, Vector], Value]
) -> EmbeddingMetric:
    spec = MetricSpec(
        id=embedder.spec.id,
        revision=REVISION,
        description=f"{name}; Hamming distance in bits." if bits else f"{name}; segments without a match.",
        input=MetricInput.IMAGE_IMAGE,
        higher_is_better=False,
        minimum=0.0,
        maximum=None if bits is None else float(bits),
        preprocessing=PREPROCESSING,
        license=LICENSE,
        embedding_model=embedder.spec.id,
    )
    return EmbeddingMetric(spec, embedder, compare)


def _embedder_spec(id_: str, dimensions: int | None) -> EmbedderSpec:
    return EmbedderSpec(id_, REVISION, PREPROCESSING, dimensions, "imagehash", True, LICENSE)


def _bits(hash_: imagehash.ImageHash) -> Vector:
    return np.asarray(hash_.hash, dtype=np.float32).reshape(-1)


def _compare_bits(target: Vector, candidate: Vector) -> Value:
    distance = int(np.count_nonzero(target != candidate))
    return Value(float(distance), 1.0 - distance / target.size)


def _compare_segments(target: Vector, candidate: Vector) -> Value:
    own, other = _segments(target), _segments(candidate)
    difference = float(own - other)
    return Value(difference, 1.0 - difference / len(own.segment_hashes))


def _segments(vector: Vector) -> imagehash.ImageMultiHash:
    rows = vector.reshape(-1, SEGMENT_BITS).astype(bool)
    return imagehash.ImageMultiHash([imagehash.ImageHash(row) for row in rows])
