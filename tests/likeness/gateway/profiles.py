"""Personal metrics of the gateway contract, in memory: rules and errors are the contract's, the figures made up."""

from __future__ import annotations

from typing import Any

import grpc

from likeness.gateway.v1 import profile_service_pb2 as p
from likeness.gateway.v1 import profile_service_pb2_grpc
from likeness.types.v1 import head_pb2 as h
from tests.likeness.gateway.faults import Fault, fail
from tests.likeness.gateway.world import ProfileRecord, World

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
EXISTS, PRECONDITION = grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION


class ProfileServicer(profile_service_pb2_grpc.ProfileServiceServicer):
    """Profiles and their versions; every fit succeeds, checked from two targets on."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def CreateProfile(self, request, context):
        async def create():
            if request.profile_id in self._world.profiles:
                problem = f"profile {request.profile_id!r} exists"
                await fail(context, Fault(EXISTS, "PROFILE_EXISTS", problem, "profile_id"))
            if request.parent:
                await self._known(request.parent, "parent", context)
            if request.base_metric not in ("", "lpips-squeeze"):
                problem = f"metric {request.base_metric!r} does not exist; known: lpips-squeeze"
                await fail(context, Fault(NOT_FOUND, "METRIC_NOT_FOUND", problem, "base_metric"))
            profile = p.Profile(
                id=request.profile_id,
                display_name=request.display_name,
                base_metric="lpips-squeeze",
                parent=request.parent,
            )
            profile.create_time.GetCurrentTime()
            self._world.profiles[profile.id] = ProfileRecord(profile)
            return self._add(self._world.profiles[profile.id], h.HEAD_RECIPE_PUBLISHED)

        return p.CreateProfileResponse(profile=await self._once("CreateProfile", request, context, create))

    async def FitProfile(self, request, context):
        async def fit():
            record = await self._known(request.profile_id, "profile_id", context)
            for name in request.session_ids:
                if f"sessions/{name}" not in self._world.sessions:
                    problem = f"session {name!r} does not exist"
                    await fail(context, Fault(NOT_FOUND, "SESSION_NOT_FOUND", problem, "session_ids"))
            for index, ranking in enumerate(request.rankings):
                if not 2 <= len(ranking.pictures) <= 64:
                    field = f"rankings[{index}].pictures"
                    problem = f"{field}: are {len(ranking.pictures)}; allowed: 2 to 64"
                    await fail(context, Fault(INVALID, "INVALID_FIELD", problem, field))
            record.sessions.update(request.session_ids)
            record.rankings.extend(request.rankings)
            record.profile.ranking_count = len(record.sessions) + len(record.rankings)
            if not record.profile.ranking_count:
                await fail(
                    context, Fault(PRECONDITION, "NO_RANKINGS", f"profile {record.profile.id!r} has no rankings")
                )
            return self._add(record, h.HEAD_RECIPE_CONVEX, report(record.profile.ranking_count))

        return p.FitProfileResponse(profile=await self._once("FitProfile", request, context, fit))

    async def GetProfile(self, request, context):
        await self._enter("GetProfile", context)
        return p.GetProfileResponse(profile=(await self._known(request.profile_id, "profile_id", context)).profile)

    async def ListProfiles(self, request, context):
        await self._enter("ListProfiles", context)
        profiles = [self._world.profiles[name].profile for name in sorted(self._world.profiles)]
        page, token = cut(profiles, request)
        return p.ListProfilesResponse(profiles=page, next_page_token=token)

    async def ListProfileVersions(self, request, context):
        await self._enter("ListProfileVersions", context)
        record = await self._known(request.profile_id, "profile_id", context)
        page, token = cut(record.versions[::-1], request)
        return p.ListProfileVersionsResponse(versions=page, next_page_token=token)

    async def ActivateProfileVersion(self, request, context):
        async def activate():
            record = await self._known(request.profile_id, "profile_id", context)
            if not 1 <= request.version <= len(record.versions):
                problem = f"version {request.version} of {request.profile_id!r} does not exist"
                await fail(context, Fault(NOT_FOUND, "PROFILE_VERSION_NOT_FOUND", problem, "version"))
            record.profile.active.CopyFrom(record.versions[request.version - 1])
            record.profile.update_time.GetCurrentTime()
            return record.profile

        profile = await self._once("ActivateProfileVersion", request, context, activate)
        return p.ActivateProfileVersionResponse(profile=profile)

    async def DeleteProfile(self, request, context):
        async def delete():
            children = [name for name, r in self._world.profiles.items() if r.profile.parent == request.profile_id]
            if children:
                problem = f"profile {request.profile_id!r} is the parent of {children[0]!r}"
                await fail(context, Fault(PRECONDITION, "PROFILE_IN_USE", problem, "profile_id"))
            self._world.profiles.pop(request.profile_id, None)
            return p.Profile()

        await self._once("DeleteProfile", request, context, delete)
        return p.DeleteProfileResponse()

    async def _enter(self, method: str, context) -> None:
        fault = self._world.faults.next(method, context)
        if fault:
            await fail(context, fault)

    async def _once(self, method: str, request, context, work) -> p.Profile:
        """The answer of the work, done once for a request id; a fault comes before it or takes the answer away."""
        fault = self._world.faults.next(method, context)
        if fault and not fault.after_effect:
            await fail(context, fault)
        answers: dict[str, Any] = self._world.answers
        if request.request_id not in answers:
            answers[request.request_id] = p.Profile.FromString((await work()).SerializeToString())
        if fault:
            await fail(context, fault)
        return answers[request.request_id]

    async def _known(self, name: str, field: str, context) -> ProfileRecord:
        if name not in self._world.profiles:
            await fail(context, Fault(NOT_FOUND, "PROFILE_NOT_FOUND", f"profile {name!r} does not exist", field))
        return self._world.profiles[name]

    def _add(self, record: ProfileRecord, recipe: int, found: h.AlignmentReport | None = None) -> p.Profile:
        number = len(record.versions) + 1
        version = p.ProfileVersion(number=number, revision=f"rev{number}", recipe=recipe, report=found)
        version.create_time.GetCurrentTime()
        record.versions.append(version)
        record.profile.version_count = number
        record.profile.active.CopyFrom(version)
        record.profile.update_time.CopyFrom(version.create_time)
        return record.profile


def cut(items: list, request) -> tuple[list, str]:
    """A page of the items and the token of the next one."""
    start, size = int(request.page_token or 0), request.page_size or 50
    return items[start : start + size], str(start + size) if start + size < len(items) else ""


def report(rankings: int) -> h.AlignmentReport:
    """The figures of the paper, each ranking on a target of its own; with one target nothing is held out."""
    if rankings < 2:
        explanation = "learned from one target, close to its parent; rank another one to have it checked"
        return h.AlignmentReport(
            decision=h.FIT_DECISION_FITTED_UNCHECKED, explanation=explanation, ranking_count=1, target_count=1
        )
    return h.AlignmentReport(
        decision=h.FIT_DECISION_FITTED,
        explanation=f"learned: on {rankings} held-out targets the agreement ICC(2,k) is 0.680 when learned",
        ranking_count=rankings,
        target_count=rankings,
        fitted_icc2k=0.68,
        parent_icc2k=0.61,
        lpips_icc2k=0.6,
        lpips=h.Alignment(
            spearman=h.Coefficient(value=0.432, p=0.002),
            agreement=h.Coefficient(value=0.6, low=0.57, high=0.64, p=0.0001, band="moderate"),
            consistency=h.Coefficient(value=0.601, low=0.571, high=0.641, p=0.0001, band="moderate"),
        ),
        learned=h.Alignment(
            spearman=h.Coefficient(value=0.524, p=0.0001),
            agreement=h.Coefficient(value=0.68, low=0.66, high=0.71, p=0.0001, band="moderate"),
            consistency=h.Coefficient(value=0.681, low=0.661, high=0.711, p=0.0001, band="good"),
        ),
        spearman_gain=h.AlignmentGain(difference=0.092, low=0.061, high=0.12, p=0.012),
        agreement_gain=h.AlignmentGain(difference=0.084, low=0.071, high=0.1, p=0.0001),
        consistency_gain=h.AlignmentGain(difference=0.083, low=-0.07, high=0.099, p=0.04),
    )
