"""Which scope each method needs: admin for one that nobody thought of. A test compares the table with the protos."""

from __future__ import annotations

from collections.abc import Mapping

from services.gateway.access.caller import Scope

_ORDER = (Scope.READ, Scope.RUN, Scope.ADMIN)

OPEN_SERVICES = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "grpc.reflection.v1.ServerReflection",
)
"""Services that need no key: probes have none, and reflection tells what is public anyway."""

_READ, _RUN, _ADMIN = _ORDER

SCOPES: Mapping[str, Mapping[str, Scope]] = {
    "likeness.gateway.v1.SessionService": {
        "CreateSession": _RUN,
        "GetSession": _READ,
        "ListSessions": _READ,
        "DeleteSession": _RUN,
        "SubmitPrompt": _RUN,
        "StartLoop": _RUN,
        "CancelLoop": _RUN,
        "PauseLoop": _RUN,
        "ResumeLoop": _RUN,
        "SubmitFeedback": _RUN,
        "RankImages": _RUN,
        "WatchSession": _READ,
    },
    "likeness.gateway.v1.ProfileService": {
        "CreateProfile": _RUN,
        "FitProfile": _RUN,
        "GetProfile": _READ,
        "ListProfiles": _READ,
        "ListProfileVersions": _READ,
        "ActivateProfileVersion": _RUN,
        "DeleteProfile": _RUN,
    },
    "likeness.gateway.v1.ImageService": {
        "UploadImage": _RUN,
        "GetImage": _READ,
        # It stores nothing, but computes.
        "ScoreImages": _RUN,
        "GenerateImages": _RUN,
    },
    "likeness.gateway.v1.CatalogService": {
        "ListModels": _READ,
        "ListMetrics": _READ,
        "ListStrategies": _READ,
        "GetStatus": _READ,
    },
    "likeness.gateway.v1.EvaluationService": {
        "StreamEvaluations": _RUN,
        "UploadManifestPart": _RUN,
        "CreateEvaluation": _RUN,
        "GetEvaluation": _READ,
        "ListEvaluations": _READ,
        "WatchEvaluation": _READ,
        "CancelEvaluation": _RUN,
        "GetEvaluationReport": _READ,
        "DeleteEvaluation": _RUN,
    },
    "likeness.gateway.v1.RaceService": {
        "CreateRace": _RUN,
        "GetRace": _READ,
        "ListRaces": _READ,
        "WatchRace": _READ,
        "CancelRace": _RUN,
        "DeleteRace": _RUN,
    },
    "likeness.gateway.v1.AdminService": {
        "CreateKey": _ADMIN,
        "ListKeys": _ADMIN,
        "RotateKey": _ADMIN,
        "RevokeKey": _ADMIN,
        "GetTenantLimits": _ADMIN,
        "SetTenantLimits": _ADMIN,
        "ListAuditEntries": _ADMIN,
    },
}
"""By service and method."""

_BY_PATH = {f"/{service}/{method}": scope for service, methods in SCOPES.items() for method, scope in methods.items()}


def is_open(path: str) -> bool:
    """Whether "/package.Service/Method" needs no key."""
    return path.split("/")[1] in OPEN_SERVICES


def scope_needed(path: str) -> Scope:
    """Scope that "/package.Service/Method" needs; admin for one that nobody thought of."""
    return _BY_PATH.get(path, Scope.ADMIN)


def covers(held: Scope, needed: Scope) -> bool:
    """Whether a key of one scope may do what needs another."""
    return _ORDER.index(held) >= _ORDER.index(needed)
