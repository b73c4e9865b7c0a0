"""Active heads of profiles, kept in this process: scoring pictures again asks the database for nothing."""

from __future__ import annotations

import time

from services.common.errors import NotFoundError, Reason
from services.common.heads import Head
from services.gateway.ports import ProfileHeads
from services.gateway.profiles.ids import is_profile_id, owned_name

MAX_HEADS = 1024
"""Heads that are kept, of about 9 KB each; the one read first goes first."""
MAX_AGE_SECONDS = 30.0
"""How long a head is believed without a word that it changed: a notification of another gateway may be lost."""


class ActiveHeads:
    """ProfileHeads over the stored ones."""

    def __init__(self, store: ProfileHeads) -> None:
        self._store = store
        self._heads: dict[str, tuple[Head, float]] = {}
        self._changes = 0

    async def active_head(self, tenant_id: str, profile_id: str, *, field: str) -> Head:
        """Head of a profile's active version.

        Raises:
            NotFoundError: PROFILE_NOT_FOUND, blamed on `field`.
            UnavailableError: DATABASE_UNAVAILABLE, if it is not known and PostgreSQL does not answer.
        """
        name = owned_name(tenant_id, profile_id)
        known, now = self._heads.get(name), time.monotonic()
        if known is not None and now - known[1] < MAX_AGE_SECONDS:
            return known[0]
        if not is_profile_id(profile_id):
            raise NotFoundError(Reason.PROFILE_NOT_FOUND, "profile", profile_id, field=field)
        changes = self._changes
        head = await self._store.active_head(tenant_id, profile_id, field=field)
        # A change that came while it was read may be newer than what was read.
        if changes == self._changes:
            self._heads.pop(name, None)
            self._heads[name] = head, now
            if len(self._heads) > MAX_HEADS:
                del self._heads[next(iter(self._heads))]
        return head

    def forget(self, name: str) -> None:
        """The profile of this `owned_name` changed, or, if it is empty, any may have. By any gateway's write."""
        self._changes += 1
        if name:
            self._heads.pop(name, None)
        else:
            self._heads.clear()
