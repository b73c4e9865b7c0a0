"""The calls of races, for both clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from likeness import _race_convert as convert
from likeness import _types as t
from likeness._call import Call, Result, build, new_id, service_call
from likeness._images import to_message
from likeness._options import EntrantOptions, LoopOptions, checked
from likeness.gateway.v1 import race_pb2, session_pb2
from likeness.gateway.v1 import race_service_pb2 as pb


def race_name(value: t.Race | str) -> str:
    """Resource name of a race, given as object, as name or as bare id."""
    name = value.name if isinstance(value, t.Race) else value
    return name if name.startswith("races/") or not name else f"races/{name}"


def create_race(
    targets: Sequence[t.ImageSource] | Mapping[str, t.ImageSource],
    entrants: Mapping[str, EntrantOptions],
    metrics: Sequence[str],
    seed: int,
    display_name: str,
) -> Call[t.Race]:
    # A path alone would be taken apart into letters.
    if isinstance(targets, str | bytes):
        raise TypeError("targets are a list of pictures, or a dict of names and pictures")
    named = targets.items() if isinstance(targets, Mapping) else ((_name(one), one) for one in targets)
    request = build(
        pb.CreateRaceRequest,
        targets=[pb.RaceTargetInput(image=to_message(one), display_name=name) for name, one in named],
        entrants=[_entrant(f"entrants[{i}].", name, one) for i, (name, one) in enumerate(entrants.items())],
        metrics=metrics,
        seed=seed,
        display_name=display_name,
        request_id=new_id(),
    )
    return _race_call("CreateRace", request, pb.CreateRaceResponse)


def get_race(name: t.Race | str) -> Call[t.RaceDetails]:
    request = build(pb.GetRaceRequest, name=race_name(name))
    return _call("GetRace", request, pb.GetRaceResponse, convert.race_details)


def list_races(page_size: int, page_token: str) -> Call[tuple[tuple[t.Race, ...], str]]:
    request = build(pb.ListRacesRequest, page_size=page_size, page_token=page_token)
    return _call("ListRaces", request, pb.ListRacesResponse, convert.race_page)


def watch_race(name: t.Race | str) -> Call[t.RaceUpdate]:
    request = build(pb.WatchRaceRequest, name=race_name(name))
    return _call("WatchRace", request, pb.WatchRaceResponse, convert.race_update)


def cancel_race(name: t.Race | str) -> Call[t.Race]:
    request = build(pb.CancelRaceRequest, name=race_name(name), request_id=new_id())
    return _race_call("CancelRace", request, pb.CancelRaceResponse)


def delete_race(name: t.Race | str) -> Call[None]:
    request = build(pb.DeleteRaceRequest, name=race_name(name), request_id=new_id())
    return _call("DeleteRace", request, pb.DeleteRaceResponse, lambda _: None)


def _call(method: str, request: Message, response: type[Message], read: Callable[[Any], Result]) -> Call[Result]:
    return service_call("RaceService", method, request, response, read)


def _race_call(method: str, request: Message, response: type[Message]) -> Call[t.Race]:
    return _call(method, request, response, lambda answer: convert.race(answer.race))


def _name(target: t.ImageSource) -> str:
    """Name of a file; other pictures have none."""
    return Path(target).name[:200] if isinstance(target, str | Path) else ""


def _entrant(field: str, name: str, options: EntrantOptions) -> race_pb2.RaceEntrant:
    given = checked(options, EntrantOptions)
    loop = {key: given.pop(key) for key in LoopOptions.__annotations__ if key in given}
    loop_message = build(session_pb2.LoopSettings, prefix=f"{field}loop.", **loop)
    return build(race_pb2.RaceEntrant, prefix=field, display_name=name, loop=loop_message, **given)
