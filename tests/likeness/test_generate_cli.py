"""`likeness generate` against a real server: files, tables for people, JSON, errors, Ctrl-C, a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import grpc
import pytest
from PIL import Image

from likeness.cli.main import main
from likeness.gateway.v1.image_service_pb2 import PRIORITY_BATCH, PRIORITY_INTERACTIVE
from tests.likeness.gateway.faults import Fault
from tests.likeness.gateway.generation import DRAWN_SEED
from tests.likeness.gateway.server import TestGateway
from tests.likeness.test_cli import json_lines, read_all, run_command

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def address(gateway: TestGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("LIKENESS_ADDRESS", gateway.address)
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path / "home"))
    return gateway.address


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "new" / "pictures"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_pictures_are_written_as_they_came_and_listed(out: Path, capsys: Capture) -> None:
    assert main(["generate", "a red star", "--count", "4", "--seed", "1", "--steps", "2", "--out", str(out)]) == 0
    assert names(out) == ["0001-1.png", "0002-2.png", "0003-3.png", "0004-4.png"]
    for path in out.iterdir():
        with Image.open(path) as picture:
            assert json.loads(picture.text["likeness"])["prompt"] == "a red star"
    head, *rows = [re.split(r" {2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert head == ["file", "seed", "steps", "scheduler", "model"]
    assert rows[3] == [str(out / "0004-4.png"), "4", "2", "DPMSolverMultistepScheduler", "generator-embedded"]
    assert len(rows) == 4


def test_every_option_reaches_the_server(out: Path, gateway: TestGateway) -> None:
    options = "--negative-prompt blue --guidance-scale 0 --width 64 --height 32 --scheduler ddim"
    assert main(["generate", "a", *options.split(), "--model", "generator-embedded", "--out", str(out)]) == 0
    sent = gateway.images.requests[0]
    assert (sent.negative_prompt, sent.scheduler, sent.model) == ("blue", "ddim", "generator-embedded")
    assert (sent.width_pixels, sent.height_pixels, sent.HasField("guidance_scale")) == (64, 32, True)
    assert not sent.HasField("seed") and not sent.HasField("steps") and not sent.keep


def test_how_pictures_begin_reaches_the_server(out: Path, gateway: TestGateway, target_file: Path) -> None:
    options = "--strength .6 --second-strength .4 --adapter ink --adapter-scale -0.8 --deterministic --priority batch"
    pictures = ["--from", str(target_file), "--mask", str(target_file)]
    assert main(["generate", "a", *pictures, *options.split(), "--preview-every", "3", "--out", str(out)]) == 0
    sent = gateway.images.requests[0]
    assert sent.initial_image.data == sent.mask.data == target_file.read_bytes()
    assert (sent.strength, sent.second_strength, sent.adapter, sent.adapter_scale) == (0.6, 0.4, "ink", -0.8)
    assert (sent.preview_interval_steps, sent.deterministic, sent.priority) == (3, True, PRIORITY_BATCH)
    assert main(["generate", "a", "--out", str(out)]) == 0
    sent = gateway.images.requests[1]
    assert not any(sent.HasField(name) for name in ("initial_image", "strength", "mask", "adapter_scale"))
    assert (sent.preview_interval_steps, sent.deterministic, sent.priority) == (0, False, PRIORITY_INTERACTIVE)


def test_a_file_that_is_not_there_is_said(out: Path, gateway: TestGateway, capsys: Capture) -> None:
    assert main(["generate", "a", "--from", "nothing.png", "--strength", "1", "--out", str(out)]) == 1
    assert capsys.readouterr().err == "error: nothing.png: No such file or directory\n"
    assert gateway.images.requests == []


def test_previews_are_lines_and_are_gone_at_the_end(out: Path, capsys: Capture) -> None:
    options = ["--count", "2", "--seed", "1", "--steps", "5", "--preview-every", "2"]
    assert main(["generate", "half broken", *options, "--out", str(out)]) == 1
    assert names(out) == ["0001-1.png"], "the second picture failed, and its preview is gone all the same"
    first, second = out / "0001-1.preview.jpg", out / "0002-2.preview.jpg"
    lines = [f"{path}  step {step} of 5" for path in (first, second) for step in (2, 4)]
    assert capsys.readouterr().out.splitlines()[:4] == lines


def test_previews_are_replaced_until_the_picture_is_there(out: Path) -> None:
    command = ["generate", "a", "--seed", "5", "--steps", "9", "--preview-every", "1", "--out", str(out), "--json"]
    preview = out / "0001-5.preview.jpg"
    with run_command(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        shown = []
        for line in process.stdout:
            answer = json.loads(line)
            if "preview" in answer:
                assert answer == {"file": str(preview), "preview": {"number": 1, "seed": 5, "step": len(shown) + 1}}
                shown.append(answer)
        assert process.wait(timeout=60) == 0
    assert len(shown) == 8 and answer["file"] == str(out / "0001-5.png")
    assert names(out) == ["0001-5.png"]


def test_a_preview_can_be_looked_at_and_goes_when_the_command_is_stopped(out: Path) -> None:
    out.mkdir(parents=True)
    (out / "0003-1.preview.jpg").write_text("another command's")
    command = ["generate", "never done", "--seed", "5", "--steps", "9", "--preview-every", "4", "--out", str(out)]
    preview = out / "0004-5.preview.jpg"
    with run_command(command, stdout=subprocess.PIPE) as process:
        while not preview.exists():
            time.sleep(0.01)
        with Image.open(preview) as picture:
            assert (picture.format, picture.size) == ("JPEG", (16, 16))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert names(out) == ["0003-1.preview.jpg"]


def test_a_drawn_seed_is_in_the_name_and_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "a red star"]) == 0
    assert (tmp_path / f"0001-{DRAWN_SEED}.png").exists()
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == [f"0001-{DRAWN_SEED}.png", str(DRAWN_SEED)]


def test_nothing_is_overwritten_numbers_go_on(out: Path) -> None:
    out.mkdir(parents=True)
    for name in ("0007-1.png", "notes.txt", "0099.png"):
        (out / name).write_text("mine")
    for _ in range(2):
        assert main(["generate", "a red star", "--count", "2", "--seed", "1", "--out", str(out)]) == 0
    assert names(out) == [
        *("0007-1.png", "0008-1.png", "0009-2.png", "0010-1.png", "0011-2.png"),
        *("0099.png", "notes.txt"),
    ]
    assert (out / "0007-1.png").read_text() == "mine"


def test_a_name_that_is_taken_meanwhile_is_left_alone(out: Path, gateway: TestGateway) -> None:
    gateway.hold_loops()
    command = ["generate", "a", "--seed", "5", "--out", str(out), "--json"]
    with run_command(command, stdout=subprocess.PIPE) as process:
        while not gateway.images.requests:
            time.sleep(0.01)
        (out / "0001-5.png").write_text("another command's")
        gateway.hold_loops(False)
        answer, _ = process.communicate(timeout=60)
    assert json.loads(answer)["file"] == str(out / "0002-5.png")
    assert (out / "0001-5.png").read_text() == "another command's" and (out / "0002-5.png").exists()


def test_json_is_one_line_a_picture(out: Path, capsys: Capture) -> None:
    assert main(["generate", "half broken", "--count", "3", "--seed", "1", "--out", str(out), "--json"]) == 1
    first, second, third = json_lines(capsys.readouterr().out)
    assert (first["file"], third["file"]) == (str(out / "0001-1.png"), str(out / "0003-3.png"))
    assert first["picture"]["record"]["prompt"] == "half broken" and "png" not in first["picture"]
    assert second["file"] is None and second["picture"]["error"]["reason"] == "GENERATION_FAILED"


def test_a_picture_that_fails_is_a_row_and_the_exit_code_says_so(out: Path, capsys: Capture) -> None:
    assert main(["generate", "half broken", "--count", "2", "--seed", "1", "--out", str(out)]) == 1
    assert names(out) == ["0001-1.png"]
    assert "failed: no memory left" in capsys.readouterr().out.splitlines()[2]


def test_a_cut_prompt_is_not_passed_over_in_silence(out: Path, capsys: Capture) -> None:
    note = "the prompt is longer than generator-embedded can read: its end was left out"
    main(["generate", "red " * 40, "--out", str(out)])
    assert capsys.readouterr().out.splitlines()[-1] == note
    main(["generate", "red", "--out", str(out)])
    assert note not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason", "field"),
    [
        (["a", "--seed", "-1"], "INVALID_FIELD", "seed"),
        (["a", "--count", "0"], "INVALID_FIELD", "count"),
        (["a", "--count", "17"], "INVALID_FIELD", "count"),
        ([""], "INVALID_FIELD", "prompt"),
        (["a", "--model", "nope"], "MODEL_NOT_FOUND", ""),
        (["a", "--from", __file__], "INVALID_FIELD", "strength"),
        (["a", "--adapter", "oil"], "INVALID_FIELD", "adapter"),
    ],
    ids=str,
)
def test_bad_values_are_errors_and_write_nothing(
    out: Path, capsys: Capture, arguments: list[str], reason: str, field: str
) -> None:
    assert main(["generate", *arguments, "--out", str(out), "--json"]) == 1
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["reason"], error["field"]) == (reason, field)
    assert names(out) == []


@pytest.mark.parametrize(
    "arguments", [[], ["a", "--count", "many"], ["a", "--priority", "soon"], ["a", "--steps"], ["a", "b"]], ids=str
)
def test_wrong_usage_is_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["generate", *arguments])
    assert caught.value.code == 2 and "usage:" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_said_before_any_picture(
    tmp_path: Path, gateway: TestGateway, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["generate", "a", "--out", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'file'}: File exists\n"
    assert gateway.images.requests == []


def test_pictures_made_before_a_failure_stay_and_are_named(out: Path, gateway: TestGateway, capsys: Capture) -> None:
    gateway.faults.add("GenerateImages", Fault(grpc.StatusCode.INTERNAL, "INTERNAL", "a defect", after_events=8))
    assert main(["generate", "a", "--count", "2", "--seed", "1", "--out", str(out)]) == 1
    answer = capsys.readouterr()
    assert answer.out == f"Done before it stopped: {out / '0001-1.png'}\n" and "a defect" in answer.err
    assert names(out) == ["0001-1.png"]


def test_ctrl_c_stops_the_denoising(out: Path, gateway: TestGateway) -> None:
    gateway.hold_loops()
    with run_command(["generate", "a", "--count", "16", "--out", str(out)], stdout=subprocess.PIPE) as process:
        while not gateway.images.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
        assert process.returncode == 130
    assert "Traceback" not in said + errors
    while not gateway.images.cancelled:
        time.sleep(0.01)
    assert names(out) == []


def test_a_terminal_gets_a_live_view(out: Path, gateway: TestGateway) -> None:
    parent, child = pty.openpty()
    gateway.hold_loops()
    with run_command(["generate", "a red star", "--count", "2", "--seed", "1", "--out", str(out)], stdout=child) as run:
        os.close(child)
        shown = b""
        while b"queued" not in shown:
            shown += os.read(parent, 65536)
        gateway.hold_loops(False)
        rest = read_all(parent)
        assert run.stderr is not None and run.stderr.read() == ""
        assert run.wait(timeout=60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", rest)
    assert "scheduler" in text and "DPMSolver" in text


def test_a_terminal_names_the_previews(out: Path) -> None:
    parent, child = pty.openpty()
    command = ["generate", "never done", "--seed", "5", "--preview-every", "1", "--out", str(out)]
    with run_command(command, stdout=child) as run:
        os.close(child)
        shown = b""
        while b"0001-5.preview.jpg" not in shown:
            shown += os.read(parent, 65536)
        assert str(out).encode() not in shown, "no line of its own: the live region has it"
        run.send_signal(signal.SIGINT)
        read_all(parent)
        assert run.wait(timeout=60) == 130
