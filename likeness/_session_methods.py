"""Sessions, their rounds and events, for both clients. A watch that breaks off is mended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Unpack

from likeness import _calls
from likeness import _types as t
from likeness._call import Call
from likeness._calling import AsyncCalling, Calling
from likeness._events import Event
from likeness._following import Follower
from likeness._options import SessionOptions
from likeness.gateway.v1 import session_pb2


class SessionMethods(Calling):
    """Sessions for the sync client."""

    def create_session(self, target: t.ImageSource, **options: Unpack[SessionOptions]) -> t.Session:
        """Creates a session for a target picture; keyword arguments are those of `SessionOptions`."""
        return self._run(_calls.create_session(target, options))

    def get_session(self, session: t.Session | str) -> t.SessionDetails:
        """The session with its rounds and rankings."""
        return self._run(_calls.get_session(session))

    def list_sessions(self, *, page_size: int = 0) -> Iterator[t.Session]:
        """All sessions, newest first; pages are fetched as they are needed. 0 means the server's page size."""
        return self._pages(lambda token: _calls.list_sessions(page_size, token))

    def delete_session(self, session: t.Session | str) -> None:
        """Deletes a session with its rounds and events; a running loop is cancelled first."""
        self._run(_calls.delete_session(session))

    def submit_prompt(
        self, session: t.Session | str, prompt: str, *, image_count: int | None = None
    ) -> Iterator[Event]:
        """Makes and scores pictures for a prompt, and yields events until they are scored.

        The round goes on if the caller leaves the iterator. A broken connection is mended: the rest is watched.
        """
        first = _calls.submit_prompt(session, prompt, image_count)
        follower = Follower("", self._retry)

        def next_call() -> Call[session_pb2.SessionEvent]:
            return _calls.watch(session, follower.cursor, True) if follower.cursor else first

        yield from self._follow(follower, next_call)

    def submit_feedback(
        self, session: t.Session | str, text: str, *, aspect: t.Aspect | None = None, candidate_id: str = ""
    ) -> t.RevisedPrompt:
        """Records feedback and returns the prompt of the candidate (default: the best so far) revised by it."""
        return self._run(_calls.submit_feedback(session, text, aspect, candidate_id))

    def rank_images(self, session: t.Session | str, candidate_ids: Sequence[str]) -> t.Ranking:
        """Records an order of candidates by likeness, most similar first."""
        return self._run(_calls.rank_images(session, candidate_ids))

    def watch(self, session: t.Session | str, *, after_cursor: str = "", until_idle: bool = False) -> Iterator[Event]:
        """Yields a snapshot, then every event after the cursor once and in order, then live ones.

        Reconnects by itself when the gateway goes away for a while. Ends when the session is deleted or, with
        `until_idle`, when it is not running.
        """
        follower = Follower(after_cursor, self._retry)
        yield from self._follow(follower, lambda: _calls.watch(session, follower.cursor, until_idle))

    def _follow(self, follower: Follower, next_call: Callable[[], Call[session_pb2.SessionEvent]]) -> Iterator[Event]:
        for message in self._reopened(next_call, follower):
            event = follower.accept(message)
            if event is not None:
                yield event


class AsyncSessionMethods(AsyncCalling):
    """Sessions for the async client."""

    async def create_session(self, target: t.ImageSource, **options: Unpack[SessionOptions]) -> t.Session:
        """Creates a session for a target picture; keyword arguments are those of `SessionOptions`."""
        return await self._run(_calls.create_session(target, options))

    async def get_session(self, session: t.Session | str) -> t.SessionDetails:
        """The session with its rounds and rankings."""
        return await self._run(_calls.get_session(session))

    def list_sessions(self, *, page_size: int = 0) -> AsyncIterator[t.Session]:
        """All sessions, newest first; pages are fetched as they are needed. 0 means the server's page size."""
        return self._pages(lambda token: _calls.list_sessions(page_size, token))

    async def delete_session(self, session: t.Session | str) -> None:
        """Deletes a session with its rounds and events; a running loop is cancelled first."""
        await self._run(_calls.delete_session(session))

    def submit_prompt(
        self, session: t.Session | str, prompt: str, *, image_count: int | None = None
    ) -> AsyncIterator[Event]:
        """Makes and scores pictures for a prompt, and yields events until they are scored.

        The round goes on if the caller leaves the iterator. A broken connection is mended: the rest is watched.
        """
        first = _calls.submit_prompt(session, prompt, image_count)
        follower = Follower("", self._retry)

        def next_call() -> Call[session_pb2.SessionEvent]:
            return _calls.watch(session, follower.cursor, True) if follower.cursor else first

        return self._follow(follower, next_call)

    async def submit_feedback(
        self, session: t.Session | str, text: str, *, aspect: t.Aspect | None = None, candidate_id: str = ""
    ) -> t.RevisedPrompt:
        """Records feedback and returns the prompt of the candidate (default: the best so far) revised by it."""
        return await self._run(_calls.submit_feedback(session, text, aspect, candidate_id))

    async def rank_images(self, session: t.Session | str, candidate_ids: Sequence[str]) -> t.Ranking:
        """Records an order of candidates by likeness, most similar first."""
        return await self._run(_calls.rank_images(session, candidate_ids))

    def watch(
        self, session: t.Session | str, *, after_cursor: str = "", until_idle: bool = False
    ) -> AsyncIterator[Event]:
        """Yields a snapshot, then every event after the cursor once and in order, then live ones.

        Reconnects by itself when the gateway goes away for a while. Ends when the session is deleted or, with
        `until_idle`, when it is not running.
        """
        follower = Follower(after_cursor, self._retry)
        return self._follow(follower, lambda: _calls.watch(session, follower.cursor, until_idle))

    async def _follow(
        self, follower: Follower, next_call: Callable[[], Call[session_pb2.SessionEvent]]
    ) -> AsyncIterator[Event]:
        async with aclosing(self._reopened(next_call, follower)) as messages:
            async for message in messages:
                event = follower.accept(message)
                if event is not None:
                    yield event
