"""The sync client."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self, Unpack

import grpc
from google.protobuf.message import Message
from PIL import Image

from likeness import _calls, _regeneration
from likeness import _types as t
from likeness._admin_methods import AdminMethods
from likeness._call import Call, Result
from likeness._channel import DEFAULT_ADDRESS, OPTIONS, Metadata, Tls
from likeness._errors import LikenessError, from_rpc_error
from likeness._evaluation_methods import EvaluationMethods
from likeness._evaluation_stream_methods import EvaluationStreamMethods
from likeness._events import Event
from likeness._following import Follower
from likeness._generation_methods import GenerationMethods
from likeness._loop_methods import LoopMethods
from likeness._options import RegenerationOptions, SessionOptions, split
from likeness._profile_methods import ProfileMethods
from likeness._race_methods import RaceMethods
from likeness._retry import RetryPolicy
from likeness.gateway.v1 import session_pb2


class Client(
    LoopMethods,
    ProfileMethods,
    GenerationMethods,
    RaceMethods,
    EvaluationMethods,
    EvaluationStreamMethods,
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

    # Sessions

    def create_session(self, target: t.ImageSource, **options: Unpack[SessionOptions]) -> t.Session:
        """Creates a session for a target picture; keyword arguments are those of `SessionOptions`."""
        return self._run(_calls.create_session(target, options))

    def get_session(self, session: t.Session | str) -> t.SessionDetails:
        """The session with its rounds and rankings."""
        return self._run(_calls.get_session(session))

    def list_sessions(self, *, page_size: int = 0) -> Iterator[t.Session]:
        """All sessions, newest first; pages are fetched as they are needed. 0 means the server's page size."""
        token = ""
        while True:
            page, token = self._run(_calls.list_sessions(page_size, token))
            yield from page
            if not token:
                return

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

    # Pictures

    def upload_image(self, source: t.ImageSource) -> t.ImageInfo:
        """Stores a picture. Uploading the same bytes again is free."""
        return self._run(_calls.upload_image(source))

    def get_image(self, picture: t.ImageInfo | str) -> Image.Image:
        """A stored picture, by its info or content hash."""
        image = Image.open(io.BytesIO(self.get_image_bytes(picture)))
        image.load()
        return image

    def get_image_bytes(self, picture: t.ImageInfo | str) -> bytes:
        """The stored bytes of a picture as they are, text chunks included."""
        return self._run(_calls.get_image(picture))

    def score(
        self,
        target: t.ImageSource | None,
        candidates: Sequence[t.ImageSource],
        *,
        text: str = "",
        metrics: Sequence[str] = (),
    ) -> tuple[t.ImageScores, ...]:
        """Scores candidates against a target and/or a text, in order, without storing them. A bad one fails alone."""
        return self._run(_calls.score(target, candidates, text, metrics))

    # Catalogue

    def models(self) -> t.ModelList:
        """Models of all services."""
        return self._run(_calls.models())

    def metrics(self) -> tuple[t.Metric, ...]:
        """Metrics of the deployment."""
        return self._run(_calls.metrics())

    def absent_metrics(self) -> tuple[t.AbsentMetric, ...]:
        """Metrics that the deployment knows and cannot compute, such as one without weights."""
        return self._run(_calls.absent_metrics())

    def strategies(self) -> tuple[t.Strategy, ...]:
        """Strategies of the deployment, the default first."""
        return self._run(_calls.strategies())

    def status(self) -> t.Status:
        """State of the gateway and of everything that it needs."""
        return self._run(_calls.status())

    # Running calls

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

    def _follow(self, follower: Follower, next_call: Callable[[], Call[session_pb2.SessionEvent]]) -> Iterator[Event]:
        while True:
            call = next_call()
            try:
                for message in self._stream(call):
                    event = follower.accept(message)
                    if event is not None:
                        yield event
                return
            except LikenessError as error:
                delay = follower.delay_seconds(error)
                if delay is None:
                    raise
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
