"""The generator's deployment with the sleeping denoiser, in as many replicas as the settings say."""

from __future__ import annotations

from typing import Any

from ray import serve

from services.common.profile import Profile, load_profile
from services.common.settings import Settings
from services.generator.deployment import GeneratorDeployment, build

AUTOSCALING_TIMES = {"look_back_period_s": 15, "upscale_delay_s": 3, "downscale_delay_s": 20}
"""Shorter than Serve's own (30, 30 and 600 s), to see the number go up and down within minutes."""

_Deployed: Any = GeneratorDeployment.func_or_class


class SleepingGenerator(_Deployed):  # type: ignore[misc]
    """One replica, as it is deployed but for the model family."""

    def __init__(self, settings: Settings, profile: Profile) -> None:
        # torch is loaded here, in the replica, and not where the application is put together.
        from benchmarks.sleep_model import SleepingDenoiser
        from services.generator import pipelines

        pipelines.family_of = lambda _: SleepingDenoiser
        super().__init__(settings, profile)


def app(args: dict[str, Any]) -> serve.Application:
    """Builder for `RayCluster`."""
    settings = Settings(**args)
    profile = load_profile(settings.profile)
    options = settings.replica_options("generator")
    if "autoscaling_config" in options:
        options = {"autoscaling_config": options["autoscaling_config"] | AUTOSCALING_TIMES}
    deployment: Any = build(settings, profile)._bound_deployment
    application: serve.Application = deployment.options(SleepingGenerator, **options).bind(settings, profile)
    return application
