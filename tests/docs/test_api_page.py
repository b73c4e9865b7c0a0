"""docs/api.md is what the contracts and examples say now, and contracts without an example or a comment are refused."""

from __future__ import annotations

import grpc
import pytest

from docs.api.__main__ import PAGE, examples
from docs.api.contracts import ContractError, Contracts, Enum, Failure, Field, Message, Method, Service, read_contracts
from docs.api.page import render
from services.common.errors import Reason

GATEWAY = "likeness.gateway.v1"


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    return read_contracts()


def small(**changes: Contracts | str) -> Contracts:
    """One service with one method, or parts of it changed."""
    field = Field("name", 1, f"{GATEWAY}.Kind", "repeated", ("REQUIRED",), "", changes.get("field", "A | B."))
    method = Method(
        "Get", "Gets.", (Failure("NOT_FOUND", "A_B: x"),), f"{GATEWAY}.Asked", f"{GATEWAY}.Thing", False, True
    )
    return Contracts(
        {f"{GATEWAY}.Things": Service(f"{GATEWAY}.Things", "Things.", (method,))},
        {
            f"{GATEWAY}.Asked": Message(f"{GATEWAY}.Asked", "Asked.", (field,)),
            f"{GATEWAY}.Thing": Message(f"{GATEWAY}.Thing", "A thing.", ()),
        },
        {
            f"{GATEWAY}.Kind": Enum(
                f"{GATEWAY}.Kind", "Kinds.", (("KIND_UNSPECIFIED", 0, changes.get("value", "None.")),)
            )
        },
    )


def test_the_page_is_up_to_date(contracts: Contracts) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == render(contracts, examples()), "run 'python -m docs.api'"


def test_what_a_method_shows() -> None:
    page = render(small(), {"Things.Get": "print(1)\n"})
    assert "`likeness.gateway.v1.Things/Get`, server streaming." in page
    assert "| `name` | repeated [Kind](#kind) REQUIRED | A \\| B. |" in page
    assert "Answer: stream of `Thing`, empty." in page
    assert "| `NOT_FOUND` | `A_B`: x |" in page
    assert "```python\nprint(1)\n```" in page
    assert "| `KIND_UNSPECIFIED` | 0 | None. |" in page


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({}, {}, "no example in docs/examples/api for: Things.Get"),
        ({}, {"Things.Get": "", "Things.Gone": ""}, "do not exist: Things.Gone"),
        ({"field": ""}, {"Things.Get": ""}, "no comment in protos/ for: Asked.name"),
        ({"value": ""}, {"Things.Get": ""}, "no comment in protos/ for: KIND_UNSPECIFIED"),
    ],
    ids=["no example", "example of nothing", "silent field", "silent value"],
)
def test_what_is_refused(changes: dict[str, str], code: dict[str, str], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        render(small(**changes), code)


def test_links_of_the_page_lead_to_its_headings(contracts: Contracts) -> None:
    page = PAGE.read_text(encoding="utf-8")
    lines = page.splitlines()
    headings = {line.lstrip("# ").lower().replace(".", "") for line in lines if line.startswith("#")}
    linked = {link.partition(")")[0] for link in page.split("](#")[1:]}
    assert linked <= headings


def test_statuses_and_reasons_of_the_contracts_exist(contracts: Contracts) -> None:
    reasons, codes = {reason.value for reason in Reason}, {code.name for code in grpc.StatusCode}
    for service in contracts.services.values():
        for method in service.methods:
            for failure in method.failures:
                words = {word.strip("(),:;.`") for word in failure.detail.split()}
                named = {word for word in words if word.isupper() and "_" in word}
                assert named <= reasons | codes, f"{service.name}.{method.name}"


def test_every_service_says_which_errors_it_has(contracts: Contracts) -> None:
    failures = contracts.services[f"{GATEWAY}.SessionService"].methods[0].failures
    assert failures[0] == Failure(
        "INVALID_ARGUMENT", "IMAGE_UNREADABLE, IMAGE_TOO_LARGE, IMAGE_ANIMATED, INVALID_FIELD"
    )
    assert failures[1].code == "NOT_FOUND"
