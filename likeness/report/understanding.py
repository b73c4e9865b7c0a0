"""The understanding tree of the target, nested and collapsible."""

from __future__ import annotations

from likeness import Feature, ObjectNode, UnderstandingTree
from likeness.report.collecting import ReportData
from likeness.report.html import Html, el


def section(data: ReportData) -> Html | None:
    """Caption, features of the whole, objects with theirs, relations."""
    tree = data.session.tree
    if tree is None:
        return None
    return el(
        "section",
        el("h2", "What was seen in the target"),
        el("div", data.target.img("Target", "small"), _tree(tree), class_="seen"),
    )


def _tree(tree: UnderstandingTree) -> Html:
    branches = [
        _branch("Picture", [_feature(item) for item in tree.overall_features]),
        *(_object(node) for node in tree.objects),
        _branch("Relations", [el("li", f"{r.subject} ", el("i", r.predicate), f" {r.object}") for r in tree.relations]),
    ]
    return el("details", el("summary", tree.base_caption), branches, open=True, class_="tree")


def _object(node: ObjectNode) -> Html | None:
    questions = [
        el("li", el("span", item.question, class_="muted"), " ", item.answer, class_="question")
        for item in node.questions
    ]
    return _branch(node.name, [*(_feature(item) for item in node.features), *questions], always=True)


def _branch(title: str, leaves: list[Html], *, always: bool = False) -> Html | None:
    if not leaves and not always:
        return None
    return el("details", el("summary", title), el("ul", leaves), open=True)


def _feature(item: Feature) -> Html:
    sure = None
    if item.confidence > 0:
        percent = f"{100 * item.confidence:.0f} %"
        bar = el("span", style=f"width:{100 * min(item.confidence, 1):.0f}%")
        sure = el("span", el("span", bar, class_="bar"), percent, class_="sure", title="how sure the model is")
    return el("li", el("span", item.name, class_="muted"), " ", el("b", item.value), sure)
