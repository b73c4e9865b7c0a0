"""The first admin key, for an operator who has the database: `python -m services.gateway.access.bootstrap`.

Prints one line of JSON: the key and its text, or the error. `likeness keys create --bootstrap` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from services.common.errors import InvalidInputError, LikenessError
from services.common.settings import Settings
from services.gateway.access.access import default_limits
from services.gateway.access.caller import DEFAULT_TENANT, Caller, Scope
from services.gateway.access.service import AccessService
from services.gateway.store.audit import AuditRepository
from services.gateway.store.database import Database
from services.gateway.store.keys import KeyRepository
from services.gateway.store.migrate import migrate
from services.gateway.store.tenants import TenantRepository

PEER = "database"
"""Address in the audit log of what was done without a gateway."""


async def create_admin_key(settings: Settings, tenant_id: str, display_name: str) -> dict[str, str]:
    """Creates a key of scope admin in the database of the settings, migrating it if need be.

    Raises:
        InvalidInputError: LIKENESS_DATABASE_URL is not set, or tenant or name are not allowed.
        UnavailableError: the database does not answer.
    """
    if settings.database_url is None:
        raise InvalidInputError("LIKENESS_DATABASE_URL", "is not set", allowed="the URL of the gateways' database")
    database = Database(settings.database_url)
    try:
        await database.check()
        await migrate(settings.database_url)
        tenants = TenantRepository(database, default_limits(settings))
        service = AccessService(KeyRepository(database), tenants, AuditRepository(database))
        key, text = await service.create_key(Caller(tenant_id, peer=PEER), tenant_id, Scope.ADMIN, display_name)
    finally:
        await database.close()
    return {"id": key.id, "tenant_id": key.tenant_id, "scope": key.scope.value, "key_text": text}


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenant", default=DEFAULT_TENANT)
    parser.add_argument("--name", default="")
    args = parser.parse_args()
    try:
        created = asyncio.run(create_admin_key(Settings(), args.tenant, args.name))
    except LikenessError as error:
        print(json.dumps({"reason": error.reason.value, "message": error.message, "field": error.field}))
        return 1
    print(json.dumps(created))
    return 0


if __name__ == "__main__":
    sys.exit(main())
