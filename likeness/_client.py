"""The sync client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, Unpack

import grpc
from google.protobuf.message import Message

from likeness import _regeneration
from likeness import _types as t
from likeness._admin_methods import AdminMethods
from likeness._call import Call, Result
from likeness._catalog_methods import CatalogMethods
from likeness._channel import DEFAULT_ADDRESS, OPTIONS, Metadata, Tls
from likeness._errors import LikenessError, from_rpc_error
from likeness._evaluation_methods import EvaluationMethods
from likeness._evaluation_stream_methods import EvaluationStreamMethods
from likeness._events import Event
from likeness._generation_methods import GenerationMethods
from likeness._image_methods import ImageMethods
from likeness._loop_methods import LoopMethods
from likeness._options import RegenerationOptions, split
from likeness._profile_methods import ProfileMethods
from likeness._race_methods import RaceMethods
from likeness._retry import RetryPolicy
from likeness._session_methods import SessionMethods


class Client(
    SessionMethods,
    LoopMethods,
    ImageMethods,
    ProfileMethods,
    GenerationMethods,
    RaceMethods,
    EvaluationMethods,
    EvaluationStreamMethods,
    CatalogMethods,
    AdminMethods,
):
    """A connection to a Likeness gateway; safe to use from several threads.

        with Client() as client:
            result = client.regenerate("picture.png", rounds=4)
            print(result.prompt)
            result.best_image.show()

    Calls raise the exceptions of the tree in `likeness.LikenessError`'s module. Reads, and writes that carry a request
    id, are repeated by `retry` when the gateway is unavailable.

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
            grpc.insecure_channel(address, options=OPTIONS)
            if tls is None
            else grpc.secure_channel(address, tls.credentials(), options=OPTIONS)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        self._channel.close()

    def regenerate(
        self,
        target: t.ImageSource,
        *,
        on_event: Callable[[Event], None] | None = None,
        **options: Unpack[RegenerationOptions],
    ) -> t.RegenerationResult:
        """Creates a session, runs a loop to its end, and returns the best picture with its prompt.

        If the wait is left by an exception (Ctrl-C too), the loop is cancelled; what it made stays. A loop that
        somebody pauses is waited for until it is resumed and ends, or cancelled.

        Args:
            target: Picture to regenerate.
            on_event: Called with every event, the snapshot first.
            options: Those of `SessionOptions` and `LoopOptions`.

        Raises:
            LoopFailed: The loop ended in a failure.
            Cancelled: Somebody stopped the loop before it had a picture.
        """
        session_options, loop_options = split(options)
        session = self.create_session(target, **session_options)
        try:
            self.start_loop(session, **loop_options)
            for event in self.watch(session):
                if on_event is not None:
                    on_event(event)
                if _regeneration.is_over(event):
                    break
        except BaseException:
            self._cancel_quietly(session)
            raise
        details = self.get_session(session)
        best = _regeneration.best_of(details.session)
        return t.RegenerationResult(
            details.session, details.rounds, best, self.get_image_bytes(_regeneration.image_of(best))
        )

    def _run(self, call: Call[Result]) -> Result:
        invoke = self._channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        deadline, failures = time.monotonic() + self._timeout_seconds, 0
        while True:
            left = max(deadline - time.monotonic(), 0.001)
            try:
                return call.convert(invoke(call.request, timeout=left, metadata=self._metadata(call)))
            except grpc.RpcError as failure:
                error = from_rpc_error(failure, request_id=call.request_id, address=self.address)
                failures += 1
                delay = self._retry.delay_seconds(error, failures) if call.repeatable else None
                if delay is None or time.monotonic() + delay >= deadline:
                    raise error from None
                time.sleep(delay)

    def _stream(self, call: Call[Result], *, timeout_seconds: float | None = None) -> Iterator[Result]:
        invoke = self._channel.unary_stream(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        answers = invoke(call.request, timeout=timeout_seconds, metadata=self._metadata(call))
        try:
            for answer in answers:
                yield call.convert(answer)
        except grpc.RpcError as failure:
            raise from_rpc_error(failure, request_id=call.request_id, address=self.address) from None
        finally:
            answers.cancel()

    def _exchange(self, call: Call[Result], requests: Iterator[Message]) -> Iterator[Result]:
        invoke = self._channel.stream_stream(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        answers = invoke(requests, metadata=self._metadata(call))
        try:
            for answer in answers:
                yield call.convert(answer)
        except grpc.RpcError as failure:
            raise from_rpc_error(failure, request_id=call.request_id, address=self.address) from None
        finally:
            answers.cancel()

    def _cancel_quietly(self, session: t.Session) -> None:
        """Stops the loop if it still runs; the exception under way matters more than a failure to do so."""
        try:
            self.cancel_loop(session)
        except LikenessError:
            return
