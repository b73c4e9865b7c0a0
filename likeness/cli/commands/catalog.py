"""`models`, `metrics`, `strategies`: what the deployment offers."""

from __future__ import annotations

import argparse

from rich.text import Text

from likeness import Metric, Model
from likeness._numbers import arrow, raw_text
from likeness.cli.arguments import command
from likeness.cli.connection import connect
from likeness.cli.output import Output

_REVISION_CHARACTERS = 8
_MEBIBYTE = 1024 * 1024


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands."""
    command(commands, "models", _models, "list the models of all services")
    command(commands, "metrics", _metrics, "list the metrics")
    command(commands, "strategies", _strategies, "list the strategies that steer the loop")


def _models(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        answer = client.models()
    if output.json:
        output.value(answer)
        return 0
    rows = [
        (
            *(model.id, model.role, _memory(model), _short(model.revision), _origin(model.embedded), model.license),
            _limits(model),
        )
        for model in answer.models
    ]
    output.table(("model", "role", "in memory", "revision", "weights", "license", "defaults"), rows)
    for model in answer.models:
        if takes := _takes(model):
            output.say(f"{model.id} takes {takes}")
        if model.load_problem:
            output.say(Text(f"{model.id} could not be loaded: {model.load_problem}", style="dim"))
        for adapter in model.adapters:
            if adapter.absent_reason:
                output.say(Text(f"{model.id}: adapter {adapter.id} is absent: {adapter.absent_reason}", style="dim"))
    if answer.unreachable:
        output.say(f"No answer from: {', '.join(answer.unreachable)}")
    return 0


def _metrics(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        answer = client.metrics()
        absent = () if output.json else client.absent_metrics()
    if output.json:
        output.value(answer)
        return 0
    rows = []
    for metric in answer:
        use = "selects" if metric.selects_by_default else "computed" if metric.computed_by_default else ""
        better = f"{arrow(metric.higher_is_better)} {_range(metric)}"
        rows.append((metric.id, better, metric.input.replace("_", "-"), use, metric.description))
    output.table(("metric", "better", "compares", "by default", "what it is"), rows)
    for item in absent:
        output.say(Text(f"{item.id} is absent: {item.reason}", style="dim"))
    return 0


def _strategies(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        answer = client.strategies()
    if output.json:
        output.value(answer)
        return 0
    output.table(
        ("strategy", "weights", "what it does"),
        [(item.id, _origin(item.embedded), item.description) for item in answer],
    )
    return 0


def _memory(model: Model) -> str:
    if model.load_state == "unspecified":
        return ""
    state = model.load_state.replace("_", " ")
    return f"{state}, {model.size_bytes / _MEBIBYTE:,.1f} MiB" if model.size_bytes else state


def _limits(model: Model) -> str:
    limits = model.generation_limits
    if limits is None:
        return ""
    size = f"{limits.width_pixels} x {limits.height_pixels} px"
    return f"{limits.default_steps} steps, guidance scale {limits.default_guidance_scale:g}, {size}"


def _takes(model: Model) -> str:
    limits = model.generation_limits
    pictures = "initial images and masks" if limits and limits.takes_initial_image else ""
    adapters = ", ".join(adapter.id for adapter in model.adapters if not adapter.absent_reason)
    return "; ".join(filter(None, (pictures, adapters and f"adapters {adapters}")))


def _range(metric: Metric) -> str:
    if metric.minimum is None and metric.maximum is None:
        return ""
    low = "" if metric.minimum is None else raw_text(metric.minimum)
    high = "" if metric.maximum is None else raw_text(metric.maximum)
    return f"{low}..{high}"


def _origin(embedded: bool) -> str:
    return "embedded" if embedded else "downloaded"


def _short(revision: str) -> str:
    return revision[:_REVISION_CHARACTERS]
