"""`likeness evaluate` and the SDK's calls against a real gateway: files, going on after Ctrl-C, exit codes."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from likeness import AsyncClient, Client, EvaluationResult, EvaluationState, NotFound
from likeness.cli.commands import evaluate as evaluate_command
from likeness.cli.main import main
from tests.gateway.conftest import Gateway
from tests.gateway.evaluations.manifesting import jsonl, pair, prompted

pytestmark = pytest.mark.integration

COUNT = 12


async def likeness(gateway: Gateway, *words: str | Path) -> int:
    """Exit code of a command line."""
    argv = [*map(str, words), "--address", f"127.0.0.1:{gateway.server.port}"]
    return await asyncio.to_thread(main, argv)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(jsonl(pair(n, group=f"g{n % 2}", system="=a" if n % 3 else "b") for n in range(COUNT)))
    return path


async def test_results_are_the_same_in_every_format(
    gateway: Gateway, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in ("parquet", "csv", "jsonl"):
        out = tmp_path / "deep" / f"out.{suffix}"
        assert await likeness(gateway, "evaluate", manifest, "--out", out, "--metrics", "pixels,blue") == 0
    said = capsys.readouterr().out
    assert f"{COUNT} of {COUNT} items" in said and "pixels" in said
    rows = pyarrow.parquet.read_table(tmp_path / "deep" / "out.parquet").to_pylist()
    assert [row["offset"] for row in rows] == list(range(COUNT))
    with (tmp_path / "deep" / "out.csv").open(encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    assert [float(one["pixels"]) for one in cells] == [row["pixels"] for row in rows]
    # A spreadsheet would run it.
    assert {one["system"] for one in cells} == {"'=a", "b"} and {row["system"] for row in rows} == {"=a", "b"}
    results = [json.loads(line) for line in (tmp_path / "deep" / "out.jsonl").read_text().splitlines()]
    assert [one["images"][0]["scores"][0]["raw"] for one in results] == [row["pixels"] for row in rows]
    # Nothing is left beside them.
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out.parquet", "out.csv", "out.jsonl"}


async def test_reports_as_page_and_as_markdown(gateway: Gateway, tmp_path: Path) -> None:
    manifest, out = tmp_path / "m.jsonl", tmp_path / "out.jsonl"
    rows = [(n, system) for n in range(COUNT) for system in "ab"]
    manifest.write_bytes(jsonl(pair(n, group=f"g{n % 2}", system=system) for n, system in rows))
    words = ("evaluate", manifest, "--out", out, "--metrics", "pixels", "--baseline", "b", "--name", "<b>|x")
    assert await likeness(gateway, *words, "--report", tmp_path / "report.md") == 0
    assert await likeness(gateway, *words, "--report", tmp_path / "report.html") == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| system | g0 | g1 | all | win | win + tie |" in text and "Compared with b" in text
    assert "<b>" not in text and "&lt;b>\\|x" in text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;|x" in page and "<script" not in page and "Content-Security-Policy" in page


async def test_failed_items_are_in_the_file_and_in_the_exit_code(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(jsonl([pair(0), {"item_id": "bad"}, "{"]))
    out = tmp_path / "out.parquet"
    assert await likeness(gateway, "evaluate", manifest, "--out", out, "--metrics", "pixels") == 1
    assert "2 items failed" in capsys.readouterr().out
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [row["error_reason"] for row in rows] == [None, "INVALID_FIELD", "INVALID_FIELD"]
    assert rows[2]["error"].startswith("line 3: ") and rows[1]["pixels"] is None


async def test_an_unreadable_manifest_says_why(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(b"hello")
    assert await likeness(gateway, "evaluate", manifest, "--out", tmp_path / "o.csv", "--metrics", "pixels") == 1
    assert "neither JSON lines" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "m.jsonl", "--out", "out.xlsx"),
        ("evaluate", "m.jsonl", "--out", "out.csv", "--report", "report.pdf"),
        ("evaluate", "m.jsonl", "--out", "out.csv", "--steps", "3"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_sent(words: tuple[str, ...]) -> None:
    assert main([*words, "--address", "127.0.0.1:1"]) == 2


async def test_the_same_command_goes_on_after_ctrl_c(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, out = tmp_path / "m.jsonl", tmp_path / "out.jsonl"
    manifest.write_bytes(jsonl(prompted(n) for n in range(COUNT)))
    words = ("evaluate", manifest, "--out", out, "--metrics", "pixels", "--images", "2", "--seed", "5")

    class Interrupted(evaluate_command.EvaluationView):
        def show(self, evaluation: object) -> None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluate_command, "EvaluationView", Interrupted)
        assert await likeness(gateway, *words) == 130
    assert "goes on without you" in capsys.readouterr().out and not out.exists()
    assert await likeness(gateway, *words) == 0
    assert "Going on with evaluations/" in capsys.readouterr().out
    assert await gateway.count("SELECT count(*) FROM evaluations") == 1
    assert sum(gateway.parts.generator.made.values()) == 2 * COUNT
    results = [json.loads(line) for line in out.read_text().splitlines()]
    assert [len(one["images"]) for one in results] == [2] * COUNT
    # Done with: the same command now begins anew.
    assert await likeness(gateway, *words) == 0
    assert await gateway.count("SELECT count(*) FROM evaluations") == 2


async def test_an_evaluation_that_was_created_unheard_is_found_again(
    gateway: Gateway, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("evaluate", manifest, "--out", tmp_path / "out.jsonl", "--metrics", "pixels")

    def lost(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluate_command.StateFile, "created", lost)
        assert await likeness(gateway, *words) == 130
    assert await likeness(gateway, *words) == 0
    assert await gateway.count("SELECT count(*) FROM evaluations") == 1


async def test_another_manifest_is_another_evaluation(
    gateway: Gateway, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("evaluate", manifest, "--out", tmp_path / "out.jsonl", "--metrics", "pixels")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluate_command, "write_results", interrupted)
        assert await likeness(gateway, *words) == 130
    manifest.write_bytes(jsonl([pair(1)]))
    assert await likeness(gateway, *words) == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1
    assert await gateway.count("SELECT count(*) FROM evaluations") == 2


async def test_evaluations_are_listed_shown_stopped_and_deleted(
    gateway: Gateway, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{gateway.server.port}"

    def by_hand(do: Callable[[Client], str]) -> str:
        with Client(address) as client:
            return do(client)

    gateway.parts.generator.gate.clear()
    waiting = jsonl([prompted(0)])
    name = await asyncio.to_thread(
        by_hand, lambda client: client.create_evaluation(waiting, metrics=["pixels"], images=1, display_name="held").id
    )
    assert await likeness(gateway, "evaluations", "list") == 0
    assert "held" in capsys.readouterr().out
    assert await likeness(gateway, "evaluations", "cancel", name) == 0
    assert await likeness(gateway, "evaluations", "cancel", name) == 1
    assert await likeness(gateway, "evaluations", "show", name) == 0
    assert "cancelled" in capsys.readouterr().out
    report = tmp_path / "report.md"
    assert await likeness(gateway, "evaluations", "report", name, "--out", report) == 0 and report.exists()
    assert await likeness(gateway, "evaluations", "delete", name) == 0
    assert await likeness(gateway, "evaluations", "show", name) == 1
    gateway.parts.generator.gate.set()


async def test_both_clients_have_the_same_calls(gateway: Gateway, manifest: Path) -> None:
    address = f"127.0.0.1:{gateway.server.port}"
    async with AsyncClient(address) as client:
        created = await client.create_evaluation(manifest, metrics=["pixels"], display_name="both")
        updates = [update async for update in client.watch_evaluation(created, from_offset=2)]
        results = [update for update in updates if isinstance(update, EvaluationResult)]
        assert [one.offset for one in results] == list(range(2, COUNT))
        assert updates[-1] == await client.get_evaluation(created.id)
        assert [one.id async for one in client.list_evaluations(page_size=1)] == [created.id]
        report = await client.evaluation_report(created)
        assert report.evaluation.state is EvaluationState.SUCCEEDED and report.means[0].count == COUNT - 4

    def sync() -> None:
        with Client(address) as client:
            found = [one for one in client.watch_evaluation(created) if isinstance(one, EvaluationResult)]
            assert found[2:] == results
            assert client.evaluation_report(created) == report
            client.delete_evaluation(created)
            with pytest.raises(NotFound):
                client.get_evaluation(created)

    await asyncio.to_thread(sync)
