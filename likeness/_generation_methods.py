"""Pictures from a prompt, for both clients. The call is made again only before its first event: none comes twice."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import TypeVar, Unpack

from likeness import _calls
from likeness import _types as t
from likeness._calling import AsyncCalling, Calling
from likeness._errors import LikenessError
from likeness._options import GenerationOptions

Event = TypeVar("Event")


class GenerationMethods(Calling):
    """Generation for the sync client."""

    def generate(
        self,
        prompt: str,
        *,
        on_progress: Callable[[t.GenerationProgress], None] | None = None,
        on_preview: Callable[[t.GenerationPreview], None] | None = None,
        **options: Unpack[GenerationOptions],
    ) -> tuple[t.GeneratedImage, ...]:
        """Makes pictures from a prompt, outside any session; returns them in the order of their seeds.

            for made in client.generate("a red star", count=4, seed=1):
                print(made.seed, made.error or made.info)

        One that fails leaves the others: its `error` says why. If the wait is left by an exception (Ctrl-C too), the
        denoising stops.

        Args:
            prompt: 1 to 2,000 characters.
            on_progress: Called while pictures wait and after denoising steps.
            on_preview: Called with pictures as they stand, if `preview_every` asks for them.
            options: Those of `GenerationOptions`.

        Raises:
            InvalidArgument: A value is not allowed; `field` says which.
            NotFound: There is no such model, or no such picture to start from.
            OSError: A file of the options cannot be read.
            DeadlineExceeded: Not all pictures were done in the client's `timeout_seconds`.
        """
        made = []
        for event in self.generate_events(prompt, **options):
            match event:
                case t.GeneratedImage():
                    made.append(event)
                case t.GenerationPreview():
                    if on_preview is not None:
                        on_preview(event)
                case t.GenerationProgress():
                    if on_progress is not None:
                        on_progress(event)
        return tuple(sorted(made, key=_number))

    def generate_events(self, prompt: str, **options: Unpack[GenerationOptions]) -> Iterator[t.GenerationEvent]:
        """As `generate`, but yields progress, previews and pictures as they come.

        Leaving the iterator stops the denoising.
        """
        call = _calls.generate_images(prompt, options)
        deadline, failures = time.monotonic() + self._timeout_seconds, 0
        while True:
            answered = False
            try:
                for event in self._stream(call, timeout_seconds=_left(deadline)):
                    answered = True
                    if event is not None:
                        yield event
                return
            except LikenessError as error:
                failures += 1
                delay = None if answered else self._retry.delay_seconds(error, failures)
                if delay is None or time.monotonic() + delay >= deadline:
                    raise
            time.sleep(delay)


class AsyncGenerationMethods(AsyncCalling):
    """Generation for the async client."""

    async def generate(
        self,
        prompt: str,
        *,
        on_progress: Callable[[t.GenerationProgress], Awaitable[None] | None] | None = None,
        on_preview: Callable[[t.GenerationPreview], Awaitable[None] | None] | None = None,
        **options: Unpack[GenerationOptions],
    ) -> tuple[t.GeneratedImage, ...]:
        """As `Client.generate`; `on_progress` and `on_preview` may be coroutine functions."""
        made = []
        async with aclosing(self.generate_events(prompt, **options)) as events:
            async for event in events:
                match event:
                    case t.GeneratedImage():
                        made.append(event)
                    case t.GenerationPreview():
                        await _told(on_preview, event)
                    case t.GenerationProgress():
                        await _told(on_progress, event)
        return tuple(sorted(made, key=_number))

    async def generate_events(
        self, prompt: str, **options: Unpack[GenerationOptions]
    ) -> AsyncGenerator[t.GenerationEvent, None]:
        """As `Client.generate_events`. To stop the denoising at once, close it (`contextlib.aclosing`)."""
        call = _calls.generate_images(prompt, options)
        deadline, failures = time.monotonic() + self._timeout_seconds, 0
        while True:
            answered = False
            try:
                async with aclosing(self._stream(call, timeout_seconds=_left(deadline))) as events:
                    async for event in events:
                        answered = True
                        if event is not None:
                            yield event
                return
            except LikenessError as error:
                failures += 1
                delay = None if answered else self._retry.delay_seconds(error, failures)
                if delay is None or time.monotonic() + delay >= deadline:
                    raise
            await asyncio.sleep(delay)


async def _told(listener: Callable[[Event], Awaitable[None] | None] | None, event: Event) -> None:
    answer = None if listener is None else listener(event)
    if inspect.isawaitable(answer):
        await answer


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)


def _number(made: t.GeneratedImage) -> int:
    return made.number
