"""Everything of access on one database, put together: the gate, the limits, administration."""

from __future__ import annotations

from services.common.settings import Settings
from services.common.telemetry import get_logger
from services.gateway.access.gate import Gate
from services.gateway.access.limits import TenantLimits
from services.gateway.access.service import AccessService
from services.gateway.access.throttle import Throttle
from services.gateway.store.audit import AuditRepository
from services.gateway.store.database import Database
from services.gateway.store.keys import KeyRepository
from services.gateway.store.tenants import TenantRepository

log = get_logger(__name__)


class Access:
    """Who may do what on one gateway. `start` it inside the event loop, `close` it at the end."""

    def __init__(self, database: Database, settings: Settings, *, require_keys: bool) -> None:
        self.tenants = TenantRepository(database, default_limits(settings))
        self._keys = KeyRepository(database)
        self._require_keys = require_keys
        self._throttle = Throttle(settings.redis_url)
        self.gate = Gate(self._keys, self.tenants, self._throttle, require_keys=require_keys)
        self.service = AccessService(self._keys, self.tenants, AuditRepository(database))

    async def start(self) -> None:
        """Begins to keep open calls counted, and to end those whose key has ended."""
        self._throttle.start()
        self.gate.start()
        if self._require_keys and not await self._keys.any_admin():
            log.warning("no_admin_key", advice="create one with: likeness keys create --bootstrap")

    async def close(self) -> None:
        """Closes the connections."""
        await self.gate.close()
        await self._throttle.close()


def default_limits(settings: Settings) -> TenantLimits:
    """Limits of tenants that have none of their own."""
    return TenantLimits(
        requests_per_second=settings.key_requests_per_second,
        concurrent_calls=settings.key_concurrent_calls,
        images_per_day=settings.tenant_images_per_day,
        megapixels_per_day=settings.tenant_megapixels_per_day,
    )
