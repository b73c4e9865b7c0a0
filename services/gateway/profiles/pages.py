"""Tokens of pages of profiles and of their versions."""

from __future__ import annotations

from services.common.errors import InvalidInputError
from services.gateway.profiles.ids import is_profile_id
from services.gateway.profiles.model import Profile, ProfileVersion
from services.gateway.sessions import tokens


def after_profile(profile: Profile) -> str:
    """Token of the page after a profile."""
    return tokens.encode_page_token(profile.create_time, f"profiles.{profile.id}")


def read_profile_token(token: str) -> str:
    """Id of the last profile of the page before; "" for the first page. Raises InvalidInputError (page_token)."""
    found = _read(token, "profiles.")
    if found and not is_profile_id(found):
        raise _foreign()
    return found


def after_version(profile_id: str, version: ProfileVersion) -> str:
    """Token of the page after a version."""
    return tokens.encode_page_token(version.create_time, f"versions.{profile_id}.{version.number}")


def read_version_token(profile_id: str, token: str) -> int | None:
    """Number of the last version of the page before; None for the first page. Raises InvalidInputError (page_token)."""
    found = _read(token, f"versions.{profile_id}.")
    if found and not (found.isdecimal() and len(found) < 10):
        raise _foreign()
    return int(found) if found else None


def _read(token: str, prefix: str) -> str:
    found = tokens.decode_page_token(token)
    if found is None:
        return ""
    if not found[1].startswith(prefix) or found[1] == prefix:
        raise _foreign()
    return found[1].removeprefix(prefix)


def _foreign() -> InvalidInputError:
    return InvalidInputError("page_token", "belongs to another list", allowed="next_page_token of the page before")
