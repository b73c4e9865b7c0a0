"""What an operator can see of the denoising."""

from __future__ import annotations

from services.common.telemetry import counter, gauge, histogram

PICTURES = counter("likeness_generator_pictures", "Items ended, by model and outcome.", ("model", "outcome"))
STEPS = counter("likeness_generator_steps", "Denoising steps done, counted per picture.", ("model",))
STEP_SECONDS = histogram("likeness_generator_step_seconds", "Time of one denoising step of a batch.", ("model",))
BATCH_ITEMS = histogram(
    "likeness_generator_batch_items", "Pictures per denoiser call.", ("model",), buckets=(1, 2, 4, 8, 16, 32, 64)
)
QUEUE_SECONDS = histogram(
    "likeness_generator_queue_seconds", "Time from asking for a picture until its denoising begins.", ("model",)
)
DECODE_SECONDS = histogram("likeness_generator_decode_seconds", "Time of decoding a batch of latents.", ("model",))
WAITING_ITEMS = gauge("likeness_generator_waiting_items", "Pictures that wait for the denoiser.")
RUNNING_ITEMS = gauge("likeness_generator_running_items", "Pictures that are being denoised.")
MODEL_BYTES = gauge("likeness_generator_model_bytes", "Bytes of a loaded model's parameters, else 0.", ("model",))
GPU_TOTAL_BYTES = gauge("likeness_generator_gpu_total_bytes", "Memory of a GPU.", ("gpu",), mode="livemax")
GPU_FREE_BYTES = gauge(
    "likeness_generator_gpu_free_bytes",
    "Memory of a GPU that is free, at its latest step.",
    ("gpu",),
    mode="livemin",
)
GPU_RESERVED_BYTES = gauge(
    "likeness_generator_gpu_reserved_bytes", "Memory of a GPU that generators hold, at their latest step.", ("gpu",)
)
