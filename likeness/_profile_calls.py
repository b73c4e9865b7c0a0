"""Every call of personal metrics. All may be repeated: writes carry a request id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import Message

from likeness import _profile_convert as convert
from likeness import _types as t
from likeness._call import Call, Result, build, new_id, service_call
from likeness._calls import session_name
from likeness._images import to_message
from likeness.gateway.v1 import profile_service_pb2 as profile


def profile_id(value: t.Profile | str) -> str:
    """Id of a profile, given as object or as id."""
    return value.id if isinstance(value, t.Profile) else value


def create_profile(id_: str, display_name: str, parent: t.Profile | str, base_metric: str) -> Call[t.Profile]:
    request = build(
        profile.CreateProfileRequest,
        request_id=new_id(),
        profile_id=id_,
        display_name=display_name,
        parent=profile_id(parent),
        base_metric=base_metric,
    )
    return _profile_call("CreateProfile", request, profile.CreateProfileResponse)


def fit_profile(
    id_: t.Profile | str, sessions: Sequence[t.Session | str], rankings: Sequence[t.RankedPictures]
) -> Call[t.Profile]:
    request = build(
        profile.FitProfileRequest,
        request_id=new_id(),
        profile_id=profile_id(id_),
        session_ids=[session_name(item).removeprefix("sessions/") for item in sessions],
        rankings=[_ranked(item) for item in rankings],
    )
    return _profile_call("FitProfile", request, profile.FitProfileResponse)


def get_profile(id_: t.Profile | str) -> Call[t.Profile]:
    request = build(profile.GetProfileRequest, profile_id=profile_id(id_))
    return _profile_call("GetProfile", request, profile.GetProfileResponse)


def list_profiles(page_size: int, page_token: str) -> Call[tuple[tuple[t.Profile, ...], str]]:
    request = build(profile.ListProfilesRequest, page_size=page_size, page_token=page_token)
    return _call("ListProfiles", request, profile.ListProfilesResponse, convert.profile_page)


def list_profile_versions(
    id_: t.Profile | str, page_size: int, page_token: str
) -> Call[tuple[tuple[t.ProfileVersion, ...], str]]:
    request = build(
        profile.ListProfileVersionsRequest, profile_id=profile_id(id_), page_size=page_size, page_token=page_token
    )
    return _call("ListProfileVersions", request, profile.ListProfileVersionsResponse, convert.version_page)


def activate_profile_version(id_: t.Profile | str, version: t.ProfileVersion | int) -> Call[t.Profile]:
    number = version.number if isinstance(version, t.ProfileVersion) else version
    request = build(
        profile.ActivateProfileVersionRequest, request_id=new_id(), profile_id=profile_id(id_), version=number
    )
    return _profile_call("ActivateProfileVersion", request, profile.ActivateProfileVersionResponse)


def delete_profile(id_: t.Profile | str) -> Call[None]:
    request = build(profile.DeleteProfileRequest, request_id=new_id(), profile_id=profile_id(id_))
    return _call("DeleteProfile", request, profile.DeleteProfileResponse, lambda _: None)


def _call(method: str, request: Message, response: type[Message], read: Callable[[Any], Result]) -> Call[Result]:
    return service_call("ProfileService", method, request, response, read)


def _profile_call(method: str, request: Message, response: type[Message]) -> Call[t.Profile]:
    return _call(method, request, response, lambda answer: convert.profile(answer.profile))


def _ranked(ranking: t.RankedPictures) -> profile.RankedPictures:
    # A path alone, or in the place of the pictures, would be taken apart into letters.
    if not isinstance(ranking, tuple) or len(ranking) not in (2, 3) or isinstance(ranking[1], str | bytes):
        raise TypeError("a ranking is a tuple of a target, a list of pictures and, if need be, their places")
    target, pictures, *places = ranking
    return profile.RankedPictures(
        target=to_message(target),
        pictures=[to_message(picture) for picture in pictures],
        places=places[0] if places else (),
    )
