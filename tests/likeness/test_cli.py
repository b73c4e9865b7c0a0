"""The command line against a real server: answers for people and as JSON, exit codes, Ctrl-C, a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from PIL import Image

from likeness import Client, Model, ModelList
from likeness.cli.main import main
from tests.likeness.gateway.faults import Fault
from tests.likeness.gateway.server import TestGateway

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def address(gateway: TestGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("LIKENESS_ADDRESS", gateway.address)
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path / "home"))
    return gateway.address


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_regenerate_tells_the_story_and_writes_the_report(target_file: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert main(["regenerate", str(target_file), "--rounds", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "target  a large red car left of a small cat" in said
    assert re.search(r"round 2 +repainter · looks at style", said)
    assert re.search(r"best 0\.\d{3} r2c2 +\+0\.\d{3} against the best before", said)
    assert "rounds done" in said
    assert {path.name for path in out.iterdir()} == {"report.html", "best.png", "result.json"}
    result = json.loads((out / "result.json").read_text())
    with Image.open(out / "best.png") as best:
        assert json.loads(best.text["likeness"])["prompt"] == result["prompt"]
    assert len(result["rounds"]) == 2 and result["session"]["state"] == "succeeded"


def test_stop_rules_of_regenerate_reach_the_loop(gateway: TestGateway, target_file: Path) -> None:
    rules = ["--target-score", "0.9", "--plateau-rounds", "3", "--image-budget", "5", "--seconds-budget", "60.5"]
    assert main(["regenerate", str(target_file), "--rounds", "1", *rules]) == 0
    assert main(["regenerate", str(target_file), "--rounds", "1"]) == 0
    asked, plain = gateway.world.loops
    assert (asked.target_score, asked.plateau_rounds, asked.image_budget, asked.seconds_budget) == (0.9, 3, 5, 60.5)
    assert [field.name for field, _ in plain.ListFields()] == ["rounds"]


def test_a_loop_is_paused_and_resumed(gateway: TestGateway, target: bytes, capsys: Capture) -> None:
    gateway.hold_loops()
    with Client(gateway.address) as client:
        session = client.start_loop(client.create_session(target))
    assert main(["session", "pause", session.id, "--now"]) == 0
    said = capsys.readouterr().out
    assert f"{session.id} paused" in said and "0 of 4 rounds done" in said and "resume" in said
    gateway.hold_loops(False)
    assert main(["watch", session.id]) == 0
    assert f"your turn: likeness session submit|feedback|rank|resume {session.id}" in capsys.readouterr().out
    assert main(["session", "resume", session.id]) == 0
    assert f"{session.id} running" in capsys.readouterr().out


def test_regenerate_as_json_lines(target_file: Path, capsys: Capture) -> None:
    assert main(["regenerate", str(target_file), "--rounds", "1", "--json"]) == 0
    values = json_lines(capsys.readouterr().out)
    assert values[0]["kind"] == "session_snapshot"
    sequences = [value["sequence"] for value in values[1:-1] if value["sequence"]]
    assert sequences == list(range(1, len(sequences) + 1))
    assert values[-1]["prompt"] == values[-1]["result"]["best"]["prompt"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["models"],
        ["metrics"],
        ["strategies"],
        ["score", "TARGET", "TARGET", "TARGET"],
        ["session", "new", "TARGET", "--name", "mine"],
        ["session", "list"],
        ["session", "show", "s1"],
        ["session", "submit", "s1", "a car", "--images", "2"],
        ["session", "feedback", "s1", "bluer", "--aspect", "color"],
        ["session", "rank", "s1", "r1c2", "r1c1"],
        ["watch", "s1"],
        ["session", "delete", "s1"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_every_command_speaks_to_people_and_programs(arguments: list[str], target_file: Path, capsys: Capture) -> None:
    main(["session", "new", str(target_file)])
    list(main(["session", "submit", "s1", "a red car"]) for _ in range(1))
    arguments = [str(target_file) if word == "TARGET" else word for word in arguments]
    capsys.readouterr()
    if arguments[1:2] != ["delete"]:
        assert main(arguments) == 0
        assert capsys.readouterr().out.strip()
    assert main([*arguments, "--json"]) == 0
    answer = capsys.readouterr()
    assert json_lines(answer.out) and answer.err == ""


def test_tables_are_aligned_and_say_directions(target_file: Path, capsys: Capture) -> None:
    main(["score", str(target_file), str(target_file)])
    head, row, note = capsys.readouterr().out.splitlines()
    assert head.index("phash ↓") + len("phash ↓") == row.rindex("6 ") + 1
    assert "↓ less is more alike" in note


def test_a_cut_text_is_not_passed_over_in_silence(target_file: Path, capsys: Capture) -> None:
    main(["score", str(target_file), str(target_file), "--text", "red " * 40])
    note = "the text is longer than clip-embedded can read: its end was left out"
    assert capsys.readouterr().out.splitlines()[-1] == note
    main(["score", str(target_file), str(target_file), "--text", "red"])
    assert note not in capsys.readouterr().out


def test_models_say_what_pictures_can_be_made_with(capsys: Capture) -> None:
    main(["models"])
    *_, takes, absent, unreachable = capsys.readouterr().out.splitlines()
    assert takes == "generator-embedded takes initial images and masks; adapters ink"
    assert absent == "generator-embedded: adapter oil is absent: its file is not there"
    assert unreachable == "No answer from: refiner"
    main(["models", "--json"])
    (model, _) = json_lines(capsys.readouterr().out)[0]["models"]
    assert model["generation_limits"]["takes_initial_image"] is True
    assert [(one["id"], one["absent_reason"]) for one in model["adapters"]] == [
        ("ink", ""),
        ("oil", "its file is not there"),
    ]


def test_models_say_whether_they_are_in_memory(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    main(["models"])
    head, generator, embedder, *_ = capsys.readouterr().out.splitlines()
    column = head.index("in memory")
    assert generator[column:].startswith("not loaded, 3.0 MiB  ") and embedder[column:].startswith("  ")
    lost = Model("lost", "", "generator", "lost", False, "MIT", load_state="failed", load_problem="it has no folder")
    monkeypatch.setattr(Client, "models", lambda _: ModelList((lost,)))
    main(["models"])
    _, row, note = capsys.readouterr().out.splitlines()
    assert "  failed  " in row and note == "lost could not be loaded: it has no folder"


def test_metrics_end_with_those_that_are_absent(capsys: Capture) -> None:
    main(["metrics"])
    *_, last, absent = capsys.readouterr().out.splitlines()
    assert last.startswith("psnr") and absent == "lpips-squeeze is absent: no weights were found"


def test_a_bad_candidate_fails_alone_and_the_exit_code_says_so(
    target_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    junk = tmp_path / "junk.png"
    junk.write_bytes(b"junk")
    assert main(["score", str(target_file), str(target_file), str(junk)]) == 1
    assert "the file is broken" in capsys.readouterr().out


def test_errors_are_one_line_with_reason_and_field(target_file: Path, capsys: Capture) -> None:
    assert main(["regenerate", str(target_file), "--rounds", "-3"]) == 1
    answer = capsys.readouterr()
    assert answer.err.splitlines() == [
        "error: settings.rounds: -3 is out of range; allowed: 1 to 100 (INVALID_FIELD, field settings.rounds)"
    ]
    assert main(["score", str(target_file), str(target_file), "--metrics", "nope", "--json"]) == 1
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["reason"], error["field"], error["code"]) == ("METRIC_NOT_FOUND", "metrics", "NOT_FOUND")


def test_a_missing_file_is_named(capsys: Capture) -> None:
    assert main(["regenerate", "nowhere.png"]) == 1
    assert capsys.readouterr().err == "error: nowhere.png: No such file or directory\n"


def test_no_gateway_comes_with_advice(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert main(["status", "--address", "127.0.0.1:1"]) == 1
    said = capsys.readouterr().err
    assert "127.0.0.1:1" in said and "likeness up" in said


def test_internal_errors_give_the_request_id(gateway: TestGateway, capsys: Capture) -> None:
    gateway.faults.add("GetStatus", Fault(grpc.StatusCode.INTERNAL, "INTERNAL", "internal error"))
    assert main(["status"]) == 1
    assert gateway.faults.metadata["GetStatus"]["x-request-id"] in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["score"], ["regenerate", "a.png", "--rounds", "many"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_sick_system_is_exit_code_1(gateway: TestGateway, capsys: Capture) -> None:
    gateway.catalog.health = 3
    assert main(["status"]) == 1
    assert "not serving" in capsys.readouterr().out


def test_hidden_scores_stay_hidden(target_file: Path, capsys: Capture) -> None:
    main(["session", "new", str(target_file), "--hide-scores"])
    main(["session", "submit", "s1", "a red car"])
    capsys.readouterr()
    for arguments in (["session", "show", "s1"], ["session", "list"], ["watch", "s1"]):
        main(arguments)
        assert "0.7" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["regenerate", "submit"])
def test_ctrl_c_cancels_the_loop_and_says_so(command: str, gateway: TestGateway, target_file: Path) -> None:
    gateway.hold_loops()
    arguments = ["regenerate", str(target_file)]
    if command == "submit":
        main(["session", "new", str(target_file)])
        arguments = ["session", "submit", "s1", "a car"]
    with run_command([*arguments, "--json"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        process.stdout.read()
        assert process.wait(timeout=60) == 130
    assert "ancelled" in said and "s1" in said and "Traceback" not in said
    assert gateway.world.sessions["sessions/s1"].session.state == 4


def test_a_terminal_gets_a_live_view(target_file: Path) -> None:
    parent, child = pty.openpty()
    with run_command(["regenerate", str(target_file), "--rounds", "2"], stdout=child, columns=100) as process:
        os.close(child)
        shown = read_all(parent)
        assert process.stderr is not None and process.stderr.read() == ""
        assert process.wait(timeout=60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert "round 2" in text and re.search(r"r2c2 +0\.685", text) and "against the best before" in text
    assert "\x1b[" in shown


def test_a_closed_pipe_is_no_error(gateway: TestGateway) -> None:
    with run_command(["models"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""


def run_command(arguments: list[str], *, stdout: int, columns: int = 100) -> subprocess.Popen[str]:
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "likeness.cli.main", *arguments]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment)


def read_all(descriptor: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # Linux's way to say that the other side was closed
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()
