"""Queue, batches, steps and memory of the denoisers."""

from __future__ import annotations

from deploy.monitoring.boards.queries import mean, quantile, rate, total
from deploy.monitoring.panels import Dashboard, Panel, Query, Row

GENERATOR = Dashboard(
    "likeness-generator",
    "Likeness / Generator",
    "Queue, batches, steps and memory of the denoisers: are there enough GPUs, and are they used well.",
    [
        Row(
            "Queue",
            [
                Panel(
                    "Pictures",
                    [
                        total("likeness_generator_waiting_items", legend="wait"),
                        total("likeness_generator_running_items", legend="are denoised"),
                    ],
                ),
                Panel(
                    "Wait before the first step",
                    [
                        quantile(0.5, "likeness_generator_queue_seconds", "model"),
                        quantile(0.95, "likeness_generator_queue_seconds", "model"),
                    ],
                    "s",
                    "Grows when more is asked for than the replicas make.",
                ),
                Panel(
                    "Pictures that ended",
                    [Query(rate("likeness_generator_pictures_total", "model, outcome"), "{{model}} {{outcome}}")],
                    "ops",
                ),
            ],
        ),
        Row(
            "Batches and steps",
            [
                Panel(
                    "Pictures per denoiser call",
                    [Query(rate("likeness_generator_batch_items_bucket", "le"))],
                    note="Batches of one while many wait: pictures of many sizes, or deterministic ones.",
                    kind="heatmap",
                ),
                Panel("Mean batch", [mean("likeness_generator_batch_items", "model")]),
                Panel(
                    "Steps a second, counted per picture",
                    [Query(rate("likeness_generator_steps_total", "model"), "{{model}}")],
                    "ops",
                ),
                Panel("One step of a batch, 95 %", [quantile(0.95, "likeness_generator_step_seconds", "model")], "s"),
                Panel("Decoding a batch, 95 %", [quantile(0.95, "likeness_generator_decode_seconds", "model")], "s"),
                Panel(
                    "Time that denoisers are busy",
                    [
                        Query(
                            "sum by (instance) (rate(likeness_generator_step_seconds_sum{$ns}[$__rate_interval]))"
                            " + sum by (instance) (rate(likeness_generator_decode_seconds_sum{$ns}[$__rate_interval]))",
                            "{{instance}}",
                        )
                    ],
                    "percentunit",
                    "Of one second and replica; a pod with two replicas goes up to 200 %.",
                ),
            ],
        ),
        Row(
            "GPU",
            [
                Panel(
                    "Memory that is free",
                    [
                        Query(
                            "min by (gpu) (likeness_generator_gpu_free_bytes{$ns})"
                            " / max by (gpu) (likeness_generator_gpu_total_bytes{$ns})",
                            "{{gpu}}",
                        )
                    ],
                    "percentunit",
                    "At the latest step of a generator on that GPU.",
                    most=1,
                ),
                Panel(
                    "Memory that generators hold",
                    [total("likeness_generator_gpu_reserved_bytes", "gpu")],
                    "bytes",
                ),
                Panel("Parameters of loaded models", [total("likeness_generator_model_bytes", "model")], "bytes"),
                Panel(
                    "Utilization",
                    [Query("avg by (UUID) (DCGM_FI_DEV_GPU_UTIL) / 100", "{{UUID}}")],
                    "percentunit",
                    "From NVIDIA's dcgm-exporter, if the cluster has it.",
                    most=1,
                ),
                Panel(
                    "Tensor cores",
                    [Query("avg by (UUID) (DCGM_FI_PROF_PIPE_TENSOR_ACTIVE)", "{{UUID}}")],
                    "percentunit",
                    "From NVIDIA's dcgm-exporter, if the cluster has it.",
                    most=1,
                ),
                Panel(
                    "Errors of the driver (XID)",
                    [Query("max by (UUID) (DCGM_FI_DEV_XID_ERRORS)", "{{UUID}}")],
                    note="From NVIDIA's dcgm-exporter, if the cluster has it.",
                ),
            ],
        ),
    ],
)
