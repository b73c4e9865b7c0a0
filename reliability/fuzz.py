"""Requests and pictures that nobody should send, to a real gateway: it must refuse them, and live.

    python -m reliability.fuzz [--cases 10000] [--seed 1]

Half of the cases are pictures of every format and mode with some of their bytes changed, sent wherever a picture can be
sent. The others are requests to every method that the contracts know, written by chance from the message types, some
fields nasty, one in five with its bytes changed. Found is: a status that stands for a defect (INTERNAL, UNKNOWN,
DATA_LOSS, UNIMPLEMENTED), INTERNAL as the error of an item, UNAVAILABLE or DEADLINE_EXCEEDED (everything is up), a call
that ends again and again without a status of the gateway's, an exception in the gateway's log, a gateway that dies, or
one that cannot make a picture afterwards. The row goes to
reliability/results/fuzz.json; the exit code is 1 if anything is found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from rich.console import Console

from likeness import AsyncClient
from likeness._errors import is_own_failure
from likeness.gateway.v1 import admin_service_pb2 as admin_pb
from likeness.gateway.v1 import image_service_pb2 as image_pb
from likeness.gateway.v1 import session_service_pb2 as session_pb
from likeness.types.v1 import image_pb2
from reliability.deployment import Deployment, deployed
from reliability.light.pictures import paint
from reliability.messages import Known, Requests, methods
from reliability.mutations import mutated_picture
from reliability.results import RESULTS, machine, write
from services.common.settings import MAX_MESSAGE_BYTES

OPTIONS = {"generator": ["--step-seconds=0.001", "--slots=16"]}
CALLERS = 8
CALL_SECONDS = 120.0
"""What takes longer hangs: a picture may cost 10 s of a core that others use too, and a worker must start for it."""
WATCH_SECONDS = 0.5
"""How long streams are listened to: many of them end only when the caller leaves."""
FRESH_EVERY = 100
"""Cases after which a new session is made, as requests delete those that there are."""
TENANT = "fuzzed"
"""Whom requests to AdminService are about. The run itself is the default tenant's, whose limits nobody touches."""
UNTOLD = "no status"
"""Of a call that was over while its requests were still being sent: the gateway's status came too late for gRPC."""
UNTOLD_TRIES = 5
DEFECTS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", UNTOLD}
MOST_KEPT = 20
MOST_SAID_CHARACTERS = 200

console = Console()


@dataclass
class Found:
    """What the cases came to."""

    cases: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    by_method: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "fuzz.json")
    options = parser.parse_args()
    row = asyncio.run(fuzz(cases=options.cases, seed=options.seed))
    write(options.out, row)
    console.print_json(data=row)
    return 0 if row["held"] else 1


async def fuzz(*, cases: int, seed: int) -> dict[str, Any]:
    """One run and its row."""
    async with deployed(options=OPTIONS) as deployment:
        (gateway,) = deployment.gateways
        assert gateway.process is not None
        pid = gateway.process.pid
        began = time.monotonic()
        found = await send(deployment, cases, seed)
        seconds = time.monotonic() - began
        alive = gateway.process.returncode is None and gateway.process.pid == pid
        works = False
        if alive:
            await gateway.wait_health("SERVING")
            async with AsyncClient(deployment.address()) as client:
                result = await client.regenerate(paint("rgb 1 2 3", 4), rounds=1, candidates=1)
                works = result.best.loop_score is not None
        exceptions = Counter(map(exception_of, deployment.log(gateway.name).splitlines()))
        del exceptions[""]
    return {
        "held": alive and works and not found.defects and not exceptions,
        "cases": found.cases,
        "seconds": round(seconds, 1),
        "statuses": dict(found.statuses.most_common()),
        "methods": len(found.by_method),
        "fewest_of_a_method": min(found.by_method.values()),
        "defects": found.defects[:MOST_KEPT],
        "exceptions_in_the_log": dict(exceptions.most_common(MOST_KEPT)),
        "alive": alive,
        "works_afterwards": works,
        "machine": machine(),
    }


def exception_of(line: str) -> str:
    """The exception that a line of the log tells of; "" if it tells of none."""
    text = line
    if line.startswith("{"):
        # A line that another process wrote into is no JSON.
        with suppress(ValueError):
            text = json.loads(line).get("traceback", "")
    if "Traceback" not in text:
        return ""
    return text.strip().splitlines()[-1][:300]


async def send(deployment: Deployment, cases: int, seed: int) -> Found:
    """Sends so many cases, by several callers at once."""
    found, known = Found(), Known()
    options = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ]
    async with grpc.aio.insecure_channel(deployment.gateways[0].address, options=options) as channel:
        await _fresh(channel, known, 0)
        numbers = iter(range(cases))

        async def caller() -> None:
            for number in numbers:
                if number % FRESH_EVERY == FRESH_EVERY - 1:
                    await _fresh(channel, known, number)
                await _case(channel, random.Random(f"{seed}-{number}"), known, number, found)
                if found.cases % 1000 == 0:
                    console.print(f"{found.cases:,} cases, {len(found.defects)} defects; {dict(found.statuses)}")

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return found


async def _case(channel: Any, chance: random.Random, known: Known, number: int, found: Found) -> None:
    if number % 2:
        method, bodies = _with_picture(chance)
    else:
        method = chance.choice(_METHODS)
        bodies = Requests(chance, known).of(method)
    answer = await ask(channel, method, bodies)
    status = answer.status
    found.cases += 1
    found.by_method[method.full_name] += 1
    found.statuses[status] += 1
    if status in DEFECTS:
        found.defects.append(f"case {number}: {method.name}: {status}: {answer.said[:MOST_SAID_CHARACTERS]}")
    if any(b"INTERNAL" in message for message in answer.messages):
        found.defects.append(f"case {number}: {method.name}: INTERNAL inside an answer")


def _with_picture(chance: random.Random) -> tuple[MethodDescriptor, list[bytes]]:
    """A call that takes a broken picture, otherwise valid."""
    broken, whole = image_pb2.Image(data=mutated_picture(chance)), image_pb2.Image(data=paint("rgb 1 2 3", 1))
    request: Any
    match chance.randrange(4):
        case 0:
            name, request = "CreateSession", session_pb.CreateSessionRequest(target=broken)
        case 1:
            name = "ScoreImages"
            request = image_pb.ScoreImagesRequest(target=whole, candidates=[broken, whole], metrics=["mean", "pixels"])
        case 2:
            name = "ScoreImages"
            request = image_pb.ScoreImagesRequest(target=broken, candidates=[whole], metrics=["pixels"])
        case _:
            name, request = "UploadImage", image_pb.UploadImageRequest(data=broken.data)
    return next(one for one in _METHODS if one.name == name), [request.SerializeToString()]


@dataclass
class Answer:
    """How a call ended: its status ("left": it was left), the status's text, and the messages before it."""

    status: str = "OK"
    said: str = ""
    messages: list[bytes] = field(default_factory=list)


async def ask(channel: Any, method: MethodDescriptor, bodies: list[bytes]) -> Answer:
    """The answer to a call with these bytes as they are. Where gRPC lost the gateway's status it is asked again."""
    for _ in range(UNTOLD_TRIES):
        answer = await _call(channel, method, bodies)
        if answer.status != UNTOLD:
            break
    return answer


async def _call(channel: Any, method: MethodDescriptor, bodies: list[bytes]) -> Answer:
    path = f"/{method.containing_service.full_name}/{method.name}"
    answer = Answer()

    async def requests() -> AsyncIterator[bytes]:
        for body in bodies:
            yield body

    try:
        if not method.server_streaming:
            answer.messages.append(await channel.unary_unary(path)(bodies[0], timeout=CALL_SECONDS))
            return answer
        if method.client_streaming:
            call = channel.stream_stream(path)(requests())
        else:
            call = channel.unary_stream(path)(bodies[0])
        try:
            async with asyncio.timeout(WATCH_SECONDS):
                async for message in call:
                    answer.messages.append(message)
        except TimeoutError:
            call.cancel()
            answer.status = "left"
    except grpc.aio.AioRpcError as error:
        answer.status = UNTOLD if is_own_failure(error) else error.code().name
        answer.said = error.details() or ""
    return answer


async def _fresh(channel: Any, known: Known, number: int) -> None:
    """A session with candidates, its target and a key, for requests to name."""
    request = session_pb.CreateSessionRequest(target=image_pb2.Image(data=paint("rgb 9 8 7", number)))
    path = "/likeness.gateway.v1.SessionService/"
    answer = await channel.unary_unary(path + "CreateSession")(request.SerializeToString(), timeout=CALL_SECONDS)
    session = session_pb.CreateSessionResponse.FromString(answer).session
    start = session_pb.StartLoopRequest(name=session.name)
    await channel.unary_unary(path + "StartLoop")(start.SerializeToString(), timeout=CALL_SECONDS)
    create = admin_pb.CreateKeyRequest(tenant_id=TENANT, scope=admin_pb.KEY_SCOPE_READ)
    path = "/likeness.gateway.v1.AdminService/CreateKey"
    answer = await channel.unary_unary(path)(create.SerializeToString(), timeout=CALL_SECONDS)
    known.keys = [*known.keys[-3:], admin_pb.CreateKeyResponse.FromString(answer).key.id]
    known.names = [*known.names[-3:], session.name]
    known.hashes = [*known.hashes[-3:], session.target.content_hash]


_METHODS = methods()

if __name__ == "__main__":
    sys.exit(main())
