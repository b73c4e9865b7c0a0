"""One light backend as a process: `python -m reliability.light.serve generator --port 9000`."""

from __future__ import annotations

import argparse
import asyncio

import grpc

from likeness.generator.v1 import generator_service_pb2_grpc
from likeness.refiner.v1 import refiner_service_pb2_grpc
from likeness.scorer.v1 import scorer_service_pb2_grpc
from reliability.light.generator import LightGenerator
from reliability.light.refiner import LightRefiner
from reliability.light.scorer import LightScorer
from services.common.settings import MAX_MESSAGE_BYTES

OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
)


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend", choices=["generator", "scorer", "refiner"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--step-seconds", type=float, default=0.02, help="generator: time of a denoising step")
    parser.add_argument("--slots", type=int, default=8, help="generator: pictures denoised at once")
    parser.add_argument("--max-waiting", type=int, default=1000, help="generator: pictures that may wait")
    parser.add_argument("--call-seconds", type=float, default=0.0, help="scorer: time that a call takes at least")
    asyncio.run(_serve(parser.parse_args()))


async def _serve(options: argparse.Namespace) -> None:
    server = grpc.aio.server(options=OPTIONS)
    match options.backend:
        case "generator":
            generator = LightGenerator(
                step_seconds=options.step_seconds, slots=options.slots, max_waiting=options.max_waiting
            )
            generator_service_pb2_grpc.add_GeneratorServiceServicer_to_server(generator, server)
        case "scorer":
            scorer = LightScorer(call_seconds=options.call_seconds)  # type: ignore[abstract] # it learns no heads
            scorer_service_pb2_grpc.add_ScorerServiceServicer_to_server(scorer, server)
        case _:
            refiner_service_pb2_grpc.add_RefinerServiceServicer_to_server(LightRefiner(), server)
    server.add_insecure_port(f"127.0.0.1:{options.port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    main()
