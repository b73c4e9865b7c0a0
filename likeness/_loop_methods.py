"""The calls that start, stop and take over loops, which both clients inherit."""

from __future__ import annotations

from typing import Unpack

from likeness import _calls as calls
from likeness import _types as t
from likeness._calling import AsyncCalling, Calling
from likeness._options import LoopOptions


class LoopMethods(Calling):
    """Loops for the sync client."""

    def start_loop(self, session: t.Session | str, **options: Unpack[LoopOptions]) -> t.Session:
        """Starts an automatic loop and returns at once; keyword arguments are those of `LoopOptions`. See `watch`."""
        return self._run(calls.start_loop(session, options))

    def pause_loop(self, session: t.Session | str, *, at_once: bool = False) -> t.Session:
        """Takes over from the session's loop; returns when it stands still.

        Until `resume_loop` you may submit prompts and feedback and rank. With `at_once` the round under way is left
        unfinished; without, it is finished first, and if that takes longer than the client waits, the pause stays asked
        for.
        """
        return self._run(calls.pause_loop(session, at_once))

    def resume_loop(self, session: t.Session | str) -> t.Session:
        """Hands the session back to its paused loop, which goes on from your latest prompt or feedback, if any."""
        return self._run(calls.resume_loop(session))

    def cancel_loop(self, session: t.Session | str) -> t.Session:
        """Stops the loop or round of the session; returns when it is no longer running."""
        return self._run(calls.cancel_loop(session))


class AsyncLoopMethods(AsyncCalling):
    """Loops for the async client."""

    async def start_loop(self, session: t.Session | str, **options: Unpack[LoopOptions]) -> t.Session:
        """Starts an automatic loop and returns at once; keyword arguments are those of `LoopOptions`. See `watch`."""
        return await self._run(calls.start_loop(session, options))

    async def pause_loop(self, session: t.Session | str, *, at_once: bool = False) -> t.Session:
        """Takes over from the session's loop; returns when it stands still.

        Until `resume_loop` you may submit prompts and feedback and rank. With `at_once` the round under way is left
        unfinished; without, it is finished first, and if that takes longer than the client waits, the pause stays asked
        for.
        """
        return await self._run(calls.pause_loop(session, at_once))

    async def resume_loop(self, session: t.Session | str) -> t.Session:
        """Hands the session back to its paused loop, which goes on from your latest prompt or feedback, if any."""
        return await self._run(calls.resume_loop(session))

    async def cancel_loop(self, session: t.Session | str) -> t.Session:
        """Stops the loop or round of the session; returns when it is no longer running."""
        return await self._run(calls.cancel_loop(session))
