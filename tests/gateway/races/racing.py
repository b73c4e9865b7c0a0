"""Races for the tests: targets that differ, and entrants that do."""

from __future__ import annotations

from typing import Any

from likeness.gateway.v1 import race_pb2, session_pb2
from likeness.gateway.v1 import race_service_pb2 as pb
from likeness.types.v1 import image_pb2
from tests.gateway.conftest import Gateway
from tests.gateway.doubles import draw

Entry = race_pb2.RaceEntry


def target(number: int, **fields: Any) -> pb.RaceTargetInput:
    """A target of its own color."""
    data = draw(f"rgb {40 * number + 20} 60 {200 - 30 * number}", number)
    return pb.RaceTargetInput(**{"image": image_pb2.Image(data=data), "display_name": f"t{number}"} | fields)


def entrant(name: str, strategy: str = "painter", rounds: int = 2, **fields: Any) -> race_pb2.RaceEntrant:
    """An entrant with two candidates a round."""
    loop = session_pb2.LoopSettings(strategy=strategy, rounds=rounds, candidates=2)
    return race_pb2.RaceEntrant(**{"display_name": name, "loop": loop} | fields)


def race_request(targets: int = 2, **fields: Any) -> pb.CreateRaceRequest:
    """A race of a strategy that learns and one that does not."""
    given: dict[str, Any] = {
        "targets": [target(number) for number in range(targets)],
        "entrants": [entrant("learns"), entrant("stays", "stubborn")],
        "metrics": ["pixels", "red"],
        "seed": 7,
    }
    return pb.CreateRaceRequest(**given | fields)


async def create(gateway: Gateway, **fields: Any) -> race_pb2.Race:
    """A race that runs."""
    return (await gateway.races.CreateRace(race_request(**fields))).race


async def finished(gateway: Gateway, name: str) -> pb.GetRaceResponse:
    """A race once it is not running."""
    async for _ in gateway.races.WatchRace(pb.WatchRaceRequest(name=name)):
        pass
    return await gateway.races.GetRace(pb.GetRaceRequest(name=name))
