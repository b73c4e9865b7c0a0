"""The models of a profile on a volume that replicas share: `python -m services.cluster.models fetch` and `... wait`.

`fetch` lets the very loaders of the backends read every model once, on the CPU, with the hub's cache (HF_HOME) on the
volume: so everything is there that they will ask for, tokenizers and all, and what cannot be had is known now. It ends
with a marker for the profile. `wait` returns when the marker is there: replicas that start without their models would
fail again and again.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from services.common.errors import LikenessError
from services.common.profile import Profile, load_profile
from services.common.settings import Settings
from services.common.telemetry import configure_logging, get_logger

CACHE_VARIABLE = "HF_HOME"
POLL_SECONDS = 5.0

log = get_logger(__name__)


def marker(cache: Path, profile: Profile) -> Path:
    """File that says that everything of a profile is in a cache; another one after any change of the profile."""
    digest = hashlib.sha256(profile.model_dump_json().encode()).hexdigest()[:16]
    return cache / f".fetched-{profile.name}-{digest}"


def fetch(cache: Path, settings: Settings) -> list[str]:
    """Fetches what the cache lacks; returns what cannot be had, one sentence each, and leaves the marker if all can."""
    profile = load_profile(settings.profile)
    on_cpu = settings.model_copy(update={"device": "cpu"})
    missing: list[str] = []
    for name, load in (("generator", _generator), ("scorer", _scorer), ("refiner", _refiner)):
        try:
            missing += load(on_cpu, profile)
        except LikenessError as error:
            missing.append(error.message)
        # The models of one backend at a time.
        gc.collect()
        log.info("models_read", backend=name, missing=len(missing))
    if not missing:
        cache.mkdir(parents=True, exist_ok=True)
        marker(cache, profile).touch()
    return missing


def wait(cache: Path, profile: Profile, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Returns when the marker of the profile is there."""
    place = marker(cache, profile)
    if not place.exists():
        log.info("models_awaited", profile=profile.name, marker=place.name)
    while not place.exists():
        sleep(POLL_SECONDS)


def _generator(settings: Settings, profile: Profile) -> Iterable[str]:
    from services.generator.adapters.files import find
    from services.generator.pipelines import local_folder

    for model in profile.generators:
        local_folder(model, settings)
        for adapter in model.adapters:
            find(adapter)
    return ()


def _scorer(settings: Settings, profile: Profile) -> Iterable[str]:
    from services.scorer import registry

    absent = registry.build(settings, profile).absent
    # LPIPS and DISTS stand on files that no hub has (docs/metrics.md): they are left out where those are.
    wanted = {embedder.id for embedder in profile.embedders} | {metric.id for metric in profile.published}
    return [reason for id_, reason in absent.items() if id_ in wanted]


def _refiner(settings: Settings, profile: Profile) -> Iterable[str]:
    from services.refiner.strategies.registry import build_registry

    build_registry(settings, profile)
    return ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.cluster.models", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("fetch", "wait"))
    what: str = parser.parse_args(arguments).what
    settings = Settings()
    configure_logging("models", settings.log_level)
    cache = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "huggingface")
    try:
        if what == "wait":
            wait(cache, load_profile(settings.profile))
            return 0
        missing = fetch(cache, settings)
    except LikenessError as error:
        missing = [error.message]
    for reason in missing:
        log.error("model_missing", problem=reason)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
