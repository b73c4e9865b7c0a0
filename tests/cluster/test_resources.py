"""What applications need of Ray, from the deployments as they are built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("ray.serve")

from services.cluster.resources import Need, need_of, too_few_gpus
from services.common.profile import load_profile
from services.generator import deployment as generator
from services.refiner import deployment as refiner
from services.scorer import deployment as scorer


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """Where the default model's folder is; it is looked for when the application is put together."""
    (tmp_path / load_profile("embedded").generators[0].source).mkdir(parents=True)
    return tmp_path


def test_one_replica_each_unless_settings_say_otherwise(models_dir: Path) -> None:
    settings = {"models_dir": models_dir, "device": "cpu"}
    assert need_of(generator.app(settings)) == Need(1, 1, generator.REPLICA_CPUS, 0)
    assert need_of(scorer.app(settings)) == Need(1, 1, scorer.REPLICA_CPUS, 0)
    assert need_of(refiner.app(settings))[:2] == (1, 1)


def test_the_replicas_that_settings_ask_for(models_dir: Path) -> None:
    fixed = {"models_dir": models_dir, "device": "cuda", "generator_replicas": 3}
    assert need_of(generator.app(fixed)) == Need(3, 3, generator.REPLICA_CPUS, generator.REPLICA_GPUS)
    for name, module in {"scorer": scorer, "refiner": refiner}.items():
        autoscaled = {f"{name}_min_replicas": 2, f"{name}_max_replicas": 5, f"{name}_target_ongoing_requests": 1.5}
        application = module.app(autoscaled)
        assert need_of(application)[:2] == (2, 5)
        config = application._bound_deployment._deployment_config.autoscaling_config
        assert config.get_target_ongoing_requests() == 1.5


@pytest.mark.parametrize(
    ("replicas", "gpus", "says"),
    [
        (1, 1, ""),
        (4, 2, ""),
        (
            3,
            1,
            "need 1.5 GPUs; there are 1. Set LIKENESS_GENERATOR_REPLICAS or .* to at most 2, or LIKENESS_DEVICE=cpu",
        ),
        (1, 0, "need 0.5 GPUs; there are 0. Set LIKENESS_DEVICE=cpu"),
    ],
)
def test_replicas_without_a_gpu_are_told_before_they_wait(replicas: int, gpus: float, says: str) -> None:
    found = too_few_gpus("generator", Need(replicas, 8, 0.3, 0.5), gpus)
    assert re.search(says + "$", found) if says else not found
