"""The test gateway as a real grpc.aio server in a thread of its own, so that sync and async clients can call it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc

from likeness.gateway.v1 import (
    catalog_service_pb2_grpc,
    image_service_pb2_grpc,
    profile_service_pb2_grpc,
    race_service_pb2_grpc,
    session_service_pb2_grpc,
)
from tests.likeness.gateway.catalog import CatalogServicer
from tests.likeness.gateway.faults import Faults
from tests.likeness.gateway.profiles import ProfileServicer
from tests.likeness.gateway.races import RaceServicer
from tests.likeness.gateway.servicers import ImageServicer, SessionServicer
from tests.likeness.gateway.world import World

Value = TypeVar("Value")
LIMIT = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


class TestGateway:
    """Starts on a free port; `restart` ends every connection and listens on the same port again, memory kept."""

    __test__ = False

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._port = 0
        self.run(self._set_up())

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def faults(self) -> Faults:
        return self.world.faults

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Runs a coroutine in the server's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    def hold_loops(self, held: bool = True) -> None:
        """Stops every loop and generation before its next event, or lets them go on."""
        gate = self.world.gate
        self._loop.call_soon_threadsafe(gate.clear if held else gate.set)

    def restart(self) -> None:
        """As after a kill: calls break, the port is the same."""
        self.run(self._server.stop(grace=None))
        self.run(self._listen())

    def close(self) -> None:
        self.run(self._tear_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    async def _set_up(self) -> None:
        self.world = World()
        self.world.gate.set()
        self.catalog = CatalogServicer(self.world)
        self._sessions, self.images = SessionServicer(self.world), ImageServicer(self.world)
        self._profiles = ProfileServicer(self.world)
        self.races = RaceServicer(self.world)
        await self._listen()

    async def _listen(self) -> None:
        self._server = grpc.aio.server(options=LIMIT)
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(self._sessions, self._server)
        image_service_pb2_grpc.add_ImageServiceServicer_to_server(self.images, self._server)
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(self.catalog, self._server)
        profile_service_pb2_grpc.add_ProfileServiceServicer_to_server(self._profiles, self._server)
        race_service_pb2_grpc.add_RaceServiceServicer_to_server(self.races, self._server)
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()

    async def _tear_down(self) -> None:
        tasks = [record.task for record in self.world.sessions.values() if record.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.stop(grace=None)
