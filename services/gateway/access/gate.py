"""Lets calls in: who calls, whether the key's scope covers the call, and whether its limits leave room for it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from services.common.errors import ForbiddenError, LimitError, Reason, UnauthenticatedError
from services.common.telemetry import counter
from services.gateway.access.caller import Caller, IncomingCall, set_caller
from services.gateway.access.keys import ApiKey, read_key
from services.gateway.access.limits import TenantLimits
from services.gateway.access.open_calls import OpenCalls, Standing
from services.gateway.access.remembered import Remembered
from services.gateway.access.scopes import covers, is_open, scope_needed
from services.gateway.access.throttle import Refusal, Throttle, Verdict
from services.gateway.store.keys import KeyRepository, StoredKey
from services.gateway.store.tenants import TenantRepository

_BEARER = "bearer "

_refused = counter("likeness_gateway_refused_calls", "Calls that were not let in, by reason.", ("reason",))


class Gate:
    """Who may come in, and stay. `start` it inside the event loop, `close` it at the end.

    Args:
        keys: API keys.
        tenants: Limits of tenants.
        throttle: Counts calls.
        require_keys: Whether a call without a key is refused; if not, it acts for the default tenant, as admin.
    """

    def __init__(
        self, keys: KeyRepository, tenants: TenantRepository, throttle: Throttle, *, require_keys: bool
    ) -> None:
        self._keys = Remembered(keys.find)
        self._limits = Remembered(tenants.limits)
        self._defaults = tenants.defaults
        self._throttle = throttle
        self._require_keys = require_keys
        self._open_calls = OpenCalls(self._standing)

    def start(self) -> None:
        """Begins to end calls whose key has ended."""
        self._open_calls.start()

    async def close(self) -> None:
        """Leaves calls alone."""
        await self._open_calls.close()

    def forget(self, _: str) -> None:
        """A key or a limit changed, here or on another gateway."""
        self._keys.forget()
        self._limits.forget()
        self._open_calls.look()

    @asynccontextmanager
    async def admitted(self, call: IncomingCall) -> AsyncIterator[None]:
        """Open for as long as the call is answered; `current_caller` says who calls.

        Raises:
            UnauthenticatedError: KEY_MISSING, KEY_INVALID, KEY_EXPIRED or KEY_REVOKED; the last two also while the
                call is answered.
            ForbiddenError: SCOPE_TOO_NARROW.
            LimitError: RATE_LIMITED or TOO_MANY_CALLS.
            UnavailableError: DATABASE_UNAVAILABLE, and the key is not known from before.
        """
        if is_open(call.path):
            yield
            return
        if not call.authorization and not self._require_keys:
            set_caller(Caller(peer=call.peer))
            yield
            return
        key = await self._authenticated(call.authorization)
        needed = scope_needed(call.path)
        if not covers(key.scope, needed):
            _refused.labels(Reason.SCOPE_TOO_NARROW.value).inc()
            message = f"the key's scope is {key.scope.value}, this call needs {needed.value}"
            raise ForbiddenError(Reason.SCOPE_TOO_NARROW, message, metadata={"needed": needed.value})
        own, _ = await self._limits.get(key.tenant_id)
        set_caller(Caller(key.tenant_id, key.id, key.scope, call.peer))
        call_id = uuid.uuid4().hex
        limits = own.over(self._defaults)
        try:
            _check(await self._throttle.begin(key.id, call_id, limits), key, limits)
            with self._open_calls.held(key.id):
                yield
        finally:
            await self._throttle.end(call_id)

    async def _authenticated(self, authorization: str) -> ApiKey:
        if not authorization:
            _refuse(Reason.KEY_MISSING, "an API key is needed; send it as metadata 'authorization: Bearer KEY'")
        scheme, text = authorization[: len(_BEARER)], authorization[len(_BEARER) :].strip()
        presented = read_key(text) if scheme.lower() == _BEARER else None
        if presented is None:
            _refuse(Reason.KEY_INVALID, "the authorization is not 'Bearer ' and an API key")
        stored, age_seconds = await self._keys.get(presented.id)
        # One answer for an unknown id and a wrong secret: nobody learns which ids there are.
        if stored is None or not presented.matches(stored.secret_hash):
            _refuse(Reason.KEY_INVALID, "the API key is not known")
        if (ended := _standing(stored, age_seconds).ended) is not None:
            _refuse(ended.reason, ended.message)
        return stored.key

    async def _standing(self, key_id: str) -> Standing:
        stored, age_seconds = await self._keys.get(key_id)
        if stored is None:
            return Standing(UnauthenticatedError(Reason.KEY_INVALID, "the API key is not known"))
        return _standing(stored, age_seconds)


def _standing(stored: StoredKey, age_seconds: float) -> Standing:
    """How it is with a key that was read so long ago."""
    key = stored.key
    if key.revoke_time is not None:
        return Standing(UnauthenticatedError(Reason.KEY_REVOKED, f"the API key {key.id} was revoked"))
    if stored.seconds_left is None:
        return Standing()
    if stored.seconds_left <= age_seconds:
        message = f"the API key {key.id} was rotated, and its grace period is over"
        return Standing(UnauthenticatedError(Reason.KEY_EXPIRED, message))
    return Standing(seconds_left=stored.seconds_left - age_seconds)


def _refuse(reason: Reason, message: str) -> NoReturn:
    _refused.labels(reason.value).inc()
    raise UnauthenticatedError(reason, message)


def _check(verdict: Verdict, key: ApiKey, limits: TenantLimits) -> None:
    if verdict.refusal is None:
        return
    if verdict.refusal is Refusal.RATE:
        reason, problem = Reason.RATE_LIMITED, f"may begin {limits.requests_per_second:g} calls a second"
    else:
        reason, problem = Reason.TOO_MANY_CALLS, f"may have {limits.concurrent_calls} calls open"
    _refused.labels(reason.value).inc()
    wait = verdict.retry_after_seconds
    raise LimitError(reason, f"the key {key.id} {problem}", subject=f"key:{key.id}", retry_after_seconds=wait)
