"""The adapters that the profile names for a model."""

from __future__ import annotations

from services.common.errors import UnavailableError
from services.common.profile import Adapter, GeneratorModel
from services.common.telemetry import get_logger
from services.generator.adapters.files import find, unavailable
from services.generator.adapters.switch import Adapters
from services.generator.domain import AdapterCard

log = get_logger(__name__)


def load_adapters(model: GeneratorModel, adapters: Adapters) -> tuple[AdapterCard, ...]:
    """Loads every adapter of a model, as many at once as the profile says; each is tried.

    One that cannot be loaded is absent: its card says why, the rest is usable.
    """
    adapters.max_loaded = model.max_loaded_adapters
    return tuple(_load(adapter, model.id, adapters) for adapter in model.adapters)


def _load(adapter: Adapter, model_id: str, adapters: Adapters) -> AdapterCard:
    try:
        revision = adapters.load(adapter.id, find(adapter))
    except UnavailableError as error:
        problem = error
    except Exception:  # whatever diffusers or PEFT may raise; model and other adapters must stay usable
        log.exception("adapter_not_loaded", model=model_id, adapter=adapter.id)
        problem = unavailable(adapter.id, "it could not be loaded; the server's log says why")
    else:
        adapters.unload_unused()
        log.info("adapter_loaded", model=model_id, adapter=adapter.id, revision=revision)
        return AdapterCard(adapter.id, revision, adapter.license)
    log.warning("adapter_absent", model=model_id, adapter=adapter.id, reason=problem.message)
    return AdapterCard(adapter.id, revision="", license=adapter.license, absent_reason=problem.message)
