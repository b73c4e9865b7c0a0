"""`likeness race` and its report: tables for people, JSON, CSV, a page that is safe to send."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from likeness import Client, RaceDetails
from likeness.cli.arguments import UsageError
from likeness.cli.commands.race import read_entrants
from likeness.cli.main import main
from likeness.report.races import RaceReport, collect_race, render_race, write_race_report
from tests.likeness.gateway.server import TestGateway
from tests.likeness.test_races import ENTRANTS, pictures
from tests.likeness.test_report import HOSTILE, Checker

Capture = pytest.CaptureFixture[str]
TWO = ["--entrant", "name=long,strategy=repainter,rounds=3", "--entrant", "name=short,rounds=1,candidates=2"]


@pytest.fixture(autouse=True)
def address(gateway: TestGateway, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LIKENESS_ADDRESS", gateway.address)
    return gateway.address


@pytest.fixture
def targets(tmp_path: Path) -> list[str]:
    """Three files, the last of which the second entrant fails on."""
    paths = []
    for name, data in zip(("one.png", "two.png", "bad"), pictures(3).values(), strict=True):
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    return [str(path) for path in paths]


@pytest.fixture
def details(client: Client) -> RaceDetails:
    data = pictures(3)
    return client.race({"one": data["t0"], "two": data["t1"], "bad": data["t2"]}, ENTRANTS, display_name="night race")


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


def test_the_table_is_in_the_terminal(targets: list[str], gateway: TestGateway, capsys: Capture) -> None:
    assert main(["race", *targets, *TWO, "--metric", "clip-embedded,psnr", "--seed", "4", "--name", "mine"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "races/r1  3 targets, 2 entrants"
    assert "  long 1/3 finished   short 1/3 finished" in lines
    assert "  long 3/3 finished   short 2/3 finished, 1 failed" in lines
    table = [cells(line) for line in lines if line.startswith(("entrant", "long", "short"))]
    assert table[0] == ["entrant", "finished", "clip-embedded", "psnr", "pictures", "seconds", "stopped by"]
    value = "0.650 [0.630, 0.670]"
    assert table[1] == ["long", "3 of 3", value, value, "12.0", "12.5", "rounds done 3"]
    assert table[2][-1] == "rounds done 2, GENERATION_FAILED 1"
    pairs = [cells(line) for line in lines if "long - short" in line]
    assert pairs[0] == ["clip-embedded", "long - short", "+0.080 [0.060, 0.100]", "0.012", "0.031", "2/0/0", "2"]
    assert lines[-1] == "a difference of at most 0.001 is a tie; p is not corrected"
    sent = gateway.races.requests[0]
    assert (sent.seed, sent.display_name, list(sent.metrics)) == (4, "mine", ["clip-embedded", "psnr"])
    assert [one.display_name for one in sent.targets] == ["one.png", "two.png", "bad"]


def test_json_has_progress_then_the_result(targets: list[str], tmp_path: Path, capsys: Capture) -> None:
    assert main(["race", *targets, *TWO, "--json", "--out", str(tmp_path / "out")]) == 0
    values = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert values[0]["progress"][0]["running"] == 3 and values[0]["state"] == "running"
    assert values[-2]["race"]["state"] == "finished" and len(values[-2]["entries"]) == 6
    assert values[-2]["table"]["duels"][0]["t_test_p"] == 0.012
    assert values[-1] == {"report": str(tmp_path / "out" / "report.html")}


def test_the_folder_has_page_json_and_csv(targets: list[str], tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "deep" / "out"
    assert main(["race", *targets, *TWO, "--metric", "psnr", "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Report  {out / 'report.html'}"
    assert {path.name for path in out.iterdir()} == {"report.html", "race.json", "table.csv", "entries.csv"}
    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["entrant"], row["metric"], row["round"]) for row in rows] == [
        ("long", "psnr", "1"), ("long", "psnr", "2"), ("long", "psnr", "3"), ("long", "images", ""),
        ("long", "seconds", ""), ("short", "psnr", "1"), ("short", "images", ""), ("short", "seconds", ""),
    ]  # fmt: skip
    assert float(rows[2]["mean"]) == pytest.approx(0.65) and rows[2]["targets"] == "3"
    with (out / "entries.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["target"] for row in rows] == ["one.png", "one.png", "two.png", "two.png", "bad", "bad"]
    assert (rows[0]["state"], rows[0]["psnr raw"], rows[0]["rounds"]) == ("succeeded", "20.0", "3")
    assert (rows[5]["state"], rows[5]["error"], rows[5]["psnr"]) == ("failed", "GENERATION_FAILED", "")
    assert json.loads((out / "race.json").read_text())["profile"]


def test_formulas_do_not_reach_a_spreadsheet(client: Client, tmp_path: Path) -> None:
    write_race_report(client, client.race({"=cmd()": pictures(1)["t0"]}, {"+a": {}, "@b": {}}), tmp_path)
    for name in ("table.csv", "entries.csv"):
        with (tmp_path / name).open(newline="") as file:
            assert not [cell for row in csv.reader(file) for cell in row if cell[:1] in ("=", "+", "@")]


def test_the_page_is_complete(client: Client, details: RaceDetails) -> None:
    page = Checker(render_race(collect_race(client, details)))
    text = " ".join(" ".join(page.words).split())
    for expected in (
        "long leads by clip-embedded: 0.650 against 0.470 of short,",
        "a difference that is hardly chance (p = 0.012, 2 pairs).",
        "night race",
        "2 of 3 1 failed",
        "generation failed ×1",
        "0.650 [0.630, 0.670]",
        "Differences of at most 0.001 are ties.",
        "not corrected for the 2 tests",
        "include waiting for backends",
        "Target by target",
        "failed: no memory left",
        "3 × 2",
        "0 + index of the target",
    ):
        assert expected in text, expected
    # A target and two pictures a row, one of them missing; a chart a metric.
    assert (page.tags.count("img"), page.tags.count("svg")) == (3 * 3 - 1, 2)
    assert page.tags.count("polyline") == 4


def test_nothing_is_fetched_and_nothing_runs(client: Client, details: RaceDetails) -> None:
    text = render_race(collect_race(client, details))
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text.replace("data:", ""))
    page = Checker(text)
    assert "script" not in page.tags and "link" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_hostile_text_stays_text(client: Client, details: RaceDetails) -> None:
    report = collect_race(client, details)
    race, table = details.race, details.table
    entrants = tuple(replace(one, display_name=HOSTILE, generator_model=HOSTILE) for one in race.entrants)
    targets = tuple(replace(one, display_name=HOSTILE) for one in race.targets)
    hostile = replace(
        details,
        race=replace(race, display_name=HOSTILE, entrants=entrants, targets=targets),
        table=replace(
            table,
            rows=tuple(
                replace(one, entrant=f"{HOSTILE}{i}", failures=((HOSTILE, 1),)) for i, one in enumerate(table.rows)
            ),
            duels=tuple(replace(one, first=f"{HOSTILE}0", second=f"{HOSTILE}1") for one in table.duels),
        ),
    )
    page = Checker(render_race(replace(report, details=hostile)))
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert sum('<script>alert("x")</script>' in text for text in page.words) >= 10


def test_a_race_without_a_finished_target_has_a_page(client: Client, gateway: TestGateway) -> None:
    gateway.hold_loops()
    race = client.create_race(pictures(2), ENTRANTS)
    client.cancel_race(race)
    report: RaceReport = collect_race(client, replace(client.get_race(race), entries=()))
    text = " ".join(Checker(render_race(report)).words)
    assert "No two entrants have a finished target." in text and "was cancelled" in text


def test_entrants_are_read() -> None:
    given = ["name=a,strategy=llm,rounds=2,target_score=0.9,fresh_noise=true,selection_metrics=ssim+psnr", "strategy=b"]
    assert read_entrants(given) == {
        "a": {
            "strategy": "llm",
            "rounds": 2,
            "target_score": 0.9,
            "fresh_noise": True,
            "selection_metrics": ("ssim", "psnr"),
        },
        "b": {"strategy": "b"},
    }


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["name=a", "name=a"], "a name of its own"),
        (["rounds=1", "name=b"], "a name of its own"),
        (["name=a"], "at least two"),
        ([], "at least two"),
        (["name=a,pace=1", "name=b"], "'pace' is not one of name, strategy"),
        (["name=a,rounds", "name=b"], "'rounds' is not one of"),
        (["name=a,rounds=1,rounds=2", "name=b"], "each once"),
        (["name=a,rounds=many", "name=b"], "rounds is 'many'"),
        (["name=a,fresh_noise=maybe", "name=b"], "fresh_noise is 'maybe'"),
    ],
)
def test_entrants_that_make_no_sense(given: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=re.escape(problem)):
        read_entrants(given)


def test_errors_are_one_line(targets: list[str], capsys: Capture) -> None:
    assert main(["race", *targets, "--entrant", "name=a"]) == 2
    assert capsys.readouterr().err == "error: a race needs at least two --entrant\n"
    assert main(["race", "nowhere.png", *TWO]) == 1
    assert capsys.readouterr().err == "error: nowhere.png: No such file or directory\n"
    assert main(["race", targets[0], targets[0], targets[0], *TWO]) == 2
    assert "twice" in capsys.readouterr().err


def test_ctrl_c_cancels_the_race(
    targets: list[str], gateway: TestGateway, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    gateway.hold_loops()
    monkeypatch.setattr("likeness.cli.race_view.RaceProgressView.show", leave)
    assert main(["race", *targets, *TWO]) == 130
    assert "Race cancelled; what it made stays as races/r1" in capsys.readouterr().out
    assert gateway.world.races["races/r1"].end_time.seconds > 0
