"""Backends at the seam: the real contracts on real grpc.aio servers, with answers that a test can foresee."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from likeness.generator.v1 import generator_service_pb2_grpc as generator_grpc
from likeness.refiner.v1 import refiner_service_pb2_grpc as refiner_grpc
from likeness.scorer.v1 import scorer_service_pb2_grpc as scorer_grpc
from services.common.settings import MAX_MESSAGE_BYTES
from tests.gateway_io.seam_generator import SeamGenerator
from tests.gateway_io.seam_refiner import SeamRefiner
from tests.gateway_io.seam_scorer import SeamScorer

OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
]


class Backends:
    """All three on one server, as behind Serve's proxy. It can be stopped and started again on its port."""

    def __init__(self) -> None:
        self.scorer = SeamScorer()
        self.generator = SeamGenerator()
        self.refiner = SeamRefiner()
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listens, on the same port as before if there was one."""
        server = grpc.aio.server(options=OPTIONS)
        scorer_grpc.add_ScorerServiceServicer_to_server(self.scorer, server)
        generator_grpc.add_GeneratorServiceServicer_to_server(self.generator, server)
        refiner_grpc.add_RefinerServiceServicer_to_server(self.refiner, server)
        self.port = server.add_insecure_port(self.address)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Breaks every call and stops listening."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


@asynccontextmanager
async def running_backends() -> AsyncIterator[Backends]:
    """Backends for the length of a block."""
    backends = Backends()
    await backends.start()
    try:
        yield backends
    finally:
        await backends.stop()
