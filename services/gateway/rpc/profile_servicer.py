"""ProfileService over gRPC: convert, call, convert back. Errors are turned into statuses by the interceptor."""

from __future__ import annotations

from typing import Any

from likeness.gateway.v1 import profile_service_pb2 as pb
from likeness.gateway.v1 import profile_service_pb2_grpc
from services.gateway.access.caller import current_caller
from services.gateway.profiles.service import ProfileService
from services.gateway.rpc import profile_converters as converters
from services.gateway.rpc.request_keys import request_key


class ProfileServicer(profile_service_pb2_grpc.ProfileServiceServicer):
    """The public profile API."""

    def __init__(self, service: ProfileService) -> None:
        self._service = service

    async def CreateProfile(self, request: pb.CreateProfileRequest, context: Any) -> pb.CreateProfileResponse:
        """Creates a profile."""
        profile = await self._service.create(
            current_caller().tenant_id,
            request.profile_id,
            display_name=request.display_name,
            parent=request.parent,
            base_metric=request.base_metric,
            key=await request_key(request),
        )
        return pb.CreateProfileResponse(profile=converters.profile_to_proto(profile))

    async def FitProfile(self, request: pb.FitProfileRequest, context: Any) -> pb.FitProfileResponse:
        """Adds rankings and learns from all of the profile's."""
        rankings = [converters.ranking_from_proto(ranking) for ranking in request.rankings]
        key = await request_key(request)
        tenant_id = current_caller().tenant_id
        profile = await self._service.fit(tenant_id, request.profile_id, request.session_ids, rankings, key)
        return pb.FitProfileResponse(profile=converters.profile_to_proto(profile))

    async def GetProfile(self, request: pb.GetProfileRequest, context: Any) -> pb.GetProfileResponse:
        """Returns a profile."""
        profile = await self._service.get(current_caller().tenant_id, request.profile_id)
        return pb.GetProfileResponse(profile=converters.profile_to_proto(profile))

    async def ListProfiles(self, request: pb.ListProfilesRequest, context: Any) -> pb.ListProfilesResponse:
        """Lists profiles by id."""
        tenant_id = current_caller().tenant_id
        page, token = await self._service.list_page(tenant_id, request.page_size, request.page_token)
        profiles = [converters.profile_to_proto(one) for one in page]
        return pb.ListProfilesResponse(profiles=profiles, next_page_token=token)

    async def ListProfileVersions(
        self, request: pb.ListProfileVersionsRequest, context: Any
    ) -> pb.ListProfileVersionsResponse:
        """Lists versions, newest first."""
        page, token = await self._service.list_versions(
            current_caller().tenant_id, request.profile_id, request.page_size, request.page_token
        )
        versions = [converters.version_to_proto(one) for one in page]
        return pb.ListProfileVersionsResponse(versions=versions, next_page_token=token)

    async def ActivateProfileVersion(
        self, request: pb.ActivateProfileVersionRequest, context: Any
    ) -> pb.ActivateProfileVersionResponse:
        """Scores by a stored version from now on."""
        key = await request_key(request)
        tenant_id = current_caller().tenant_id
        profile = await self._service.activate(tenant_id, request.profile_id, request.version, key)
        return pb.ActivateProfileVersionResponse(profile=converters.profile_to_proto(profile))

    async def DeleteProfile(self, request: pb.DeleteProfileRequest, context: Any) -> pb.DeleteProfileResponse:
        """Deletes a profile."""
        await self._service.delete(current_caller().tenant_id, request.profile_id, await request_key(request))
        return pb.DeleteProfileResponse()
