"""Settings that cannot be read, that mean nothing, or that contradict each other."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from likeness.doctor.findings import Finding, ok, problem, warning
from services.common.errors import LikenessError
from services.common.profile import load_profile
from services.common.settings import Settings
from services.gateway.listening import credentials, is_loopback

_PREFIX = "LIKENESS_"
_OF_OTHERS = (
    *("LIKENESS_ADDRESS", "LIKENESS_API_KEY"),
    *("LIKENESS_TLS", "LIKENESS_CA_FILE", "LIKENESS_CLIENT_CERTIFICATE", "LIKENESS_CLIENT_KEY"),
    "LIKENESS_METRICS_PORT",
)
"""Read by clients and by the services' metrics, not by `Settings`."""
_SCHEMES = {
    "database_url": ("postgresql+asyncpg",),
    "redis_url": ("redis", "rediss", "unix"),
    "object_store_url": ("file", "s3"),
}


def read_settings() -> Settings | list[Finding]:
    """The settings, or what is wrong with each that cannot be read."""
    try:
        return Settings()
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        return [_unreadable(".".join(map(str, one["loc"])), one["msg"]) for one in found]


def unknown_names(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that look like settings and are none, such as misspelled ones: nobody reads them."""
    known = [_name(field) for field in Settings.model_fields] + list(_OF_OTHERS)
    for name in sorted(environment):
        if name.startswith(_PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            advice = f"Did you mean {close[0]}?" if close else "Remove it; docs/reference.md lists the settings."
            yield warning("settings", f"{name} is set, but no setting has this name", advice)


def contradictions(settings: Settings) -> Iterator[Finding]:
    """Settings that do not go together; one finding that all is well if there are none."""
    found = [*agreement(settings), *_safety(settings), *_folders(settings)]
    yield from found or [ok("settings", "no two contradict each other")]


def agreement(settings: Settings) -> Iterator[Finding]:
    """Settings that do not go together on any machine."""
    yield from (*_ports(settings), *_urls(settings), *_language_model(settings))


def profile(settings: Settings) -> Iterator[Finding]:
    """Whether the profile can be read."""
    try:
        loaded = load_profile(settings.profile)
    except LikenessError as error:
        advice = "Set LIKENESS_PROFILE to the name of a file in profiles/, or to the path of one."
        yield problem("profile", error.message, advice)
        return
    yield ok("profile", f"{loaded.name} can be read")
    if loaded.defaults.strategy == "llm" and settings.llm_base_url is None:
        advice = "Set LIKENESS_LLM_BASE_URL, or choose another strategy in the profile's defaults."
        message = f"{loaded.name} steers loops by the llm strategy, for which no language model is set"
        yield problem("profile", message, advice)


def _ports(settings: Settings) -> Iterator[Finding]:
    uses: dict[int, str] = {}
    for field in ("gateway_port", "http_port", "serve_grpc_port", "serve_http_port"):
        port = getattr(settings, field)
        if port and port in uses:
            message = f"{_name(uses[port])} and {_name(field)} are both {port}: the second to start cannot listen"
            yield problem("settings", message, "Give each a port of its own.")
        uses[port] = field


def _urls(settings: Settings) -> Iterator[Finding]:
    for field, schemes in _SCHEMES.items():
        url = getattr(settings, field)
        if url is not None and url.partition(":")[0] not in schemes:
            wanted = " or ".join(f"{scheme}:" for scheme in schemes)
            # Not the URL itself: it may hold a password.
            yield problem("settings", f"{_name(field)} does not begin with {wanted}", "Mend the URL.")


def _safety(settings: Settings) -> Iterator[Finding]:
    try:
        credentials(settings)
    except LikenessError as error:
        yield problem("settings", error.message, "The gateway does not start until this is mended.")
    if settings.require_keys is False and not is_loopback(settings.gateway_host):
        message = f"LIKENESS_REQUIRE_KEYS is off, and others reach {settings.gateway_host}: anybody may do anything"
        yield warning("settings", message, "Remove the setting, and create keys with `likeness keys`.")


def _language_model(settings: Settings) -> Iterator[Finding]:
    if settings.llm_base_url is not None and not settings.llm_model:
        message = "LIKENESS_LLM_BASE_URL is set and LIKENESS_LLM_MODEL is not: the llm strategy knows no model to ask"
        yield problem("settings", message, "Set LIKENESS_LLM_MODEL to a model of that endpoint.")
    if settings.llm_base_url is None and (settings.llm_model or settings.llm_api_key):
        message = "LIKENESS_LLM_MODEL or LIKENESS_LLM_API_KEY is set without LIKENESS_LLM_BASE_URL: neither is used"
        yield warning("settings", message, "Set LIKENESS_LLM_BASE_URL, or remove the other two.")


def _folders(settings: Settings) -> Iterator[Finding]:
    for field in ("models_dir", "lpips_weights_dir"):
        folder = getattr(settings, field)
        if folder is not None and not folder.is_dir():
            advice = "Mend the path, or remove the setting to use the default."
            yield problem("settings", f"{_name(field)} names a folder that does not exist: {folder}", advice)


def _unreadable(field: str, reason: str) -> Finding:
    message = f"{_name(field)}: {reason}" if field else reason.removeprefix("Value error, ")
    return problem("settings", message, "Nothing starts until it is mended.")


def _name(field: str) -> str:
    return _PREFIX + field.upper()
