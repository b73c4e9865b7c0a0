"""Failures that the test gateway plays: a queue of them per RPC."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status


@dataclass(frozen=True)
class Fault:
    """A failed answer.

    Attributes:
        after_events: On a stream: answers sent before it breaks.
        reason: ErrorInfo.reason; "" sends a bare status, as a broken connection does.
        after_effect: On a unary call: the work is done, then the answer is lost.
    """

    code: grpc.StatusCode
    reason: str = ""
    message: str = "made to fail"
    field: str = ""
    retry_after_seconds: float | None = None
    after_events: int = 0
    after_effect: bool = False


class Faults:
    """Faults to come, per method name, and how often each method was called."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Fault]] = defaultdict(deque)
        self.calls: dict[str, int] = defaultdict(int)
        self.metadata: dict[str, dict[str, str]] = {}

    def add(self, method: str, *faults: Fault) -> None:
        """The next calls of the method fail, one fault each."""
        self._queues[method].extend(faults)

    def next(self, method: str, context: grpc.aio.ServicerContext) -> Fault | None:
        """Counts a call and returns its fault, if any."""
        self.calls[method] += 1
        self.metadata[method] = {key: str(value) for key, value in context.invocation_metadata() or ()}
        return self._queues[method].popleft() if self._queues[method] else None


async def fail(context: grpc.aio.ServicerContext, fault: Fault) -> None:
    """Aborts the call as the real gateway does, with google.rpc details."""
    if not fault.reason:
        await context.abort(fault.code, fault.message)
    details = [error_details_pb2.ErrorInfo(reason=fault.reason, domain="likeness", metadata={"kind": "test"})]
    if fault.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=fault.field, description=fault.message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if fault.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(fault.retry_after_seconds * 1000))
        details.append(retry)
    status = status_pb2.Status(code=code_pb2.Code.Value(fault.code.name), message=fault.message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    await context.abort_with_status(rpc_status.to_status(status))
