"""The table of scopes against the contracts."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from google.protobuf.descriptor import FileDescriptor

import likeness.gateway.v1
from services.gateway.access.caller import Scope
from services.gateway.access.scopes import SCOPES, covers, scope_needed


def contracts() -> dict[str, set[str]]:
    """Methods of every service of the gateway."""
    package = likeness.gateway.v1
    found: dict[str, set[str]] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.endswith("_pb2"):
            file: FileDescriptor = importlib.import_module(f"{package.__name__}.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                found[service.full_name] = {method.name for method in service.methods}
    return found


def test_every_method_is_in_the_table_and_nothing_else() -> None:
    assert {service: set(methods) for service, methods in SCOPES.items()} == contracts()


def test_unknown_method_needs_admin() -> None:
    assert scope_needed("/likeness.gateway.v1.SessionService/Invented") is Scope.ADMIN


@pytest.mark.parametrize(("held", "covered"), [(Scope.READ, 1), (Scope.RUN, 2), (Scope.ADMIN, 3)])
def test_scopes_include_the_ones_before(held: Scope, covered: int) -> None:
    assert [covers(held, needed) for needed in (Scope.READ, Scope.RUN, Scope.ADMIN)] == [
        index < covered for index in range(3)
    ]
