"""Tables. A change here needs a migration in migrations/versions; a test compares the two."""

from services.gateway.store.tables._access import api_keys, audit_log, requests, tenant_limits, tenant_usage
from services.gateway.store.tables._evaluations import evaluation_items, evaluations, manifest_parts
from services.gateway.store.tables._images import image_owners, images
from services.gateway.store.tables._metadata import JSONB, metadata
from services.gateway.store.tables._profiles import profile_rankings, profile_versions, profiles
from services.gateway.store.tables._races import race_entries, races
from services.gateway.store.tables._sessions import candidates, events, rankings, rounds, session_snapshots, sessions

__all__ = [
    "JSONB",
    "api_keys",
    "audit_log",
    "candidates",
    "evaluation_items",
    "evaluations",
    "events",
    "image_owners",
    "images",
    "manifest_parts",
    "metadata",
    "profile_rankings",
    "profile_versions",
    "profiles",
    "race_entries",
    "races",
    "rankings",
    "requests",
    "rounds",
    "session_snapshots",
    "sessions",
    "tenant_limits",
    "tenant_usage",
]
