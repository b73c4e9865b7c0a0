"""The async client: the same calls on grpc.aio."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self, Unpack

import grpc
from google.protobuf.message import Message

from likeness import _regeneration
from likeness import _types as t
from likeness._admin_methods import AsyncAdminMethods
from likeness._call import Call, Result
from likeness._catalog_methods import AsyncCatalogMethods
from likeness._channel import DEFAULT_ADDRESS, OPTIONS, Metadata, Tls
from likeness._errors import LikenessError, from_rpc_error
from likeness._evaluation_methods import AsyncEvaluationMethods
from likeness._evaluation_stream_methods import AsyncEvaluationStreamMethods
from likeness._events import Event
from likeness._generation_methods import AsyncGenerationMethods
from likeness._image_methods import AsyncImageMethods
from likeness._loop_methods import AsyncLoopMethods
from likeness._options import RegenerationOptions, split
from likeness._profile_methods import AsyncProfileMethods
from likeness._race_methods import AsyncRaceMethods
from likeness._retry import RetryPolicy
from likeness._session_methods import AsyncSessionMethods


class AsyncClient(
    AsyncSessionMethods,
    AsyncLoopMethods,
    AsyncImageMethods,
    AsyncProfileMethods,
    AsyncGenerationMethods,
    AsyncRaceMethods,
    AsyncEvaluationMethods,
    AsyncEvaluationStreamMethods,
    AsyncCatalogMethods,
    AsyncAdminMethods,
):
    """`Client` for asyncio: the same methods as coroutines and async iterators.

        async with AsyncClient() as client:
            result = await client.regenerate("picture.png", rounds=4)

    Args:
        address: host:port of the gateway.
        tls: Set for an encrypted connection; None means what the environment says (`Tls.from_environment`).
        api_key: Key of the tenant to act for; None means LIKENESS_API_KEY, if that is set.
        timeout_seconds: Deadline of a call, all attempts together. Watches have none.
        retry: When a failed call is made again.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tls: Tls | None = None,
        api_key: str | None = None,
        timeout_seconds: float = 120.0,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.address = address
        self._metadata = Metadata(api_key)
        tls = tls or Tls.from_environment()
        self._timeout_seconds = timeout_seconds
        self._retry = retry or RetryPolicy()
        self._channel = (
            grpc.aio.insecure_channel(address, options=OPTIONS)
            if tls is None
            else grpc.aio.secure_channel(address, tls.credentials(), options=OPTIONS)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        await self._channel.close()

    async def regenerate(
        self,
        target: t.ImageSource,
        *,
        on_event: Callable[[Event], Awaitable[None] | None] | None = None,
        **options: Unpack[RegenerationOptions],
    ) -> t.RegenerationResult:
        """Creates a session, runs a loop to its end, and returns the best picture with its prompt.

        If the wait is left by an exception (a cancelled task too), the loop is cancelled; what it made stays. A loop
        that somebody pauses is waited for until it is resumed and ends, or cancelled.

        Args:
            target: Picture to regenerate.
            on_event: Called with every event, the snapshot first; may be a coroutine function.
            options: Those of `SessionOptions` and `LoopOptions`.

        Raises:
            LoopFailed: The loop ended in a failure.
            Cancelled: Somebody stopped the loop before it had a picture.
        """
        session_options, loop_options = split(options)
        session = await self.create_session(target, **session_options)
        try:
            await self.start_loop(session, **loop_options)
            async for event in self.watch(session):
                if on_event is not None:
                    answer = on_event(event)
                    if inspect.isawaitable(answer):
                        await answer
                if _regeneration.is_over(event):
                    break
        except BaseException:
            await asyncio.shield(self._cancel_quietly(session))
            raise
        details = await self.get_session(session)
        best = _regeneration.best_of(details.session)
        png = await self.get_image_bytes(_regeneration.image_of(best))
        return t.RegenerationResult(details.session, details.rounds, best, png)

    async def _run(self, call: Call[Result]) -> Result:
        invoke = self._channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        deadline, failures = time.monotonic() + self._timeout_seconds, 0
        while True:
            left = max(deadline - time.monotonic(), 0.001)
            try:
                return call.convert(await invoke(call.request, timeout=left, metadata=self._metadata(call)))
            except grpc.RpcError as failure:
                error = from_rpc_error(failure, request_id=call.request_id, address=self.address)
                failures += 1
                delay = self._retry.delay_seconds(error, failures) if call.repeatable else None
                if delay is None or time.monotonic() + delay >= deadline:
                    raise error from None
                await asyncio.sleep(delay)

    async def _stream(
        self, call: Call[Result], *, timeout_seconds: float | None = None
    ) -> AsyncGenerator[Result, None]:
        invoke = self._channel.unary_stream(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        answers = invoke(call.request, timeout=timeout_seconds, metadata=self._metadata(call))
        try:
            async for answer in answers:
                yield call.convert(answer)
        except grpc.RpcError as failure:
            raise from_rpc_error(failure, request_id=call.request_id, address=self.address) from None
        finally:
            answers.cancel()

    async def _exchange(self, call: Call[Result], requests: AsyncIterator[Message]) -> AsyncGenerator[Result, None]:
        invoke = self._channel.stream_stream(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        stream = invoke(metadata=self._metadata(call))

        async def send() -> None:
            async for request in requests:
                await stream.write(request)
            await stream.done_writing()

        # Not gRPC's own reader of an iterator: that one waits for requests even when the call is over.
        sending = asyncio.create_task(send())
        try:
            while (answer := await stream.read()) is not grpc.aio.EOF:
                yield call.convert(answer)
        except grpc.RpcError as failure:
            raise from_rpc_error(failure, request_id=call.request_id, address=self.address) from None
        finally:
            stream.cancel()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _cancel_quietly(self, session: t.Session) -> None:
        """Stops the loop if it still runs; the exception under way matters more than a failure to do so."""
        try:
            await self.cancel_loop(session)
        except LikenessError:
            return
