"""Renders docs/api.md: each method of the gateway with request, answer, errors and example, then what they share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from docs.api.contracts import ContractError, Contracts, Enum, Message, Method, Service

PACKAGE = "likeness.gateway.v1."
HEAD = """\
# API

What the gateway answers to, over gRPC. Written from `protos/` and `docs/examples/api/` by `python -m docs.api`: change
those, not this page. Messages larger than 64 MiB are refused. Server reflection is on unless the deployment says
otherwise.

Every error carries `google.rpc.ErrorInfo` with a stable reason, an error of a field also `google.rpc.BadRequest`;
[Reasons of errors](reference.md#reasons-of-errors) says what to do about each. Beside what is listed with a method, any
call may end with `INVALID_ARGUMENT` (a field may not hold this), `UNAUTHENTICATED` and `PERMISSION_DENIED` (the
API key, where keys are needed), `RESOURCE_EXHAUSTED` (a limit or quota), `UNAVAILABLE` (something that the call needs
does not answer), `DEADLINE_EXCEEDED`, `CANCELLED` or `INTERNAL` (a defect; the log has the request id).

The examples are whole programs against a gateway at the default address, with the key in `LIKENESS_API_KEY` if it asks
for one; a test runs each. `target.png`, `best.png` and `other.png` are pictures of yours.

"REQUIRED" and so on behind a type are the [field behavior](https://google.aip.dev/203): OUTPUT_ONLY fields are set by
the server, IMMUTABLE ones by whoever creates the thing. "optional" before a type means that an unset field differs from
0. Of the fields that say "one of", one is set.
"""


def render(contracts: Contracts, examples: Mapping[str, str]) -> str:
    """The page.

    Args:
        examples: Python code by "Service.Method".

    Raises:
        ContractError: a method has no example, an example has no method, or something has no comment.
    """
    return _Page(contracts, examples).render()


class _Page:
    def __init__(self, contracts: Contracts, examples: Mapping[str, str]) -> None:
        self._contracts = contracts
        self._examples = examples
        self._services = [one for name, one in contracts.services.items() if name.startswith(PACKAGE)]
        uses = Counter(name for one in self._services for m in one.methods for name in (m.request, m.response))
        shown = self._reachable(uses)
        # A message of a single method is shown with the method.
        inline = {name for name, count in uses.items() if count == 1 and not self._referred(name, shown)}
        self._inline = inline
        self._messages = sorted((contracts.messages[one] for one in shown - inline), key=lambda one: _short(one))
        self._enums = sorted((one for name, one in contracts.enums.items() if name in self._types(shown)), key=_short)
        self._check()

    def render(self) -> str:
        parts = [HEAD, "\n".join(self._contents())]
        for service in self._services:
            parts += [f"## {service.name}", service.comment, *(self._method(service, one) for one in service.methods)]
        parts += ["## Messages", *(self._message(one) for one in self._messages)]
        parts += ["## Enums", *(self._enum(one) for one in self._enums)]
        return "\n\n".join(part.strip() for part in parts) + "\n"

    def _contents(self) -> Iterator[str]:
        yield "| service | methods |"
        yield "|---|---|"
        for service in self._services:
            methods = ", ".join(f"[{one.name}](#{_slug(one.name)})" for one in service.methods)
            yield f"| [{service.name}](#{_slug(service.name)}) | {methods} |"

    def _method(self, service: Service, method: Method) -> str:
        request, response = self._contracts.messages[method.request], self._contracts.messages[method.response]
        parts = [f"### {method.name}", f"`{service.full_name}/{method.name}`, {method.kind}.", method.comment]
        parts.append(self._body("Request", request, "stream of " if method.streams_requests else ""))
        parts.append(self._body("Answer", response, "stream of " if method.streams_responses else ""))
        if method.failures:
            rows = [f"| `{one.code}` | {_cell(_reasons(one.detail))} |" for one in method.failures]
            parts.append("\n".join(("| error | reason or field |", "|---|---|", *rows)))
        code = self._examples[f"{service.name}.{method.name}"].strip()
        return "\n\n".join([*parts, f"```python\n{code}\n```"])

    def _body(self, role: str, message: Message, stream: str) -> str:
        if message.full_name not in self._inline:
            return f"{role}: {stream}{self._type(message.full_name)}."
        said = f"{role}: {stream}`{_short(message)}`"
        return f"{said}.\n\n{self._fields(message)}" if message.fields else f"{said}, empty."

    def _message(self, message: Message) -> str:
        return f"### {_short(message)}\n\n{message.comment}\n\n{self._fields(message)}"

    def _fields(self, message: Message) -> str:
        rows = ["| field | type | meaning |", "|---|---|---|"]
        for field in message.fields:
            words = [field.label, self._type(field.type), *(f"{one}" for one in field.behaviors)]
            words += [f"one of `{field.oneof}`"] if field.oneof else []
            rows.append(f"| `{field.name}` | {' '.join(filter(None, words))} | {_cell(field.comment)} |")
        return "\n".join(rows)

    def _enum(self, enum: Enum) -> str:
        rows = [f"| `{name}` | {number} | {_cell(comment)} |" for name, number, comment in enum.values]
        return "\n".join((f"### {_short(enum)}", "", enum.comment, "", "| value | | meaning |", "|---|---|---|", *rows))

    def _type(self, name: str) -> str:
        if name in self._contracts.messages or name in self._contracts.enums:
            return f"[{_name(name)}](#{_slug(_name(name))})"
        return f"`{name}`"

    def _reachable(self, roots: Counter[str]) -> set[str]:
        """Messages that the methods use, themselves or in fields."""
        found: set[str] = set()
        waiting = list(roots)
        while waiting:
            name = waiting.pop()
            if name in self._contracts.messages and name not in found:
                found.add(name)
                waiting += [field.type for field in self._contracts.messages[name].fields]
        return found

    def _types(self, messages: set[str]) -> set[str]:
        return {field.type for name in messages for field in self._contracts.messages[name].fields}

    def _referred(self, name: str, messages: set[str]) -> bool:
        return name in self._types(messages)

    def _check(self) -> None:
        methods = {f"{service.name}.{method.name}" for service in self._services for method in service.methods}
        if missing := sorted(methods - set(self._examples)):
            raise ContractError(f"no example in docs/examples/api for: {', '.join(missing)}")
        if extra := sorted(set(self._examples) - methods):
            raise ContractError(f"examples of methods that do not exist: {', '.join(extra)}")
        if silent := sorted(self._without_comment()):
            raise ContractError(f"no comment in protos/ for: {', '.join(silent)}")
        names = [name for service in self._services for name in (service.name, *(one.name for one in service.methods))]
        names += [*map(_short, self._messages), *map(_short, self._enums)]
        if twice := sorted(slug for slug, count in Counter(map(_slug, names)).items() if count > 1):
            raise ContractError(f"two headings of the page have one address: {', '.join(twice)}")

    def _without_comment(self) -> Iterator[str]:
        for service in self._services:
            comments = {service.name: service.comment, **{one.name: one.comment for one in service.methods}}
            yield from (name for name, comment in comments.items() if not comment)
        for message in (*self._messages, *(self._contracts.messages[name] for name in self._inline)):
            yield from (f"{_short(message)}.{field.name}" for field in message.fields if not field.comment)
            if not message.comment:
                yield _short(message)
        for enum in self._enums:
            yield from (name for name, _, comment in enum.values if not comment)


def _short(one: Message | Enum) -> str:
    return _name(one.full_name)


def _name(full_name: str) -> str:
    """Without the package: "Session.State" of "likeness.gateway.v1.Session.State"."""
    return re.sub(r"^([a-z0-9_]+\.)+", "", full_name)


def _slug(heading: str) -> str:
    """The address that a heading gets where Markdown is shown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _reasons(text: str) -> str:
    """Reasons in code letters."""
    return re.sub(r"\b[A-Z]+(?:_[A-Z]+)+\b", r"`\g<0>`", text)
