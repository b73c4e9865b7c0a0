"""Active heads are read once, and again when they may have changed."""

from __future__ import annotations

import asyncio

import pytest

from services.common.errors import NotFoundError, Reason
from services.common.heads import Backbone, Head, head_of
from services.gateway.profiles import heads as module
from services.gateway.profiles.heads import ActiveHeads

FIELD = "metrics[0]"


class Store:
    """Heads by profile; `gate` holds reads that have begun."""

    def __init__(self, *profiles: str) -> None:
        self.heads = {profile: head(1.0) for profile in profiles}
        self.reads = 0
        self.reading = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def active_head(self, tenant_id: str, profile_id: str, *, field: str) -> Head:
        """A head."""
        self.reads += 1
        if profile_id not in self.heads:
            raise NotFoundError(Reason.PROFILE_NOT_FOUND, "profile", profile_id, field=field)
        found = self.heads[profile_id]
        self.reading.set()
        await self.gate.wait()
        return found


def head(weight: float) -> Head:
    """A head of one weight."""
    return head_of(Backbone("lpips-squeeze", "b1", (1,)), [weight])


async def test_known_head_costs_no_read() -> None:
    store = Store("ann", "ben")
    heads = ActiveHeads(store)
    for _ in range(3):
        assert await heads.active_head("t", "ann", field=FIELD) is store.heads["ann"]
    assert store.reads == 1
    heads.forget("t/ben")
    await heads.active_head("t", "ann", field=FIELD)
    assert store.reads == 1


@pytest.mark.parametrize("word", ["t/ann", ""])
async def test_changed_head_is_read_again(word: str) -> None:
    store = Store("ann")
    heads = ActiveHeads(store)
    await heads.active_head("t", "ann", field=FIELD)
    store.heads["ann"] = head(2.0)
    heads.forget(word)
    assert await heads.active_head("t", "ann", field=FIELD) is store.heads["ann"]


async def test_head_that_changes_while_it_is_read_is_not_kept() -> None:
    store = Store("ann")
    heads = ActiveHeads(store)
    store.gate.clear()
    late = asyncio.create_task(heads.active_head("t", "ann", field=FIELD))
    await store.reading.wait()
    store.heads["ann"] = head(2.0)
    heads.forget("t/ann")
    store.gate.set()
    await late
    assert await heads.active_head("t", "ann", field=FIELD) is store.heads["ann"]


async def test_head_is_not_believed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AGE_SECONDS", 0.0)
    store = Store("ann")
    heads = ActiveHeads(store)
    await heads.active_head("t", "ann", field=FIELD)
    store.heads["ann"] = head(2.0)
    assert await heads.active_head("t", "ann", field=FIELD) is store.heads["ann"]


async def test_no_more_heads_are_kept_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HEADS", 2)
    store = Store("a", "b", "c")
    heads = ActiveHeads(store)
    for profile in ("a", "b", "c", "b", "c"):
        await heads.active_head("t", profile, field=FIELD)
    assert store.reads == 3
    await heads.active_head("t", "a", field=FIELD)
    assert store.reads == 4


async def test_absent_profiles_are_blamed_on_the_field_and_not_remembered() -> None:
    store = Store()
    heads = ActiveHeads(store)
    with pytest.raises(NotFoundError) as caught:
        await heads.active_head("t", "ann", field=FIELD)
    assert caught.value.reason is Reason.PROFILE_NOT_FOUND and caught.value.field == FIELD
    store.heads["ann"] = head(1.0)
    assert await heads.active_head("t", "ann", field=FIELD) is store.heads["ann"]


async def test_id_that_no_profile_can_have_is_not_asked_for() -> None:
    store = Store()
    with pytest.raises(NotFoundError) as caught:
        await ActiveHeads(store).active_head("t", "a\x00", field=FIELD)
    assert caught.value.reason is Reason.PROFILE_NOT_FOUND and store.reads == 0
