"""RaceService over gRPC: convert, call, convert back. Errors are turned into statuses by the interceptor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from likeness.gateway.v1 import race_service_pb2 as pb
from likeness.gateway.v1 import race_service_pb2_grpc
from services.gateway.access.caller import current_caller
from services.gateway.races.service import RaceService
from services.gateway.races.validation import race_id
from services.gateway.rpc import race_converters as converters
from services.gateway.rpc.request_keys import request_key


class RaceServicer(race_service_pb2_grpc.RaceServiceServicer):
    """The public race API."""

    def __init__(self, service: RaceService) -> None:
        self._service = service

    async def CreateRace(self, request: pb.CreateRaceRequest, context: Any) -> pb.CreateRaceResponse:
        """Creates a race and starts its sessions."""
        tenant_id, key = current_caller().tenant_id, await request_key(request)
        race = await self._service.create(tenant_id, converters.race_from_proto(request), key)
        return pb.CreateRaceResponse(race=converters.race_to_proto(race))

    async def GetRace(self, request: pb.GetRaceRequest, context: Any) -> pb.GetRaceResponse:
        """Returns a race with its table and entries."""
        view = await self._service.get(current_caller().tenant_id, race_id(request.name))
        return pb.GetRaceResponse(
            race=converters.race_to_proto(view.race),
            table=converters.table_to_proto(view),
            entries=[converters.entry_to_proto(one) for one in view.entries],
        )

    async def ListRaces(self, request: pb.ListRacesRequest, context: Any) -> pb.ListRacesResponse:
        """Lists races, newest first."""
        tenant_id = current_caller().tenant_id
        page, token = await self._service.list_page(tenant_id, request.page_size, request.page_token)
        return pb.ListRacesResponse(races=[converters.race_to_proto(one) for one in page], next_page_token=token)

    async def WatchRace(self, request: pb.WatchRaceRequest, context: Any) -> AsyncIterator[pb.WatchRaceResponse]:
        """Streams the race whenever it changed."""
        views = self._service.watch(current_caller().tenant_id, race_id(request.name))
        async with aclosing(cast(Any, views)):
            async for view in views:
                race, table = converters.race_to_proto(view.race), converters.table_to_proto(view)
                yield pb.WatchRaceResponse(race=race, table=table)

    async def CancelRace(self, request: pb.CancelRaceRequest, context: Any) -> pb.CancelRaceResponse:
        """Stops every session of a race."""
        found, key = race_id(request.name), await request_key(request)
        race = await self._service.cancel(current_caller().tenant_id, found, key)
        return pb.CancelRaceResponse(race=converters.race_to_proto(race))

    async def DeleteRace(self, request: pb.DeleteRaceRequest, context: Any) -> pb.DeleteRaceResponse:
        """Deletes a race with its sessions."""
        found, key = race_id(request.name), await request_key(request)
        await self._service.delete(current_caller().tenant_id, found, key)
        return pb.DeleteRaceResponse()
