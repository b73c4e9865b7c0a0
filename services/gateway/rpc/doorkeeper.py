"""Keeps new calls out once the gateway is going away; calls under way go on, and health is answered to the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.gateway.access.caller import IncomingCall
from services.gateway.draining import going_away
from services.gateway.rpc.interceptors import Admit

_ANSWERED_TO_THE_END = ("/grpc.health.", "/grpc.reflection.")


class Doorkeeper:
    """Lets calls in as `admit` does, until it is closed."""

    def __init__(self, admit: Admit) -> None:
        self._admit = admit
        self.closed = False

    @asynccontextmanager
    async def admitted(self, call: IncomingCall) -> AsyncIterator[None]:
        """Open for as long as the call is let in.

        Raises:
            UnavailableError: closed; says to try again elsewhere.
        """
        if self.closed and not call.path.startswith(_ANSWERED_TO_THE_END):
            raise going_away()
        async with self._admit(call):
            yield
