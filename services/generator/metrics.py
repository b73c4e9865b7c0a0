"""What an operator can see of the denoising."""

from __future__ import annotations

from services.common.telemetry import counter, gauge, histogram

PICTURES = counter("likeness_generator_pictures", "Items ended, by model and outcome.", ("model", "outcome"))
STEPS = counter("likeness_generator_steps", "Denoising steps done, counted per picture.", ("model",))
STEP_SECONDS = histogram("likeness_generator_step_seconds", "Time of one denoising step of a batch.", ("model",))
BATCH_ITEMS = histogram(
    "likeness_generator_batch_items", "Pictures per denoiser call.", ("model",), buckets=(1, 2, 4, 8, 16, 32, 64)
)
WAITING_ITEMS = gauge("likeness_generator_waiting_items", "Pictures that wait for the denoiser.")
MODEL_BYTES = gauge("likeness_generator_model_bytes", "Bytes of a loaded model's parameters, else 0.", ("model",))
