"""What the deployment can do: models, metrics and strategies, and why one is absent."""

from __future__ import annotations

from collections.abc import Iterator

from likeness._client import Client
from likeness._errors import LikenessError
from likeness.doctor.findings import Finding, note, ok, problem, warning


def models(client: Client) -> Iterator[Finding]:
    """Models of every service, and adapters."""
    try:
        listed = client.models()
    except LikenessError as error:
        yield unanswered("models", error)
        return
    for service in listed.unreachable:
        yield problem("models", f"the {service} does not say which models it has", "See the part of that name above.")
    for model in listed.models:
        if model.load_state == "failed":
            advice = "Until then requests for it fail; mend what it says and start the service again."
            yield problem("models", f"{model.id} is not loaded: {model.load_problem}", advice)
        for adapter in model.adapters:
            if adapter.absent_reason:
                advice = "Mend what it says, or take the adapter out of the profile."
                yield warning(
                    "models", f"adapter {adapter.id} of {model.id} is absent: {adapter.absent_reason}", advice
                )
    generators = [model.id for model in listed.models if model.role == "generator"]
    if generators:
        yield ok("models", f"{len(listed.models)} known, {', '.join(generators)} for pictures")
    elif "generator" not in listed.unreachable:
        yield problem("models", "there is no generator model", "Name one under `generators` in the profile.")


def metrics(client: Client) -> Iterator[Finding]:
    """Metrics that there are, and what each absent one lacks."""
    try:
        offered, absent = client.metrics(), client.absent_metrics()
    except LikenessError as error:
        yield unanswered("metrics", error)
        return
    selecting = [metric.id for metric in offered if metric.selects_by_default]
    if selecting:
        yield ok("metrics", f"{len(offered)} offered, {', '.join(selecting)} steer loops")
    else:
        advice = "Name one that is offered under `selection_metrics` in the profile: " + ", ".join(
            m.id for m in offered
        )
        yield problem("metrics", "no metric of the profile can steer a loop", advice)
    for one in absent:
        yield note("metrics", f"{one.id} is absent: {one.reason}")


def strategies(client: Client) -> Iterator[Finding]:
    """Strategies."""
    try:
        known = client.strategies()
    except LikenessError as error:
        yield unanswered("strategies", error)
        return
    if known:
        yield ok("strategies", ", ".join(strategy.id for strategy in known))
    else:
        yield problem("strategies", "there is none: loops cannot be started", "Look into the refiner's log.")


def unanswered(check: str, error: LikenessError) -> Finding:
    """A question that the gateway could not answer."""
    advice = f"The gateway's log has more under request id {error.request_id}." if error.request_id else ""
    return problem(check, f"the gateway could not say: {error.message}", advice)
