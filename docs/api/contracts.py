"""Reads protos/ with its comments: services, messages and enums as plain values.

protoc is asked for descriptors with source information, which are the only place that still knows the comments.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import grpc
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
_FIELD = pb.FieldDescriptorProto
_ERRORS = "Errors:"
_CODES = "|".join(code.name for code in grpc.StatusCode)
_CODE = re.compile(rf"\b({_CODES})\b(?![^(]*\))")
"""A status code outside parentheses."""


class ContractError(Exception):
    """The contracts cannot be read, or lack something that the page needs."""


@dataclass(frozen=True)
class Failure:
    """A status that a method answers with, and when: reasons, fields or words; empty if the contract does not say."""

    code: str
    detail: str


@dataclass(frozen=True)
class Method:
    """One RPC; `request` and `response` are full message names."""

    name: str
    comment: str
    failures: tuple[Failure, ...]
    request: str
    response: str
    streams_requests: bool
    streams_responses: bool

    @property
    def kind(self) -> str:
        """Which sides stream, in gRPC's words."""
        if self.streams_requests:
            return "bidirectional streaming" if self.streams_responses else "client streaming"
        return "server streaming" if self.streams_responses else "unary"


@dataclass(frozen=True)
class Service:
    """A service, such as likeness.gateway.v1.SessionService."""

    full_name: str
    comment: str
    methods: tuple[Method, ...]

    @property
    def name(self) -> str:
        """Without the package."""
        return self.full_name.rpartition(".")[2]


@dataclass(frozen=True)
class Field:
    """A field; `type` is a scalar's name, the full name of a message or enum, or "map<key, value>" of such.

    Attributes:
        label: "repeated", "optional" (has presence) or "".
        behaviors: Of google.api.field_behavior, such as ("REQUIRED",).
        oneof: Group of which only one field may be set; empty if it is in none.
    """

    name: str
    number: int
    type: str
    label: str
    behaviors: tuple[str, ...]
    oneof: str
    comment: str


@dataclass(frozen=True)
class Message:
    """A message; nested ones have the name of the outer one before a dot."""

    full_name: str
    comment: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Enum:
    """An enum: values as (name, number, comment)."""

    full_name: str
    comment: str
    values: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True)
class Contracts:
    """Everything in protos/, by full name."""

    services: dict[str, Service]
    messages: dict[str, Message]
    enums: dict[str, Enum]


def read_contracts(folder: Path = PROTOS) -> Contracts:
    """All contracts below a folder.

    Raises:
        ContractError: protoc refuses them.
    """
    contracts = Contracts({}, {}, {})
    for file in _descriptors(folder).file:
        if file.package.startswith("likeness."):
            _Reader(file, contracts).read()
    return contracts


def _descriptors(folder: Path) -> pb.FileDescriptorSet:
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as out:
        found = Path(out) / "descriptors"
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(folder), "-I", str(ROOT / "third_party/protos")]
        command += ["--include_source_info", f"--descriptor_set_out={found}", *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ContractError(done.stderr.strip())
        return pb.FileDescriptorSet.FromString(found.read_bytes())


class _Reader:
    """Reads one file into the contracts."""

    def __init__(self, file: pb.FileDescriptorProto, into: Contracts) -> None:
        self._file = file
        self._into = into
        self._comments = {
            tuple(place.path): " ".join(place.leading_comments.split()) for place in file.source_code_info.location
        }

    def read(self) -> None:
        for index, service in enumerate(self._file.service):
            name = f"{self._file.package}.{service.name}"
            self._into.services[name] = self._service(name, service, (6, index))
        for index, message in enumerate(self._file.message_type):
            self._message(f"{self._file.package}.{message.name}", message, (4, index))
        for index, enum in enumerate(self._file.enum_type):
            self._enum(f"{self._file.package}.{enum.name}", enum, (5, index))

    def _service(self, name: str, service: pb.ServiceDescriptorProto, path: tuple[int, ...]) -> Service:
        methods = []
        for index, method in enumerate(service.method):
            comment, failures = _split(self._comments.get((*path, 2, index), ""))
            methods.append(
                Method(
                    method.name,
                    comment,
                    failures,
                    method.input_type.removeprefix("."),
                    method.output_type.removeprefix("."),
                    method.client_streaming,
                    method.server_streaming,
                )
            )
        return Service(name, self._comments.get(path, ""), tuple(methods))

    def _message(self, name: str, message: pb.DescriptorProto, path: tuple[int, ...]) -> None:
        fields = tuple(self._field(message, field, (*path, 2, index)) for index, field in enumerate(message.field))
        self._into.messages[name] = Message(name, self._comments.get(path, ""), fields)
        for index, nested in enumerate(message.nested_type):
            if nested.options.map_entry:
                continue
            self._message(f"{name}.{nested.name}", nested, (*path, 3, index))
        for index, enum in enumerate(message.enum_type):
            self._enum(f"{name}.{enum.name}", enum, (*path, 4, index))

    def _field(self, message: pb.DescriptorProto, field: pb.FieldDescriptorProto, path: tuple[int, ...]) -> Field:
        kind = _type(field)
        entry = next((one for one in message.nested_type if one.name == kind.rpartition(".")[2]), None)
        is_map = entry is not None and entry.options.map_entry
        if entry is not None and is_map:
            kind = f"map<{', '.join(_type(one) for one in entry.field)}>"
        repeated = field.label == _FIELD.LABEL_REPEATED and not is_map
        in_oneof = field.HasField("oneof_index") and not field.proto3_optional
        return Field(
            field.name,
            field.number,
            kind,
            "repeated" if repeated else "optional" if field.proto3_optional else "",
            tuple(_behaviors(field)),
            message.oneof_decl[field.oneof_index].name if in_oneof else "",
            self._comments.get(path, ""),
        )

    def _enum(self, name: str, enum: pb.EnumDescriptorProto, path: tuple[int, ...]) -> None:
        values = tuple(
            (value.name, value.number, self._comments.get((*path, 2, index), ""))
            for index, value in enumerate(enum.value)
        )
        self._into.enums[name] = Enum(name, self._comments.get(path, ""), values)


def _type(field: pb.FieldDescriptorProto) -> str:
    return field.type_name.removeprefix(".") or _FIELD.Type.Name(field.type).removeprefix("TYPE_").lower()


def _behaviors(field: pb.FieldDescriptorProto) -> Iterator[str]:
    for value in field.options.Extensions[field_behavior_pb2.field_behavior]:
        yield field_behavior_pb2.FieldBehavior.Name(value)


def _split(comment: str) -> tuple[str, tuple[Failure, ...]]:
    """What a method does, and the statuses after "Errors:"."""
    text, _, errors = comment.partition(_ERRORS)
    return text.strip(), tuple(_failures(errors))


def _failures(errors: str) -> Iterator[Failure]:
    found: list[re.Match[str] | None] = list(_CODE.finditer(errors))
    for match, following in pairwise([*found, None]):
        assert match is not None
        detail = errors[match.end() : following.start() if following else None].strip(" .,;")
        whole = re.fullmatch(r"\(([^()]*)\)", detail)
        yield Failure(match[1], whole[1] if whole else detail)
