"""The home of a cluster: one owner, a state that is whole or absent."""

from __future__ import annotations

from pathlib import Path

from services.cluster.state import ClusterState, Home, make_run_dir, remove_run_dir


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    home, other = Home(tmp_path / "new"), Home(tmp_path / "new")
    assert not home.is_owned()
    assert home.lock()
    assert other.is_owned() and not other.lock()
    home.unlock()
    assert not other.is_owned() and other.lock()
    other.unlock()


def test_the_state_is_read_as_written(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.read() is None
    state = ClusterState(pid=1, profile="embedded", ready=True, address="a:1", processes={"redis": 2})
    home.write(state)
    assert home.read() == state
    assert {path.name for path in tmp_path.iterdir()} == {"cluster.json"}
    assert home.state_path.stat().st_mode & 0o777 == 0o600
    home.state_path.write_text("{")
    assert home.read() is None, "a broken file is no state"
    home.clear()
    home.clear()


def test_run_folders_are_short_private_and_removed_only_if_they_are_some(tmp_path: Path) -> None:
    run_dir = make_run_dir()
    assert len(str(run_dir)) < 40 and run_dir.stat().st_mode & 0o777 == 0o700
    remove_run_dir(str(run_dir))
    assert not run_dir.exists()
    remove_run_dir(str(tmp_path))
    remove_run_dir("")
    assert tmp_path.exists()
