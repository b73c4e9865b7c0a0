"""Makes keys behind a gateway's back, and sends them."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from services.gateway.access.caller import Caller, Scope
from services.gateway.server import GatewayServer
from tests.gateway.failures import reason_of

Metadata = tuple[tuple[str, str], ...]


def bearer(text: str) -> Metadata:
    """A key as metadata."""
    return (("authorization", f"Bearer {text}"),)


@dataclass
class Keys:
    """Keys of one deployment."""

    server: GatewayServer

    async def make(self, tenant_id: str = "acme", scope: Scope = Scope.RUN) -> Metadata:
        """A new key as metadata."""
        return bearer((await self.make_text(tenant_id, scope))[1])

    async def make_text(self, tenant_id: str = "acme", scope: Scope = Scope.RUN) -> tuple[str, str]:
        """Id and text of a new key."""
        key, text = await self.server.access.service.create_key(Caller(), tenant_id, scope, "test")
        return key.id, text


async def refusal(call: object) -> tuple[object, ...]:
    """Code and reason with which a unary call fails."""
    try:
        await call  # type: ignore[misc]
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    raise AssertionError("the call succeeded")
