"""Every number that the simulation rests on and that is not in a result, and where it is from."""

from __future__ import annotations

from capacity.models import Model, Number, affine

STABILITY = "Stability AI, model card of SDXL for TensorRT: H100, 1024 x 1024, 30 steps, batch 1, baseline"
XDIT = "xDiT, docs/performance/flux.md: 1 H100, 1024 x 1024, 28 steps, batch 1, torch.compile"
QWEN = "sglang #22183: Qwen-Image at 1024 x 1024 on H200, .243 s a step for 1 picture, .711 s for 3"

SDXL_SECONDS = Number("SDXL, a picture alone, H100", 2.50, "s", "published", STABILITY)
FLUX_SECONDS = Number("FLUX.1-dev, a picture alone, H100", 4.30, "s", "published", XDIT)
BATCH_SLOPE = Number(
    "time of a call for each further picture, as a share of the first",
    0.963,
    "",
    "published",
    QWEN + "; for both models",
)
END_SECONDS = Number("text encoders and decoder, a picture", 0.15, "s", "assumed", "within the time of a picture alone")
MAX_BATCH = Number(
    "pictures that a call takes at most", 4, "", "assumed", "batches bring next to nothing at 1024 x 1024"
)
H200_SPEED = Number(
    "H200 by H100, speed", 1.0, "", "assumed", "the same arithmetic; at 1024 x 1024 it is that which limits, not memory"
)
H100_PRICE = Number("an hour of an H100", 2.5, "USD", "assumed", "put in your own: --h100-price")
H200_PRICE = Number("an hour of an H200", 3.5, "USD", "assumed", "put in your own: --h200-price")
START_SECONDS = Number(
    "a replica, from the decision to the first call", 150, "s", "assumed", "node 90 s, image and weights 60 s"
)
WARM_SECONDS = Number(
    "the same on a node that waits, weights on its disk", 45, "s", "assumed", "reading and warming up"
)
CALL_PICTURES = Number("pictures of a call", 4, "", "assumed", "a round of a loop with four candidates is one call")
CALLS_PER_USER = Number(
    "calls of an active user", 1.0, "a minute", "assumed", "four pictures, a minute to look at them and to think"
)
DEADLINE_SECONDS = Number("longest wait", 120, "s", "measured", "LIKENESS_REQUEST_TIMEOUT_SECONDS as it ships")
TARGET_TIMES = Number(
    "aim: p95 of a call, by a call on a replica that is free", 2.0, "times", "assumed", "put in what users bear"
)
PICTURE_BYTES = Number(
    "a PNG of 1024 x 1024", 1.75e6, "bytes", "published", "1.5 to 2 MB as a rule; noisy pictures are larger"
)
EMBEDDINGS = Number("embeddings of a picture that are kept", 2, "", "assumed", "CLIP and DINOv2 as selection metrics")
NUMBERS = (
    SDXL_SECONDS,
    FLUX_SECONDS,
    BATCH_SLOPE,
    END_SECONDS,
    MAX_BATCH,
    H200_SPEED,
    H100_PRICE,
    H200_PRICE,
    START_SECONDS,
    WARM_SECONDS,
    CALL_PICTURES,
    CALLS_PER_USER,
    DEADLINE_SECONDS,
    TARGET_TIMES,
    PICTURE_BYTES,
    EMBEDDINGS,
)


def sdxl(speed: float = 1.0) -> Model:
    """SDXL at 1024 x 1024, 30 steps, on one accelerator that is so many times as fast as an H100."""
    return _model("SDXL", 30, SDXL_SECONDS.value / speed)


def flux(speed: float = 1.0) -> Model:
    """FLUX.1-dev at 1024 x 1024, 28 steps, on one accelerator that is so many times as fast as an H100."""
    return _model("FLUX.1-dev", 28, FLUX_SECONDS.value / speed)


def _model(name: str, steps: int, alone_seconds: float) -> Model:
    step = (alone_seconds - END_SECONDS.value) / steps
    curve = affine(step, BATCH_SLOPE.value, end_seconds=END_SECONDS.value)
    return Model(name, steps, int(MAX_BATCH.value), curve)
