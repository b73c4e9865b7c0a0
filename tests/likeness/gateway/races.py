"""Races of the gateway contract, in memory: rules and errors are the contract's, the figures made up."""

from __future__ import annotations

import asyncio

import grpc

from likeness.gateway.v1 import race_pb2 as r
from likeness.gateway.v1 import race_service_pb2 as p
from likeness.gateway.v1 import race_service_pb2_grpc, session_pb2
from tests.likeness.gateway.faults import Fault, fail
from tests.likeness.gateway.world import World

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
Entry = r.RaceEntry


class RaceServicer(race_service_pb2_grpc.RaceServiceServicer):
    """Races; a watcher's next answer finishes the next target. A target called "bad" fails for the second entrant."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.requests: list[p.CreateRaceRequest] = []

    async def CreateRace(self, request, context):
        fault = self._world.faults.next("CreateRace", context)
        if fault and not fault.after_effect:
            await fail(context, fault)
        if request.request_id not in self._world.answers:
            if len(request.entrants) < 2:
                await fail(context, Fault(INVALID, "INVALID_FIELD", "entrants: are 1; allowed: 2 to 16", "entrants"))
            self.requests.append(request)
            race = r.Race(
                name=f"races/r{len(self._world.races) + 1}",
                display_name=request.display_name,
                entrants=request.entrants,
                metrics=request.metrics or ["clip-embedded", "psnr"],
                seed=request.seed,
                state=r.Race.STATE_RUNNING,
            )
            for one in request.targets:
                data = one.image.data or self._world.images[one.image.content_hash]
                race.targets.add(image=self._world.store(data), display_name=one.display_name)
            for entrant in race.entrants:
                entrant.loop.rounds = entrant.loop.rounds or 4
                entrant.loop.candidates = entrant.loop.candidates or 4
                entrant.loop.image_budget = entrant.loop.rounds * entrant.loop.candidates
                entrant.loop.strategy = entrant.loop.strategy or "repainter"
                if not entrant.selection_metrics:
                    entrant.selection_metrics.append(race.metrics[0])
                budget = entrant.loop.image_budget * len(race.targets)
                race.progress.add(running_count=len(race.targets), max_image_count=budget)
            race.create_time.GetCurrentTime()
            self._world.races[race.name] = race
            self._world.answers[request.request_id] = r.Race.FromString(race.SerializeToString())
        if fault:
            await fail(context, fault)
        return p.CreateRaceResponse(race=self._world.answers[request.request_id])

    async def GetRace(self, request, context):
        race = await self._find("GetRace", request, context)
        return p.GetRaceResponse(race=race, table=table(race), entries=entries(race))

    async def ListRaces(self, request, context):
        races = list(self._world.races.values())[::-1]
        start, size = int(request.page_token or 0), request.page_size or 50
        token = str(start + size) if start + size < len(races) else ""
        return p.ListRacesResponse(races=races[start : start + size], next_page_token=token)

    async def WatchRace(self, request, context):
        fault = self._world.faults.next("WatchRace", context)
        race = await self._known(request, context)
        sent = 0
        while True:
            if fault and sent == fault.after_events:
                await fail(context, fault)
            yield p.WatchRaceResponse(race=race, table=table(race))
            sent += 1
            if race.state != r.Race.STATE_RUNNING:
                return
            await self._world.gate.wait()
            advance(race)
            await asyncio.sleep(0)

    async def CancelRace(self, request, context):
        fault = self._world.faults.next("CancelRace", context)
        if request.request_id not in self._world.answers:
            race = await self._known(request, context)
            if race.state != r.Race.STATE_RUNNING:
                await fail(context, Fault(PRECONDITION, "RACE_NOT_RUNNING", "the race is not running", "name"))
            for one in race.progress:
                one.cancelled_count, one.running_count = one.running_count, 0
            race.state = r.Race.STATE_CANCELLED
            race.end_time.GetCurrentTime()
            self._world.answers[request.request_id] = r.Race.FromString(race.SerializeToString())
        if fault:
            await fail(context, fault)
        return p.CancelRaceResponse(race=self._world.answers[request.request_id])

    async def DeleteRace(self, request, context):
        fault = self._world.faults.next("DeleteRace", context)
        if request.request_id not in self._world.answers:
            race = await self._known(request, context)
            del self._world.races[race.name]
            self._world.answers[request.request_id] = race.name
        if fault:
            await fail(context, fault)
        return p.DeleteRaceResponse()

    async def _find(self, method: str, request, context) -> r.Race:
        fault = self._world.faults.next(method, context)
        if fault:
            await fail(context, fault)
        return await self._known(request, context)

    async def _known(self, request, context) -> r.Race:
        if request.name not in self._world.races:
            await fail(context, Fault(NOT_FOUND, "RACE_NOT_FOUND", f"race {request.name!r} does not exist", "name"))
        return self._world.races[request.name]


def advance(race: r.Race) -> None:
    """One more target ends for every entrant."""
    if race.state != r.Race.STATE_RUNNING:
        return
    index = len(race.targets) - race.progress[0].running_count
    for number, one in enumerate(race.progress):
        one.running_count -= 1
        failed = number == 1 and race.targets[index].display_name == "bad"
        one.failed_count += failed
        one.succeeded_count += not failed
        one.finished_round_count += 0 if failed else race.entrants[number].loop.rounds
        one.image_count += 1 if failed else race.entrants[number].loop.image_budget
    if not race.progress[0].running_count:
        race.state = r.Race.STATE_FINISHED
        race.end_time.GetCurrentTime()


def value(entrant: int, target: int, rounds: int) -> float:
    """A made-up likeness: the first entrant is a little better."""
    return 0.5 + 0.05 * rounds - 0.08 * entrant + 0.01 * ((target * 7) % 5)


def table(race: r.Race) -> r.RaceTable:
    """Means of what has ended."""
    found = r.RaceTable(tie_epsilon=0.001)
    for number, entrant in enumerate(race.entrants):
        progress = race.progress[number]
        row = found.rows.add(entrant=entrant.display_name, progress=progress)
        count = progress.succeeded_count
        for metric in race.metrics:
            curve = row.curves.add(metric=metric)
            for turn in range(1, entrant.loop.rounds + 1) if count else ():
                curve.rounds.add(**mean(value(number, 0, turn), count))
            if count:
                curve.raw_mean = 20 + number
        if count:
            row.images.CopyFrom(r.RaceMean(**mean(entrant.loop.image_budget, count)))
            row.seconds.CopyFrom(r.RaceMean(**mean(12.5 + number, count)))
            row.stops.add(reason=session_pb2.STOP_REASON_ROUNDS_DONE, count=count)
        if progress.failed_count:
            row.failures.add(reason="GENERATION_FAILED", count=progress.failed_count)
    for metric in race.metrics:
        for number in range(len(race.entrants)):
            for other in range(number + 1, len(race.entrants)):
                one, two = race.entrants[number].display_name, race.entrants[other].display_name
                duel = found.duels.add(metric=metric, first=one, second=two)
                pairs = min(race.progress[number].succeeded_count, race.progress[other].succeeded_count)
                if pairs:
                    duel.difference.CopyFrom(r.RaceMean(**mean(0.08 * (other - number), pairs)))
                    duel.win_count = pairs
                if pairs > 1:
                    duel.t_test_p, duel.wilcoxon_p = 0.012, 0.031
    return found


def mean(number: float, count: int) -> dict[str, float]:
    """A mean with an interval, if there are several."""
    return {"mean": number, "count": count} | ({"low": number - 0.02, "high": number + 0.02} if count > 1 else {})


def entries(race: r.Race) -> list[r.RaceEntry]:
    """Every entrant on every target; its best picture is the target."""
    found = []
    for index, target in enumerate(race.targets):
        for number, entrant in enumerate(race.entrants):
            one = Entry(target_index=index, entrant_index=number, session=f"sessions/s{index}{number}")
            found.append(one)
            failed = number == 1 and target.display_name == "bad"
            if failed:
                one.state, one.stop_reason = Entry.STATE_FAILED, session_pb2.STOP_REASON_FAILED
                one.error.reason, one.error.message = "GENERATION_FAILED", "no memory left"
                continue
            one.state, one.stop_reason = Entry.STATE_SUCCEEDED, session_pb2.STOP_REASON_ROUNDS_DONE
            one.round_count, one.image_count = entrant.loop.rounds, entrant.loop.image_budget
            one.seconds = 12.5 + number
            one.best_candidate_id, one.best_content_hash = "r2c1", target.image.content_hash
            for metric in race.metrics:
                one.scores.add(metric=metric, raw=20 + number, normalized=value(number, index, entrant.loop.rounds))
    return found
