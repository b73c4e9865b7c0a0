"""hps-v2 and hps-v2.1: Human Preference Score, a CLIP ViT-H/14 tuned on people's choices between generated pictures.

Raw value: cosine of the embeddings of text and picture, -1..1, as `hpsv2.score` returns it; the authors' benchmark
tables print 100 times this. Scores of the two versions, and of different texts, are not comparable. The model was
trained with the chance sigmoid(scale (cos1 - cos2)) to be preferred, scale being the checkpoint's logit scale;
normalized is that chance against a picture that scores what Stable Diffusion 1.4 reaches on the authors' benchmark.

Pictures, as the hpsv2 package prepares them (light_augmentation, transform.py): the longer side to 224, resized as a
tensor by the antialiased bicubic filter (the default since torchvision 0.17), padded with black to a square. A text
over 77 tokens is cut, and the answer says so. Layout: `state_dict` of HPS_v2_compressed.pt and HPS_v2.1_compressed.pt
in xswu/HPSv2, in open_clip's names. Source: Wu et al. 2023, "Human Preference Score v2"; hpsv2 1.2.0 (img_score.py,
src/open_clip), README for the benchmark, Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics import checkpoints
from services.scorer.metrics.base import EmbedderSpec, EmbeddingMetric, MetricInput, MetricSpec, Value, Vector
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.metrics.clip import ClipEmbedder
from services.scorer.metrics.cosine import cosine
from services.scorer.metrics.preference import win_probability

SOURCE = "xswu/HPSv2"
ARCHITECTURE = "ViT-H-14"
PREPROCESSING = "hps-longest-pad-1"


@dataclass(frozen=True)
class Version:
    """A published checkpoint."""

    file: str
    reference: float
    """Mean score of Stable Diffusion 1.4 in the authors' table of this version, over 100."""


VERSIONS = {
    "hps-v2": Version("HPS_v2_compressed.pt", 0.2695),
    "hps-v2.1": Version("HPS_v2.1_compressed.pt", 0.2535),
}


def build(
    settings: Settings, model: ModelSource, version: Version, architecture: str = ARCHITECTURE
) -> EmbeddingMetric:
    """Loads the metric: the version's checkpoint by path, in a folder or from the hub.

    Raises:
        UnavailableError: the checkpoint is not there or does not fit; says which names.
    """
    device = compute.device_of(settings)
    dtype = compute.dtype_on(device, model.dtype)
    path = checkpoints.find(model, version.file)
    config = open_clip.get_model_config(architecture)
    network: Any = open_clip.CLIP(**config)
    checkpoints.load_strictly(model, network, checkpoints.read(model, path))
    scale = float(network.logit_scale.detach().exp())
    embedder = ClipEmbedder(
        EmbedderSpec(
            id=model.id,
            revision=checkpoints.revision(network, dtype),
            preprocessing=PREPROCESSING,
            dimensions=int(config["embed_dim"]),
            source=model.name,
            embedded=False,
            license=model.license,
        ),
        network.to(device, dtype).eval().requires_grad_(False),
        Preparation(network.visual.image_size[0]),
        open_clip.get_tokenizer(architecture),
        int(network.context_length),
        dtype,
    )
    spec = MetricSpec(
        id=model.id,
        revision=embedder.spec.revision,
        description="Human Preference Score: cosine of text and picture by a CLIP tuned on people's choices.",
        input=MetricInput.TEXT_IMAGE,
        higher_is_better=True,
        minimum=-1.0,
        maximum=1.0,
        preprocessing=PREPROCESSING,
        license=model.license,
        embedding_model=embedder.spec.id,
        token_limit=embedder.token_limit,
        embedded=False,
    )
    return EmbeddingMetric(spec, embedder, compare(scale, version.reference))


def compare(scale: float, reference: float) -> Callable[[Vector, Vector], Value]:
    """Cosine, with the chance to be preferred to a picture that scores `reference`."""

    def value(text: Vector, picture: Vector) -> Value:
        raw = cosine(text, picture).raw
        return Value(raw, win_probability(scale * (raw - reference)))

    return value


@dataclass(frozen=True)
class Preparation:
    """The official package's transform; equal ones are told by their text, so that both versions share its work."""

    side_pixels: int

    def __call__(self, rgb: Image.Image) -> torch.Tensor:
        """Pixels [3, side, side] of a picture."""
        side = self.side_pixels
        pixels = transforms.to_tensor(rgb)
        scale = side / max(rgb.size)
        height, width = (round(length * scale) for length in (rgb.height, rgb.width))
        if scale != 1.0:
            pixels = transforms.resize(pixels, [height, width], InterpolationMode.BICUBIC, antialias=True)
        # The package leaves a picture whose longer side is 224 already without its padding, and then fails on it.
        left, top = (side - width) // 2, (side - height) // 2
        pixels = transforms.pad(pixels, [left, top, side - width - left, side - height - top])
        normalized: torch.Tensor = transforms.normalize(
            pixels, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
        )
        return normalized
