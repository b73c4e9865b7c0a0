"""Calls to one backend: deadline, metadata, error mapping, and retries where repeating is safe.

Backends send their own errors as JSON in the details. An error without it was not written by a backend: the proxy or
the connection is gone, or the replica died under the call. Those are worth another try, a backend's answer is not,
unless it says so itself with a retry delay.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TypeVar

import grpc

from services.common import telemetry, tracing
from services.common.errors import InvalidInputError, LikenessError, OverloadedError, Reason, UnavailableError
from services.common.grpc_errors import from_status
from services.common.settings import MAX_MESSAGE_BYTES, MEBIBYTE
from services.gateway import deadline
from services.gateway.backends.channel import metadata, open_channel

DEFAULT_TIMEOUT_SECONDS = 120.0
RETRY_WINDOW_SECONDS = 10.0
"""How long a backend that cannot be reached is tried; a proxy that restarts is back by then."""
FIRST_WAIT_SECONDS = 0.1
MAX_WAIT_SECONDS = 2.0
MAX_CRASH_RETRIES = 2
"""A replica that dies under a call may die of it: the same request is not fed to every new replica."""
MIN_TRY_SECONDS = 0.25
"""A call is not tried again with less time than this: it would end by its deadline, which hides what was wrong."""
PROXY_FULL_SECONDS = 1.0
"""When to try again if the proxy lets no more calls in. It does not say: its queue moves with every call that ends."""

Request = TypeVar("Request")
Response = TypeVar("Response")

log = telemetry.get_logger(__name__)
_seconds = telemetry.histogram(
    "likeness_gateway_backend_seconds", "Latency of one try of a backend call.", ("backend", "method", "code")
)
_retries = telemetry.counter("likeness_gateway_backend_retries", "Backend calls tried again.", ("backend", "method"))


class Backend:
    """One Serve application at an address."""

    def __init__(self, application: str, address: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self.application = application
        self.channel = open_channel(address)
        self._timeout_seconds = timeout_seconds

    async def close(self) -> None:
        """Ends running calls and closes the connection."""
        await self.channel.close(grace=None)

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        name: str,
        request_id: str = "",
        timeout_seconds: float | None = None,
        retry: bool = True,
    ) -> Response:
        """Response of an idempotent call, tried again while that is safe and the deadline allows it.

        Raises:
            LikenessError: the backend's own error, or UnavailableError(BACKEND_UNAVAILABLE). DeadlineError only where
                the time ran out during a call, not because too little of it was left for another try.
        """
        expires = time.monotonic() + deadline.capped(timeout_seconds or self._timeout_seconds)
        give_up = min(expires - MIN_TRY_SECONDS, time.monotonic() + RETRY_WINDOW_SECONDS)
        tries = crashes = 0
        while True:
            left = max(expires - time.monotonic(), 0.001)
            try:
                with self._timed(name) as span:
                    pairs = metadata(self.application, request_id, span)
                    return await method(request, timeout=left, metadata=pairs)
            except grpc.aio.AioRpcError as failure:
                error = self._error(failure)
                crashes += failure.code() is grpc.StatusCode.INTERNAL
                wait = _wait_seconds(tries, error)
                hopeless = not retry or not _repeatable(failure, error) or crashes > MAX_CRASH_RETRIES
                if hopeless or time.monotonic() + wait >= give_up:
                    raise error from failure
            tries += 1
            _retries.labels(self.application, name).inc()
            log.info("backend_retry", backend=self.application, method=name, code=error.code, tries=tries)
            await asyncio.sleep(wait)

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        name: str,
        request_id: str,
        timeout_seconds: float,
    ) -> AsyncIterator[Response]:
        """Responses of a streaming call, never retried here. Closing the iterator cancels the call.

        Raises:
            LikenessError: as `unary`.
        """
        timeout = deadline.capped(timeout_seconds)
        timer = self._timed(name)
        call = method(request, timeout=timeout, metadata=metadata(self.application, request_id, timer.span))
        try:
            with timer:
                async for response in call:
                    yield response
        except grpc.aio.AioRpcError as failure:
            raise self._error(failure) from failure
        finally:
            # Does nothing to a call that has ended.
            call.cancel()

    def _timed(self, name: str) -> _Timer:
        return _Timer(self.application, name)

    def _error(self, failure: grpc.aio.AioRpcError) -> LikenessError:
        code, details = failure.code(), failure.details() or ""
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
            limit = f"at most {MAX_MESSAGE_BYTES // MEBIBYTE} MiB in one message"
            return InvalidInputError("request", f"is too large for the {self.application}", allowed=limit)
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and not _is_ours(failure):
            message = f"{self.application}: too many calls wait for a replica"
            return OverloadedError(Reason.QUEUE_FULL, message, retry_after_seconds=PROXY_FULL_SECONDS)
        if code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED) and not _is_ours(failure):
            # The proxy answers, the application is not deployed (yet).
            return UnavailableError(Reason.BACKEND_UNAVAILABLE, f"{self.application}: not deployed")
        if code is grpc.StatusCode.INTERNAL and not _is_ours(failure):
            message = f"{self.application}: failed while it worked on the request"
            return UnavailableError(Reason.BACKEND_UNAVAILABLE, message)
        return from_status(code, details, backend=self.application)


class _Timer:
    """Records one try's latency under the status that gRPC gave it, and its span."""

    def __init__(self, backend: str, method: str) -> None:
        self._labels = (backend, method)
        self._start = time.perf_counter()
        full = f"likeness.{backend}.v1.{backend.capitalize()}Service/{method}"
        # Not the current span: a stream's reader does other things between two responses.
        self.span = tracing.begin(full, kind="client", attributes=tracing.rpc_attributes(full))

    def __enter__(self) -> tracing.Span:
        return self.span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        code = "OK"
        if isinstance(error, grpc.aio.AioRpcError):
            code = error.code().name
        elif error is not None:
            code = "CANCELLED"
        _seconds.labels(*self._labels, code).observe(time.perf_counter() - self._start)
        self.span.answered(code)
        if error is not None:
            self.span.failed(error)
        self.span.end()


def _is_ours(failure: grpc.aio.AioRpcError) -> bool:
    with suppress(ValueError, TypeError):
        return "reason" in json.loads(failure.details() or "")
    return False


def _repeatable(failure: grpc.aio.AioRpcError, error: LikenessError) -> bool:
    if failure.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL):
        return False
    return not _is_ours(failure) or error.retry_after_seconds is not None


def _wait_seconds(tries: int, error: LikenessError) -> float:
    wait = min(FIRST_WAIT_SECONDS * 2.0**tries, MAX_WAIT_SECONDS)
    return max(wait * random.uniform(0.8, 1.2), error.retry_after_seconds or 0.0)
