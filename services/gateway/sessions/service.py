"""The session service without a transport: one method a call."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from services.common.errors import LikenessError, NotFoundError, OutOfRangeError, PreconditionError, Reason
from services.common.profile import Profile
from services.common.telemetry import get_logger
from services.gateway import domain
from services.gateway.decoding import image_info
from services.gateway.history import History
from services.gateway.loops.runner import LoopRunner
from services.gateway.loops.state import HUMAN
from services.gateway.loops.text import storable
from services.gateway.ports import GeneratorPort, RefinerPort
from services.gateway.scorable import Scoring
from services.gateway.sessions import tokens, validation
from services.gateway.sessions.validation import LoopInput, SettingsInput
from services.gateway.sessions.watching import Watcher
from services.gateway.store.codec import decode
from services.gateway.store.images import ImageRepository
from services.gateway.store.interventions import PauseMode
from services.gateway.store.requests import RequestKey, RequestRepository
from services.gateway.store.run_state import Begun
from services.gateway.store.sessions import FullSession, Revision, SessionRepository

log = get_logger(__name__)


@dataclass(frozen=True)
class Catalog:
    """Who knows which metrics, models and strategies there are."""

    generator: GeneratorPort
    refiner: RefinerPort
    scoring: Scoring
    profile: Profile


class SessionService:
    """What callers do with sessions. Every error is of the tree in services.common.errors."""

    def __init__(
        self,
        sessions: SessionRepository,
        images: ImageRepository,
        requests: RequestRepository,
        runner: LoopRunner,
        watcher: Watcher,
        catalog: Catalog,
    ) -> None:
        self._sessions = sessions
        self._images = images
        self._requests = requests
        self._runner = runner
        self._watcher = watcher
        self._catalog = catalog

    async def create(
        self,
        tenant_id: str,
        *,
        target_data: bytes | None,
        target_hash: str,
        asked: SettingsInput,
        display_name: str,
        key: RequestKey | None,
    ) -> domain.Session:
        """Creates a session; nothing is stored unless everything is valid.

        Args:
            tenant_id: Whose it is to be.
            target_data: Encoded target, or None.
            target_hash: Content hash of a stored picture, used if there are no bytes.
            asked: Settings.
            display_name: Free text, at most 200 characters.
            key: Request id, or None.
        """
        if (stored := await self._requests.find(key)) is not None:
            return decode(domain.Session, stored)
        most = validation.MAX_DISPLAY_NAME_CHARACTERS
        validation.text("display_name", display_name, most=most, required=False)
        if target_data is None:
            found = validation.content_hash("target.content_hash", target_hash)
            target = await self._images.find(tenant_id, found, field="target.content_hash")
        else:
            target = await image_info(target_data, field="target")
        metrics, models = await asyncio.gather(self._catalog.scoring.metrics(), self._catalog.generator.list_models())
        settings = validation.session_settings(asked, self._catalog.profile.defaults, metrics, models)
        now = datetime.now(UTC)
        session = domain.Session(
            id=uuid.uuid4().hex,
            display_name=display_name,
            target=target,
            settings=settings,
            state=domain.SessionState.WAITING,
            create_time=now,
            update_time=now,
            tenant_id=tenant_id,
        )
        return await self._sessions.create(session, target_data, key)

    async def get(self, tenant_id: str, session_id: str) -> FullSession:
        """A session with rounds and rankings."""
        return await self._sessions.get_full(tenant_id, session_id)

    async def shows_scores(self, tenant_id: str, session_id: str) -> bool:
        """Whether the session's scores are sent to callers."""
        return (await self._sessions.get(tenant_id, session_id)).settings.show_scores

    async def list_page(self, tenant_id: str, page_size: int, page_token: str) -> tuple[list[domain.Session], str]:
        """A page of sessions, newest first, and the token of the next page ("" on the last)."""
        size = validation.page_size(page_size)
        # One more than the page tells whether there is a next one.
        found = await self._sessions.list_page(tenant_id, size + 1, tokens.decode_page_token(page_token))
        page = found[:size]
        token = tokens.encode_page_token(page[-1].create_time, page[-1].id) if len(found) > size else ""
        return page, token

    async def delete(self, tenant_id: str, session_id: str, key: RequestKey | None = None) -> None:
        """Deletes a session, cancelling it first, and the pictures that nothing else uses."""
        while True:
            try:
                hashes = await self._sessions.delete(tenant_id, session_id, key)
                break
            except PreconditionError:
                with suppress(PreconditionError):
                    await self.cancel(tenant_id, session_id)
        try:
            await self._images.collect(tenant_id, hashes)
        except LikenessError as error:
            # The session is gone; the runner's housekeeping collects its pictures later.
            log.warning("collect_failed", reason=error.reason.value)

    async def submit_prompt(
        self, tenant_id: str, session_id: str, prompt: str, image_count: int | None, key: RequestKey | None
    ) -> AsyncIterator[domain.SessionEvent]:
        """Starts a round for a person's prompt and follows it until the session stops running.

        The round goes on if the caller leaves. A repeated call follows the round that the first one started.
        """
        count = validation.image_count(image_count)
        loop = domain.LoopSettings(
            strategy=HUMAN,
            rounds=1,
            candidates=count,
            image_budget=count,
            first_prompt=validation.text("prompt", prompt),
        )
        begun = await self._runner.begin(tenant_id, session_id, loop, key)
        async for event in self._watcher.follow(tenant_id, session_id, begun.sequence - 1, live=True):
            yield event
            if event.sequence > begun.sequence and is_end(event):
                return

    async def start_loop(
        self, tenant_id: str, session_id: str, asked: LoopInput, key: RequestKey | None
    ) -> domain.Session:
        """Starts an automatic loop; returns the session, running."""
        if (stored := await self._requests.find(key)) is not None:
            return decode(Begun, stored).session
        session = await self._sessions.get(tenant_id, session_id)
        strategies = await self._catalog.refiner.list_strategies()
        loop = validation.loop_settings(asked, self._catalog.profile.defaults, strategies)
        return (await self._runner.begin(tenant_id, session.id, loop, key)).session

    async def cancel(self, tenant_id: str, session_id: str, key: RequestKey | None = None) -> domain.Session:
        """Cancels what the session runs and waits for its end; returns the session, no longer running."""
        return await self._ended(tenant_id, await self._runner.request_cancel(tenant_id, session_id, key))

    async def pause(
        self, tenant_id: str, session_id: str, mode: PauseMode, key: RequestKey | None = None
    ) -> domain.Session:
        """Stops the session's loop for a person and waits until it stands; returns the session, no longer running."""
        return await self._ended(tenant_id, await self._runner.request_pause(tenant_id, session_id, mode, key))

    async def resume(self, tenant_id: str, session_id: str, key: RequestKey | None = None) -> domain.Session:
        """Goes on with the paused loop; returns the session, running."""
        return (await self._runner.resume(tenant_id, session_id, key)).session

    async def _ended(self, tenant_id: str, asked: Begun) -> domain.Session:
        """The session as it was at its first end after this: the same for each call with the same request id."""
        session_id = asked.session.id
        with suppress(OutOfRangeError):
            async for event in self._watcher.follow(tenant_id, session_id, asked.sequence):
                if is_end(event):
                    return (await self._watcher.snapshot(tenant_id, session_id, event.sequence)).session
        return await self._sessions.get(tenant_id, session_id)

    async def submit_feedback(
        self,
        tenant_id: str,
        session_id: str,
        words: str,
        aspect: domain.Aspect | None,
        candidate_id: str,
        key: RequestKey | None,
    ) -> Revision:
        """Records feedback and revises a prompt by it; the next loop starts from the revised prompt."""
        if (stored := await self._requests.find(key)) is not None:
            return decode(Revision, stored)
        feedback = domain.Feedback(validation.text("text", words), aspect)
        full = await self._sessions.get_full(tenant_id, session_id)
        if full.session.state is domain.SessionState.RUNNING:
            raise PreconditionError(Reason.SESSION_BUSY, "the session is running", field="name")
        prompt = _prompt_of(full, candidate_id)
        revision = Revision("", ())
        if prompt:
            paused = full.session.paused
            strategy = paused.settings.strategy if paused else self._catalog.profile.defaults.strategy
            revised = await self._catalog.refiner.revise(
                strategy, prompt, feedback, request_id=f"{session_id}-feedback"
            )
            revision = Revision(*storable(revised))
        return await self._sessions.add_feedback(tenant_id, session_id, feedback, revision, key)

    async def rank(
        self, tenant_id: str, session_id: str, candidate_ids: Sequence[str], key: RequestKey | None
    ) -> domain.Ranking:
        """Records an order of candidates."""
        return await self._sessions.add_ranking(tenant_id, session_id, validation.candidate_order(candidate_ids), key)

    async def snapshot(self, tenant_id: str, session_id: str, sequence: int) -> History:
        """The session as it was at a position of its log."""
        return await self._watcher.snapshot(tenant_id, session_id, sequence)

    def follow(
        self, tenant_id: str, session_id: str, sequence: int, *, until_idle: bool
    ) -> AsyncIterator[domain.SessionEvent]:
        """Events after a position, then live ones."""
        return self._watcher.follow(tenant_id, session_id, sequence, until_idle=until_idle, live=True)


def is_end(event: domain.SessionEvent) -> bool:
    """Whether the event says that the session stopped running."""
    return isinstance(event.body, domain.StateChanged) and event.body.state is not domain.SessionState.RUNNING


def _prompt_of(full: FullSession, candidate_id: str) -> str:
    if not candidate_id:
        return full.session.best.prompt if full.session.best else ""
    for each in full.rounds:
        for one in each.candidates:
            if one.id == candidate_id:
                return one.prompt
    raise NotFoundError(Reason.CANDIDATE_NOT_FOUND, "candidate", candidate_id, field="candidate_id")
