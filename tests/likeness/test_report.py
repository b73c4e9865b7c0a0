"""The report: well-formed, self-contained, safe against hostile text, complete."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from likeness import Client, SessionDetails
from likeness.report import ReportData, collect, render, write_report
from likeness.report.charts import Series, line_chart
from likeness.report.html import Html, el, join
from likeness.report.pictures import embed
from likeness.report.rounds import diff

HOSTILE = '</style><script>alert("x")</script> \'"><img src=x onerror=alert(1)> &amp; ü 車 \x00'
VOID = {"meta", "img", "br", "hr"}


@pytest.fixture
def data(client: Client, target: bytes) -> ReportData:
    session = client.start_loop(client.create_session(target, display_name="my picture"), rounds=3)
    list(client.watch(session, until_idle=True))
    return collect(client, client.get_session(session))


class Checker(HTMLParser):
    """Collects tags, attributes and text, and fails on a tag that is closed out of order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_well_formed_and_complete(data: ReportData) -> None:
    page = Checker(render(data))
    text = " ".join(" ".join(page.words).split())
    assert page.tags.count("img") >= 2 + 3 + 6
    assert page.tags.count("svg") == 1 + 1 + 3
    for expected in (
        "From 0.610 to 0.760 in 3 rounds.",
        "my picture",
        "DPMSolverMultistepScheduler",
        "5f1d2c90",
        "higher is better",
        "lower is better",
        "a large red car left of a small cat on a meadow, pixel art, high quality",
        "The target has a cat to the right of the car.",
        "pixel art",
        "3001",
        "What color is the car?",
        "all rounds were done",
    ):
        assert expected in text, expected


def test_nothing_is_fetched_and_nothing_runs(data: ReportData) -> None:
    page = render(data)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page.replace("data:", ""))
    checked = Checker(page)
    assert "script" not in checked.tags and "link" not in checked.tags
    assert all(value and value.startswith("data:image/") for name, value in checked.attributes if name == "src")
    assert not [name for name, _ in checked.attributes if name.startswith("on")]


def test_hostile_text_stays_text(data: ReportData) -> None:
    session = data.session
    assert session.best is not None and session.tree is not None
    bad_rounds = tuple(
        replace(
            item,
            base_prompt=HOSTILE,
            strategy=HOSTILE,
            candidates=tuple(replace(c, prompt=HOSTILE + "!", origin=HOSTILE) for c in item.candidates),
        )
        for item in data.rounds
    )
    hostile = replace(
        data,
        rounds=bad_rounds,
        profile=HOSTILE,
        session=replace(
            session,
            display_name=HOSTILE,
            best=replace(session.best, prompt=HOSTILE),
            tree=replace(session.tree, base_caption=HOSTILE),
        ),
    )
    page = Checker(render(hostile))
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert sum('<script>alert("x")</script>' in text for text in page.words) >= 5


def test_small_pictures_keep_sharp_pixels_and_large_ones_are_scaled_down(target: bytes) -> None:
    small = embed(target)
    assert 'class="pixel"' in small.img("x") and small.uri.startswith("data:image/png")
    noise = Image.effect_noise((900, 600), 90).convert("RGB")
    out = io.BytesIO()
    noise.save(out, "PNG")
    large = embed(out.getvalue())
    assert (large.width, large.height) == (900, 600)
    assert large.uri.startswith("data:image/webp") and len(large.uri) < len(out.getvalue())
    assert "pixel" not in large.img("x")


@pytest.mark.parametrize(("form", "mode"), [("TIFF", "CMYK"), ("JPEG", "CMYK"), ("BMP", "RGB")])
def test_forms_that_browsers_do_not_show_are_converted(form: str, mode: str) -> None:
    out = io.BytesIO()
    Image.new(mode, (32, 32)).save(out, form)
    assert embed(out.getvalue()).uri.startswith("data:image/webp")


def test_a_session_without_rounds_has_a_page(client: Client, target: bytes) -> None:
    session = client.create_session(target)
    page = render(collect(client, SessionDetails(session, ())))
    assert "No picture could be scored." in page
    Checker(page)


def test_a_single_human_round_has_a_page(client: Client, target: bytes, tmp_path: Path) -> None:
    session = client.create_session(target)
    list(client.submit_prompt(session, "a red car"))
    page = write_report(client, client.get_session(session), tmp_path / "deep" / "folder").read_text()
    assert "One round gave a likeness of 0.700." in page
    assert (tmp_path / "deep" / "folder" / "best.png").read_bytes().startswith(b"\x89PNG")


def test_what_changed_is_marked() -> None:
    assert diff("a red car, plain", "a blue car, plain") == "a <del>red</del> <ins>blue</ins> car, plain"
    assert diff("", "a car") == "a car"
    assert diff("a car", "a car & <b>") == "a car <ins>&amp; &lt; b &gt;</ins>"


def test_elements() -> None:
    assert el("p", "a < b", None, False, [el("b", 1), Html("<i></i>")], class_="x", hidden=True, title=None) == (
        '<p class="x" hidden="">a &lt; b<b>1</b><i></i></p>'
    )
    assert el("circle", cx=0, stroke_width=2) == '<circle cx="0" stroke-width="2"/>'
    assert join("<", el("br")) == "&lt;<br/>"


@pytest.mark.parametrize(
    "rows", [[[0.5]], [[0.0, 0.0]], [[1e-9], [2e-9]], [[-3.0], [50000.0]], [[]], [[float(i)] for i in range(100)]]
)
def test_charts_stay_inside_their_frame(rows: list[list[float]]) -> None:
    chart = line_chart(Series(rows, [row[0] if row else None for row in rows]), "x")
    for name, limit in (("cx", 340), ("cy", 168), ("x", 340), ("y", 168)):
        for value in re.findall(rf' {name}="([^"]+)"', chart):
            assert 0 <= float(value) <= limit
    assert chart.count('class="mark"') == sum(bool(row) for row in rows)
