"""`likeness profile` against a real server: tables for people, JSON, errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from likeness import Client
from likeness.cli.main import main
from tests.likeness.gateway.server import TestGateway

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def address(gateway: TestGateway, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LIKENESS_ADDRESS", gateway.address)
    return gateway.address


@pytest.fixture
def picture(target_file: Path) -> str:
    return str(target_file)


@pytest.fixture
def anna(client: Client, picture: str) -> None:
    """A profile with two versions: a start, and a fit of two targets."""
    client.create_profile("anna", display_name="Anna")
    client.fit_profile("anna", rankings=[(picture, [picture, picture])] * 2)


def said(capsys: Capture) -> list[str]:
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


def test_create_says_what_it_starts_from_and_what_is_next(capsys: Capture) -> None:
    assert main(["profile", "create", "crowd", "--base-metric", "lpips-squeeze"]) == 0
    first, following = said(capsys)
    assert first == "clpips:crowd  scores as lpips-squeeze until it is fitted"
    assert following == "Next: likeness profile fit crowd --session SESSION"
    assert main(["profile", "create", "anna", "--parent", "crowd", "--display-name", "Anna", "--json"]) == 0
    created = json.loads(capsys.readouterr().out)
    assert (created["id"], created["parent"], created["display_name"]) == ("anna", "crowd", "Anna")


def test_fit_takes_sessions_and_rankings_which_add_up(gateway: TestGateway, picture: str, capsys: Capture) -> None:
    for _ in range(2):
        main(["session", "new", picture])
    main(["profile", "create", "anna"])
    ranking = ["--ranking", picture, picture, picture]
    assert main(["profile", "fit", "anna", "--session", "s1", "sessions/s2", *ranking, *ranking, picture]) == 0
    record = gateway.world.profiles["anna"]
    assert record.sessions == {"s1", "s2"}
    assert [len(item.pictures) for item in record.rankings] == [2, 3]
    assert "learned from 4 rankings of 4 targets" in said(capsys)
    assert main(["profile", "fit", "anna", *ranking]) == 0
    assert record.profile.ranking_count == 5
    assert main(["profile", "fit", "anna", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["active"]["number"] == 4


@pytest.mark.usefixtures("anna")
def test_report_has_the_tables_of_the_paper(capsys: Capture) -> None:
    assert main(["profile", "report", "anna"]) == 0
    lines = [cells(line) for line in said(capsys)]
    assert lines[:2] == [
        ["clpips:anna version 2", "active", "on lpips-squeeze, revision rev2"],
        ["learned from 2 rankings of 2 targets"],
    ]
    assert lines[3:13] == [
        ["held out", "value", "95 % CI", "p", "band"],
        ["Spearman rho", "LPIPS", "0.432", "0.002"],
        ["learned", "0.524", "< 0.001"],
        ["gain", "+0.092", "[0.061, 0.120]", "0.012"],
        ["ICC(2,k)", "LPIPS", "0.600", "[0.570, 0.640]", "< 0.001", "moderate"],
        ["learned", "0.680", "[0.660, 0.710]", "< 0.001", "moderate"],
        ["gain", "+0.084", "[0.071, 0.100]", "< 0.001"],
        ["ICC(3,k)", "LPIPS", "0.601", "[0.571, 0.641]", "< 0.001", "moderate"],
        ["learned", "0.681", "[0.661, 0.711]", "< 0.001", "good"],
        ["gain", "+0.083", "[-0.070, 0.099]", "0.040"],
    ]
    assert lines[-1][0] == "Decision" and lines[-1][1].startswith("learned: on 2 held-out targets")


@pytest.mark.usefixtures("anna")
def test_report_of_another_version(capsys: Capture) -> None:
    assert main(["profile", "report", "anna", "--version", "1"]) == 0
    first, note = said(capsys)
    assert "version 1  not active: 2 is" in first
    assert note == "No report: its weights are a copy of those of lpips-squeeze."
    assert main(["profile", "report", "anna", "--version", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] is None
    assert main(["profile", "report", "anna", "--version", "9"]) == 1
    problem = "error: version 9 of anna does not exist; there are 1 to 2 (PROFILE_VERSION_NOT_FOUND, field version)\n"
    assert capsys.readouterr().err == problem


def test_an_unchecked_fit_has_no_tables(picture: str, capsys: Capture) -> None:
    main(["profile", "create", "anna"])
    assert main(["profile", "fit", "anna", "--ranking", picture, picture, picture]) == 0
    answer = capsys.readouterr().out
    assert "learned from 1 ranking of 1 target\n" in answer and "ICC" not in answer
    assert "Decision  learned from one target" in answer


@pytest.mark.usefixtures("anna")
def test_list_versions_and_rollback(client: Client, capsys: Capture) -> None:
    client.create_profile("bob", parent="anna")
    assert main(["profile", "list"]) == 0
    _, anna, bob = (cells(line) for line in said(capsys))
    assert anna == ["clpips:anna", "lpips-squeeze", "2", "2 of 2", "0.680", anna[5], "Anna"]
    assert bob[:5] == ["clpips:bob", "anna", "0", "1 of 1", "-"]
    assert main(["profile", "versions", "anna"]) == 0
    _, second, first = (cells(line) for line in said(capsys))
    assert second[:-1] == ["* 2", "rev2", "2", "0.680", "0.600", "fitted"]
    assert first[:-1] == ["1", "rev1", "-", "-", "-", "start"]
    assert main(["profile", "rollback", "anna", "1"]) == 0
    assert said(capsys) == ["clpips:anna scores by version 1"]
    assert client.profile("anna").active.number == 1
    assert main(["profile", "rollback", "anna", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["active"]["number"] == 2


@pytest.mark.usefixtures("anna")
def test_lists_as_json_lines(capsys: Capture) -> None:
    assert main(["profile", "list", "--json"]) == 0
    assert [json.loads(line)["id"] for line in said(capsys)] == ["anna"]
    assert main(["profile", "versions", "anna", "--json"]) == 0
    assert [json.loads(line)["number"] for line in said(capsys)] == [2, 1]
    assert main(["profile", "report", "anna", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["agreement_gain"]["low"] == 0.071


@pytest.mark.usefixtures("anna")
def test_delete_takes_several(client: Client, capsys: Capture) -> None:
    client.create_profile("bob")
    assert main(["profile", "delete", "anna", "bob"]) == 0
    assert said(capsys) == ["anna deleted", "bob deleted"]
    assert list(client.profiles()) == []
    assert main(["profile", "delete", "anna", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": "anna"}


@pytest.mark.usefixtures("anna")
def test_a_profile_is_a_metric_of_score(picture: str, capsys: Capture) -> None:
    assert main(["score", picture, picture, "--metrics", "phash,clpips:anna"]) == 0
    head, row, _ = said(capsys)
    assert cells(head) == ["candidate", "phash ↓", "clpips:anna ↓"]
    assert cells(row)[1:] == ["6", "0.1"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["create", "anna"], "PROFILE_EXISTS"),
        (["create", "bob", "--parent", "nobody"], "PROFILE_NOT_FOUND"),
        (["fit", "nobody"], "PROFILE_NOT_FOUND"),
        (["fit", "anna", "--session", "nobody"], "SESSION_NOT_FOUND"),
        (["fit", "anna", "--ranking", "TARGET", "TARGET"], "INVALID_FIELD"),
        (["report", "nobody"], "PROFILE_NOT_FOUND"),
        (["versions", "nobody"], "PROFILE_NOT_FOUND"),
        (["rollback", "anna", "9"], "PROFILE_VERSION_NOT_FOUND"),
    ],
)
@pytest.mark.usefixtures("anna")
def test_errors_are_one_line_with_their_reason(
    arguments: list[str], reason: str, picture: str, capsys: Capture
) -> None:
    arguments = [picture if word == "TARGET" else word for word in arguments]
    assert main(["profile", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and reason in line
    assert main(["profile", *arguments, "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["reason"] == reason


def test_a_missing_picture_is_named(capsys: Capture) -> None:
    assert main(["profile", "fit", "anna", "--ranking", "nowhere.png", "a.png", "b.png"]) == 1
    assert capsys.readouterr().err == "error: nowhere.png: No such file or directory\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["create"], ["fit", "anna", "--ranking"], ["rollback", "anna"], ["report", "anna", "--version", "x"]],
)
def test_wrong_usage_is_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["profile", *arguments])
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
