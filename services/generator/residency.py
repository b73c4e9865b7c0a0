"""Which models are in memory: more of them than there is room for take turns.

A request for a model that is not loaded waits until it is. The least recently used model without open requests leaves
first. Where there is none, the request waits its turn: the least recently used models that make the room take no more
requests until it has had it, so that a busy model cannot keep the others out; requests for those wait behind it, in the
order in which they came. Models are loaded one after the other, in a thread; pictures of the models that are there go
on meanwhile. All requests that wait for a model begin when it is there.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.common.errors import (
    DeadlineError,
    InternalError,
    LikenessError,
    OverloadedError,
    Reason,
    UnavailableError,
)
from services.common.telemetry import get_logger
from services.generator.catalog import Catalog, Memory, release_memory
from services.generator.domain import LoadState
from services.generator.engine.base import Engine
from services.generator.pipelines import KnownModel, mebibytes

log = get_logger(__name__)

MAX_WAITING_REQUESTS = 32
_RETRY_SECONDS = 5.0


@dataclass
class _Resident:
    """A model that is loaded."""

    requests: int = 0
    """Those that are open."""
    used: int = 0
    """When its newest request came, as a count."""
    is_leaving: bool = False
    """Whether it takes no more requests until another model has had its turn."""


class Residency:
    """Keeps the models that are loaded within the memory there is. Of one event loop."""

    def __init__(self, catalog: Catalog, engine: Engine, memory: Memory | None = None) -> None:
        """Takes the models and the engine that has those which are loaded; without `memory` these stay for ever."""
        self._catalog = catalog
        self._engine = engine
        self._memory = memory
        self._residents = {model_id: _Resident() for model_id in catalog.loaded}
        self._waiting: dict[asyncio.Future[None], str] = {}
        """Requests that wait for models, oldest first."""
        self._uses = 0
        self._changed = asyncio.Event()
        self._switching: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def use(self, model_id: str, *, timeout_seconds: float | None = None) -> AsyncIterator[None]:
        """Keeps a known model loaded for the time of a request; loads it first if need be.

        Raises:
            OverloadedError: QUEUE_FULL; too many requests wait for models. Says which models hold the memory.
            DeadlineError: it was not there in the time given. Says the same.
            UnavailableError: MODEL_UNAVAILABLE; it cannot be loaded. The next request tries again.
        """
        if self._is_ready(model_id):
            self._enter(model_id)
        else:
            await self._wait(model_id, timeout_seconds)
        try:
            yield
        finally:
            self._leave(model_id)

    async def _wait(self, model_id: str, timeout_seconds: float | None) -> None:
        if len(self._waiting) >= MAX_WAITING_REQUESTS:
            problem = self._no_room(model_id, f"{len(self._waiting)} requests wait for models already")
            raise OverloadedError(Reason.QUEUE_FULL, problem, retry_after_seconds=_RETRY_SECONDS)
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = model_id
        if self._switching is None:
            self._switching = asyncio.create_task(self._switch())
        try:
            async with asyncio.timeout(timeout_seconds):
                await ticket
        except BaseException as error:
            if ticket.done() and not ticket.cancelled() and ticket.exception() is None:
                # Cancelled when the model was already there.
                self._leave(model_id)
            if isinstance(error, TimeoutError):
                problem = self._no_room(model_id, "the time limit was over before there was room")
                raise DeadlineError(Reason.DEADLINE_EXCEEDED, problem) from None
            raise
        finally:
            self._waiting.pop(ticket, None)
            self._changed.set()

    def _is_ready(self, model_id: str) -> bool:
        return model_id in self._residents and not self._residents[model_id].is_leaving

    def _enter(self, model_id: str) -> None:
        self._uses += 1
        resident = self._residents[model_id]
        resident.requests += 1
        resident.used = self._uses

    def _leave(self, model_id: str) -> None:
        self._residents[model_id].requests -= 1
        self._changed.set()

    def _no_room(self, model_id: str, why: str) -> str:
        holders = ", ".join(
            f"{held!r} ({mebibytes(self._size(held))}, {resident.requests} open requests)"
            for held, resident in self._residents.items()
        )
        return f"generator model {model_id!r} is not loaded, and {why}; the memory is held by {holders or 'none'}"

    def _size(self, model_id: str) -> int:
        return self._catalog.get(model_id).size_bytes

    # Below: the one task that changes what is loaded. It runs as long as requests wait.

    async def _switch(self) -> None:
        while waiting := [model_id for ticket, model_id in self._waiting.items() if not ticket.done()]:
            model_id = waiting[0]
            problem: LikenessError | None = None
            try:
                await self._bring(model_id)
            except LikenessError as error:
                # Without the traceback, which would keep what was loaded of the model.
                problem = copy.copy(error)
            except Exception:  # a defect; nobody must wait for ever
                log.exception("switch_failed", model=model_id)
                problem = InternalError()
            if problem is not None:
                self._refuse(model_id, problem)
                await asyncio.to_thread(release_memory)
            self._admit()
        self._switching = None

    async def _bring(self, model_id: str) -> None:
        """Loads a model unless it is there, or nobody waits for it any more."""
        if model_id not in self._residents and await self._make_room(model_id):
            await self._load(model_id)

    async def _make_room(self, model_id: str) -> bool:
        """Lets models leave until another fits in; False if nobody waits for it any more."""
        try:
            while self._is_wanted(model_id):
                leavers = self._leavers(model_id)
                if not leavers:
                    return True
                for held, resident in self._residents.items():
                    resident.is_leaving = held in leavers
                idle = next((held for held in leavers if not self._residents[held].requests), None)
                if idle is not None:
                    await self._unload(idle)
                    continue
                # Another than before may leave now: those that stay take requests again.
                self._admit()
                self._changed.clear()
                await self._changed.wait()
            return False
        finally:
            for resident in self._residents.values():
                resident.is_leaving = False

    def _is_wanted(self, model_id: str) -> bool:
        return any(wanted == model_id and not ticket.done() for ticket, wanted in self._waiting.items())

    def _leavers(self, model_id: str) -> list[str]:
        """Models that must leave to make room for another: idle ones first, the least recently used of them first."""
        assert self._memory is not None
        excess = sum(map(self._size, self._residents)) + self._size(model_id) - self._memory.budget_bytes
        chosen = []
        for held, _ in sorted(self._residents.items(), key=lambda item: (item[1].requests > 0, item[1].used)):
            if excess > 0:
                chosen.append(held)
                excess -= self._size(held)
        return chosen

    async def _unload(self, model_id: str) -> None:
        del self._residents[model_id]
        self._catalog.note(model_id, LoadState.NOT_LOADED)
        # Done when the last picture of a request that was cancelled just now has ended, too.
        await asyncio.wrap_future(self._engine.remove(model_id))
        await asyncio.to_thread(release_memory)
        log.info("model_unloaded", model=model_id)

    async def _load(self, model_id: str) -> None:
        self._catalog.note(model_id, LoadState.LOADING)
        try:
            # The future of the engine is all that is left of the model here.
            await asyncio.wrap_future(await asyncio.to_thread(self._hand_over, model_id))
        except LikenessError as error:
            self._catalog.note(model_id, LoadState.FAILED, error.message)
            raise
        except Exception:
            self._catalog.note(model_id, LoadState.FAILED, "the server's log says why")
            raise
        self._residents[model_id] = _Resident()
        self._catalog.note(model_id, LoadState.LOADED)

    def _hand_over(self, model_id: str) -> Future[None]:
        assert self._memory is not None
        model = self._memory.load(self._catalog.model(model_id))
        if _identity(model.known) != _identity(self._catalog.get(model_id)):
            message = f"generator model {model_id!r}: its files have changed since the start; start the replica again"
            raise UnavailableError(Reason.MODEL_UNAVAILABLE, message)
        return self._engine.add(model)

    def _admit(self) -> None:
        """Lets all requests go on whose model is there."""
        for ticket, model_id in self._waiting.items():
            if not ticket.done() and self._is_ready(model_id):
                self._enter(model_id)
                ticket.set_result(None)

    def _refuse(self, model_id: str, problem: LikenessError) -> None:
        for ticket, wanted in self._waiting.items():
            if wanted == model_id and not ticket.done():
                # Each its own: an error is raised once.
                ticket.set_exception(copy.copy(problem))


def _identity(known: KnownModel) -> tuple[str, ...]:
    """Revisions of a model and its adapters: what pictures depend on."""
    return known.card.revision, *(adapter.revision for adapter in known.card.adapters)
