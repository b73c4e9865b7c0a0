"""The scorer on a plain gRPC server, without Ray: the same handlers, for measuring what stands before it.

    python -m benchmarks.plain_scorer

Prints its port when it answers; serves until it is ended.
"""

from __future__ import annotations

import asyncio

import grpc

from likeness.scorer.v1.scorer_service_pb2_grpc import add_ScorerServiceServicer_to_server
from services.common.profile import load_profile
from services.common.settings import MAX_MESSAGE_BYTES, Settings
from services.scorer import compute, registry
from services.scorer.service import Scorer
from services.scorer.servicer import Handlers, ScorerServicer


async def main() -> None:
    """Serves."""
    settings = Settings()
    compute.set_threads(settings)
    scorer = Scorer(registry.build(settings, load_profile(settings.profile)))
    options = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("send", "receive")]
    server = grpc.aio.server(options=options)
    add_ScorerServiceServicer_to_server(ScorerServicer(Handlers(scorer)), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
