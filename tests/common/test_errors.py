"""The error tree, its way through Ray, and its way through gRPC and back."""

from __future__ import annotations

import json
import pickle

import grpc
import pytest
from google.rpc import error_details_pb2

from services.common import errors, grpc_errors
from services.common.errors import (
    ConflictError,
    DeadlineError,
    ImageError,
    InternalError,
    InvalidInputError,
    LikenessError,
    NotFoundError,
    OverloadedError,
    PreconditionError,
    Reason,
    UnavailableError,
)

ALL: list[tuple[LikenessError, grpc.StatusCode]] = [
    (InvalidInputError("text", "is empty", allowed="words"), grpc.StatusCode.INVALID_ARGUMENT),
    (ImageError(Reason.IMAGE_TOO_LARGE, "is huge", field="candidates[3].image"), grpc.StatusCode.INVALID_ARGUMENT),
    (NotFoundError(Reason.METRIC_NOT_FOUND, "metric", "x", field="metrics[0]"), grpc.StatusCode.NOT_FOUND),
    (ConflictError(Reason.REQUEST_ID_REUSED, "used before"), grpc.StatusCode.ALREADY_EXISTS),
    (PreconditionError(Reason.SESSION_BUSY, "busy"), grpc.StatusCode.FAILED_PRECONDITION),
    (OverloadedError(Reason.QUEUE_FULL, "full", retry_after_seconds=1.5), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineError(Reason.DEADLINE_EXCEEDED, "late"), grpc.StatusCode.DEADLINE_EXCEEDED),
    (UnavailableError(Reason.DATABASE_UNAVAILABLE, "gone"), grpc.StatusCode.UNAVAILABLE),
    (errors.CancelledError(), grpc.StatusCode.CANCELLED),
    (errors.OutOfRangeError(Reason.OFFSET_GAP, "items are missing"), grpc.StatusCode.OUT_OF_RANGE),
    (
        errors.LimitError(Reason.QUOTA_EXCEEDED, "used up", subject="tenant:acme", retry_after_seconds=1.5),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ),
    (errors.DamagedObjectError("ab12"), grpc.StatusCode.UNAVAILABLE),
    (InternalError(), grpc.StatusCode.INTERNAL),
]
GATEWAYS_OWN: list[tuple[LikenessError, grpc.StatusCode]] = [
    (errors.UnauthenticatedError(Reason.KEY_MISSING, "no key"), grpc.StatusCode.UNAUTHENTICATED),
    (errors.ForbiddenError(Reason.SCOPE_TOO_NARROW, "too narrow"), grpc.StatusCode.PERMISSION_DENIED),
]
"""No backend asks for keys: such a status from one is a defect."""
KINDS = [type(error).__name__ for error, _ in ALL]


def test_every_class_of_the_tree_is_covered() -> None:
    def below(kind: type[LikenessError]) -> set[type[LikenessError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    assert below(LikenessError) - {LikenessError} == {type(error) for error, _ in (*ALL, *GATEWAYS_OWN)}


@pytest.mark.parametrize(("error", "code"), ALL, ids=KINDS)
def test_code_and_backend_round_trip(error: LikenessError, code: grpc.StatusCode) -> None:
    assert grpc_errors.code_of(error) is code
    back = grpc_errors.from_status(code, grpc_errors.to_detail(error), backend="scorer")
    assert grpc_errors.code_of(back) is code
    assert (back.reason, back.message) == (error.reason, error.message)
    if code is not grpc.StatusCode.CANCELLED:
        assert (back.field, back.retry_after_seconds) == (error.field, error.retry_after_seconds)


@pytest.mark.parametrize(("error", "code"), GATEWAYS_OWN)
def test_no_backend_speaks_of_keys(error: LikenessError, code: grpc.StatusCode) -> None:
    assert grpc_errors.code_of(error) is code
    back = grpc_errors.from_status(code, grpc_errors.to_detail(error), backend="scorer")
    assert isinstance(back, InternalError)


@pytest.mark.parametrize(("error", "code"), ALL, ids=KINDS)
def test_errors_survive_the_way_between_processes(error: LikenessError, code: grpc.StatusCode) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert vars(back) == vars(error)
    assert str(back) == error.message


def test_an_image_error_can_be_blamed_on_another_field() -> None:
    error = ImageError(Reason.IMAGE_ANIMATED, "has 3 frames", allowed="one frame").at("target.image")
    assert error.field == "target.image"
    assert error.message == "target.image: has 3 frames; allowed: one frame"


def test_not_found_names_the_known_ones_and_the_remedy() -> None:
    error = NotFoundError(Reason.MODEL_NOT_FOUND, "model", "x" * 500, known=["b", "a"], hint="run make models")
    assert error.message.endswith("does not exist: run make models; known: a, b")
    assert len(error.metadata["name"]) == 120


@pytest.mark.parametrize(
    "foreign", [None, "", "Traceback: secret path", "[]", "3", '{"reason": "NO_SUCH", "message": "secret"}', '{"a": 1}']
)
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.NOT_FOUND])
def test_text_that_is_not_ours_never_gets_through(foreign: str | None, code: grpc.StatusCode) -> None:
    error = grpc_errors.from_status(code, foreign, backend="scorer")
    assert "secret" not in error.message
    assert error.message


def test_a_proxy_that_is_full_is_a_full_queue() -> None:
    error = grpc_errors.from_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "Request dropped", backend="scorer")
    assert isinstance(error, OverloadedError)
    assert error.reason is Reason.QUEUE_FULL


def test_a_defect_in_a_backend_stays_a_defect() -> None:
    detail = grpc_errors.to_detail(InternalError())
    assert isinstance(grpc_errors.from_status(grpc.StatusCode.INTERNAL, detail, backend="x"), InternalError)


def test_the_detail_line_is_bounded() -> None:
    error = InvalidInputError("f" * 5000, "p" * 5000)
    detail = grpc_errors.to_detail(error)
    assert len(detail) < 2048
    assert json.loads(detail)["reason"] == "INVALID_FIELD"


def _details(error: LikenessError) -> dict[str, object]:
    kinds = {
        kind.DESCRIPTOR.full_name: kind
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.ResourceInfo,
            error_details_pb2.RetryInfo,
        )
    }
    found = {}
    for packed in grpc_errors.to_status(error).details:
        message = kinds[packed.TypeName()]()
        assert packed.Unpack(message)
        found[type(message).__name__] = message
    return found


def test_clients_get_the_standard_details() -> None:
    invalid = _details(ALL[0][0])
    assert set(invalid) == {"ErrorInfo", "BadRequest"}
    assert invalid["BadRequest"].field_violations[0].field == "text"
    missing = _details(ALL[2][0])
    assert set(missing) == {"ErrorInfo", "ResourceInfo"}
    assert missing["ErrorInfo"].reason == "METRIC_NOT_FOUND"
    assert (missing["ResourceInfo"].resource_type, missing["ResourceInfo"].resource_name) == ("metric", "x")
    full = _details(ALL[5][0])
    assert full["RetryInfo"].retry_delay.ToMilliseconds() == 1500
