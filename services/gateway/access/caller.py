"""Who calls. The interceptor sets it before a servicer runs; servicers pass the tenant on as an argument."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_TENANT = "default"
"""Owns everything while keys are off, and whatever was stored before there were tenants."""


class Scope(StrEnum):
    """What a key may do; each includes the ones before it."""

    READ = "read"
    RUN = "run"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """A tenant, the key that it called with (empty while keys are off), and the address that it called from."""

    tenant_id: str = DEFAULT_TENANT
    key_id: str = ""
    scope: Scope = Scope.ADMIN
    peer: str = ""


@dataclass(frozen=True)
class IncomingCall:
    """What is known of a call before anybody looks at its request.

    Attributes:
        path: "/package.Service/Method".
        authorization: Its authorization metadata, or "".
        peer: Where it comes from, as gRPC writes it.
    """

    path: str
    authorization: str = field(repr=False)
    peer: str


_caller: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> Caller:
    """The caller of the call being answered."""
    return _caller.get(Caller())


def set_caller(caller: Caller) -> None:
    """Remembers the caller for the rest of this call's task."""
    _caller.set(caller)
