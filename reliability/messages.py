"""Requests that chance writes: of every method of the gateway's contracts, plausible but for some fields."""

from __future__ import annotations

import importlib
import math
import pkgutil
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

import likeness.gateway.v1 as contracts
from reliability.mutations import mutated, mutated_picture, pictures

MAX_DEPTH = 5
_TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "\u202e",
    "😀" * 50,
    "x" * 5000,
    "%s%n{0}",
    "../../etc/passwd",
    "sessions/",
    "'; --",
    "-1",
)
_WORDS: dict[str, tuple[str, ...]] = {
    "strategy": ("painter", ""),
    "model": ("paint", ""),
    "generator_model": ("paint", ""),
    "metric": ("mean", "pixels", "named"),
    "metrics": ("mean", "pixels", "named"),
    "selection_metrics": ("mean", "pixels"),
    "candidate_id": ("r1c1", "r1c2", ""),
    "candidate_ids": ("r1c1", "r1c2", "r2c1"),
    "scheduler": ("ddim", ""),
    "page_token": ("",),
    "after_cursor": ("",),
    "adapter": ("",),
    # Never the tenant of the run.
    "tenant_id": ("fuzzed", "another"),
}
"""What fields of a name usually hold."""
_TYPES = FieldDescriptor
_INTEGERS = {
    _TYPES.CPPTYPE_INT32: (-(2**31), -1, 0, 1, 2**31 - 1),
    _TYPES.CPPTYPE_INT64: (-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 1),
    _TYPES.CPPTYPE_UINT32: (0, 1, 2**32 - 1),
    _TYPES.CPPTYPE_UINT64: (0, 1, 2**63, 2**64 - 1),
}
_FLOATS = (math.nan, math.inf, -math.inf, -1.0, 0.0, -0.0, 1e-320, 1.0, 1e38)


@dataclass
class Known:
    """What exists, for requests to name."""

    names: list[str] = field(default_factory=list)
    """Resource names."""
    hashes: list[str] = field(default_factory=list)
    """Content hashes of stored pictures."""
    keys: list[str] = field(default_factory=list)
    """Ids of API keys."""


def methods() -> list[MethodDescriptor]:
    """Every method of the gateway's services."""
    modules = (
        importlib.import_module(f"{contracts.__name__}.{one.name}") for one in pkgutil.iter_modules(contracts.__path__)
    )
    services = (
        service
        for module in modules
        if module.__name__.endswith("_service_pb2")
        for service in module.DESCRIPTOR.services_by_name.values()
    )
    return [method for service in services for method in service.methods]


class Requests:
    """Writes requests.

    Args:
        chance: Of everything.
        known: What there is; may grow while this is used.
        nastiness: Part of the fields that hold what nobody should send.
    """

    def __init__(self, chance: random.Random, known: Known, nastiness: float = 0.05) -> None:
        self._chance = chance
        self._known = known
        self._nastiness = nastiness

    def of(self, method: MethodDescriptor) -> list[bytes]:
        """One request, or a few for a method that takes a stream: first one of the first kind, then of the last."""
        if not method.client_streaming:
            return [self._bytes(method.input_type, None)]
        kinds = method.input_type.oneofs[0].fields
        return [
            self._bytes(method.input_type, kinds[-1] if index else kinds[0])
            for index in range(self._chance.randint(1, 5))
        ]

    def _bytes(self, kind: Descriptor, only: FieldDescriptor | None) -> bytes:
        data = self._message(kind, 0, only).SerializeToString()
        return mutated(data, self._chance) if self._chance.random() < 0.2 else data

    def _message(self, kind: Descriptor | None, depth: int, only: FieldDescriptor | None = None) -> Message:
        assert kind is not None
        message = message_factory.GetMessageClass(kind)()
        if kind.full_name == "likeness.types.v1.Image":
            self._fill_picture(message)
            return message
        for one in kind.fields if only is None else [only]:
            if only is None and self._chance.random() < 0.4:
                continue
            if one.is_repeated:
                getattr(message, one.name).extend(self._values(one, depth))
            elif one.cpp_type == _TYPES.CPPTYPE_MESSAGE:
                if depth < MAX_DEPTH:
                    getattr(message, one.name).CopyFrom(self._message(one.message_type, depth + 1))
            else:
                setattr(message, one.name, self._value(one))
        return message

    def _values(self, one: FieldDescriptor, depth: int) -> list[Any]:
        count = 300 if self._nasty() else self._chance.randint(0, 3)
        if one.cpp_type != _TYPES.CPPTYPE_MESSAGE:
            return [self._value(one) for _ in range(count)]
        return [self._message(one.message_type, depth + 1) for _ in range(min(count, 20))] if depth < MAX_DEPTH else []

    def _value(self, one: FieldDescriptor) -> Any:
        kind = one.cpp_type
        if kind in _INTEGERS:
            return self._chance.choice(_INTEGERS[kind]) if self._nasty() else self._chance.randint(0, 3)
        if kind in (_TYPES.CPPTYPE_FLOAT, _TYPES.CPPTYPE_DOUBLE):
            return self._chance.choice(_FLOATS) if self._nasty() else self._chance.random()
        if kind == _TYPES.CPPTYPE_BOOL:
            return self._chance.random() < 0.5
        if kind == _TYPES.CPPTYPE_ENUM:
            assert one.enum_type is not None
            numbers = [value.number for value in one.enum_type.values]
            return self._chance.choice((-1, 99, 2**31 - 1)) if self._nasty() else self._chance.choice(numbers)
        if one.type == _TYPES.TYPE_BYTES:
            return self._picture()
        return self._text(one.name)

    def _text(self, name: str) -> str:
        if self._nasty():
            return self._chance.choice(_TEXTS)
        if name in ("name", "evaluation", "session", "sessions") and self._known.names:
            return self._chance.choice(self._known.names)
        if name.endswith("content_hash") and self._known.hashes:
            return self._chance.choice(self._known.hashes)
        if name == "key_id" and self._known.keys:
            return self._chance.choice(self._known.keys)
        if name == "request_id":
            return str(uuid.UUID(int=self._chance.getrandbits(128), version=4)) if self._chance.random() < 0.7 else ""
        return self._chance.choice(_WORDS.get(name, ("rgb 10 20 30", "rgb 200 0 7", "a")))

    def _fill_picture(self, image: Any) -> None:
        if self._known.hashes and self._chance.random() < 0.2:
            image.content_hash = self._text("content_hash")
        else:
            image.data = self._picture()

    def _picture(self) -> bytes:
        return mutated_picture(self._chance) if self._chance.random() < 0.3 else self._chance.choice(pictures())

    def _nasty(self) -> bool:
        return self._chance.random() < self._nastiness
