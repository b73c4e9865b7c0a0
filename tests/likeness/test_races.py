"""Races through the clients: every call, what is sent, what comes back, errors, repetitions."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from likeness import (
    AsyncClient,
    Client,
    FailedPrecondition,
    InvalidArgument,
    LikenessError,
    NotFound,
    RaceEntryState,
    RaceMean,
    RaceState,
    RaceUpdate,
    StopReason,
    to_dict,
)
from tests.likeness.gateway.faults import Fault
from tests.likeness.gateway.server import TestGateway
from tests.likeness.gateway.story import png, target_picture

ENTRANTS = {"long": {"rounds": 3, "candidates": 2}, "short": {"rounds": 1, "candidates": 2}}


def pictures(count: int) -> dict[str, bytes]:
    """Targets that differ."""
    found = {}
    for number in range(count):
        picture = target_picture()
        picture.putpixel((number, 0), (1, 2, 3))
        found[f"t{number}"] = png(picture)
    return found


def test_a_race_is_run_to_its_table(client: Client) -> None:
    updates: list[RaceUpdate] = []
    found = client.race(pictures(3), ENTRANTS, metrics=["psnr"], seed=5, display_name="two", on_update=updates.append)
    race, table = found.race, found.table
    assert (race.id, race.state, race.seed, race.display_name) == ("r1", RaceState.FINISHED, 5, "two")
    assert race.end_time is not None and race.end_time >= race.create_time
    assert [target.display_name for target in race.targets] == ["t0", "t1", "t2"]
    assert [one.display_name for one in race.entrants] == ["long", "short"]
    assert (race.entrants[0].loop.rounds, race.entrants[0].loop.image_budget) == (3, 6)
    assert race.progress[0].succeeded == 3 and race.progress[0].max_images == 18
    assert [update.race.progress[0].succeeded for update in updates] == [0, 1, 2, 3]
    long, short = table.rows
    assert (long.entrant, len(long.curves[0].rounds), long.stops) == ("long", 3, ((StopReason.ROUNDS_DONE, 3),))
    assert long.curve("psnr") is long.curves[0] and long.curve("ssim") is None
    assert long.curves[0].final == RaceMean(0.65, 0.63, 0.67, 3) and long.curves[0].raw_mean == 20
    assert short.images == RaceMean(2.0, 1.98, 2.02, 3)
    (duel,) = table.duels
    assert (duel.first, duel.second, duel.wins, duel.t_test_p) == ("long", "short", 3, 0.012)
    assert table.tie_epsilon == 0.001
    entry = found.entry(2, 1)
    assert entry is not None and (entry.state, entry.rounds, entry.images) == (RaceEntryState.SUCCEEDED, 1, 2)
    assert entry.scores[0].metric == "psnr" and found.entry(3, 0) is None
    assert to_dict(found)["table"]["rows"][0]["stops"] == [["rounds_done", 3]]


def test_what_is_sent(client: Client, gateway: TestGateway, tmp_path: Path) -> None:
    data = pictures(2)
    path = tmp_path / "cat.png"
    path.write_bytes(data["t0"])
    info = client.upload_image(data["t1"])
    options = {
        "strategy": "llm",
        "rounds": 2,
        "candidates": 3,
        "target_score": 0.9,
        "plateau_rounds": 2,
        "image_budget": 5,
        "seconds_budget": 60.0,
        "first_prompt": "a cat",
        "fresh_noise": True,
        "selection_metrics": ["ssim"],
        "generator_model": "large",
        "steps": 7,
        "guidance_scale": 2.5,
    }
    client.create_race([path, info], {"a": options, "b": {}})  # type: ignore[dict-item]
    sent = gateway.races.requests[0]
    assert [target.display_name for target in sent.targets] == ["cat.png", ""]
    assert sent.targets[0].image.data == data["t0"] and sent.targets[1].image.content_hash == info.content_hash
    first, second = sent.entrants
    assert (first.loop.strategy, first.loop.rounds, first.loop.candidates) == ("llm", 2, 3)
    assert (first.loop.target_score, first.loop.plateau_rounds, first.loop.image_budget) == (0.9, 2, 5)
    assert (first.loop.first_prompt, first.loop.fresh_noise, first.loop.seconds_budget) == ("a cat", True, 60.0)
    assert (list(first.selection_metrics), first.generator_model, first.steps) == (["ssim"], "large", 7)
    assert first.guidance_scale == 2.5 and not second.HasField("steps") and not second.loop.HasField("seconds_budget")
    assert sent.request_id


def test_wrong_arguments_are_told_before_the_call(client: Client) -> None:
    with pytest.raises(TypeError, match="targets are a list"):
        client.create_race("target.png", ENTRANTS)
    with pytest.raises(TypeError, match="unexpected keyword argument 'pace'"):
        client.create_race(pictures(1), {"a": {"pace": 1}, "b": {}})  # type: ignore[dict-item]
    with pytest.raises(InvalidArgument) as caught:
        client.create_race(pictures(1), {"a": {}, "b": {"rounds": 2**40}})
    assert caught.value.field == "entrants[1].loop.rounds"
    with pytest.raises(FileNotFoundError):
        client.create_race(["nowhere.png"], ENTRANTS)


def test_failed_targets_are_told(client: Client) -> None:
    good, bad = pictures(2).values()
    found = client.race({"good": good, "bad": bad}, ENTRANTS)
    entry = found.entry(1, 1)
    assert entry is not None and entry.error is not None and entry.state is RaceEntryState.FAILED
    assert (entry.error.reason, entry.seconds, entry.scores) == ("GENERATION_FAILED", None, ())
    assert found.table.rows[1].failures == (("GENERATION_FAILED", 1),)
    assert found.table.duels[0].difference is not None and found.table.duels[0].difference.low is None
    assert found.table.duels[0].t_test_p is None


def test_races_are_listed_read_and_deleted(client: Client) -> None:
    made = [client.create_race(pictures(1), ENTRANTS) for _ in range(5)]
    assert [race.name for race in client.list_races(page_size=2)] == [race.name for race in made[::-1]]
    assert client.get_race("r2").race.name == client.get_race(made[1]).race.name == "races/r2"
    client.delete_race(made[1])
    with pytest.raises(NotFound) as caught:
        client.get_race("races/r2")
    assert caught.value.reason == "RACE_NOT_FOUND"


def test_cancel(client: Client, gateway: TestGateway) -> None:
    gateway.hold_loops()
    race = client.create_race(pictures(2), ENTRANTS)
    assert client.cancel_race(race).state is RaceState.CANCELLED
    with pytest.raises(FailedPrecondition):
        client.cancel_race(race)


def test_leaving_the_wait_cancels_the_race(client: Client, gateway: TestGateway) -> None:
    gateway.hold_loops()

    def leave(_: RaceUpdate) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.race(pictures(1), ENTRANTS, on_update=leave)
    assert client.get_race("r1").race.state is RaceState.CANCELLED


def test_a_lost_answer_makes_no_second_race(client: Client, gateway: TestGateway) -> None:
    gateway.faults.add("CreateRace", Fault(grpc.StatusCode.UNAVAILABLE, after_effect=True))
    client.create_race(pictures(1), ENTRANTS)
    assert len(gateway.world.races) == 1 and gateway.faults.calls["CreateRace"] == 2


def test_lost_answers_of_cancel_and_delete_are_asked_for_again(client: Client, gateway: TestGateway) -> None:
    gateway.hold_loops()
    race = client.create_race(pictures(1), ENTRANTS)
    lost = Fault(grpc.StatusCode.UNAVAILABLE, after_effect=True)
    gateway.faults.add("CancelRace", lost)
    gateway.faults.add("DeleteRace", lost)
    assert client.cancel_race(race).state is RaceState.CANCELLED
    client.delete_race(race)
    assert (gateway.faults.calls["CancelRace"], gateway.faults.calls["DeleteRace"]) == (2, 2)


def test_a_watch_that_breaks_is_opened_again(client: Client, gateway: TestGateway) -> None:
    broken = Fault(grpc.StatusCode.UNAVAILABLE, after_events=2)
    gateway.faults.add("WatchRace", broken, broken)
    assert client.race(pictures(4), ENTRANTS).race.state is RaceState.FINISHED
    assert gateway.faults.calls["WatchRace"] == 3


def test_errors_of_a_watch_are_raised(client: Client, gateway: TestGateway) -> None:
    with pytest.raises(NotFound):
        list(client.watch_race("nothing"))
    assert gateway.faults.calls["WatchRace"] == 1


def test_what_a_newer_server_says_is_unknown(client: Client, gateway: TestGateway) -> None:
    client.create_race(pictures(1), ENTRANTS)
    gateway.world.races["races/r1"].state = 99
    assert client.get_race("r1").race.state is RaceState.UNKNOWN


async def test_the_async_client_does_the_same(async_client: AsyncClient, gateway: TestGateway) -> None:
    updates: list[RaceUpdate] = []

    async def take(update: RaceUpdate) -> None:
        updates.append(update)

    gateway.faults.add("WatchRace", Fault(grpc.StatusCode.UNAVAILABLE, after_events=1))
    found = await async_client.race(pictures(2), ENTRANTS, on_update=take)
    assert found.race.state is RaceState.FINISHED and updates[-1].race == found.race
    assert [race.name async for race in async_client.list_races(page_size=1)] == ["races/r1"]
    gateway.hold_loops()

    def leave(_: RaceUpdate) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError):
        await async_client.race(pictures(1), ENTRANTS, on_update=leave)
    assert (await async_client.get_race("r2")).race.state is RaceState.CANCELLED
    with pytest.raises(LikenessError):
        await async_client.cancel_race("r2")
    await async_client.delete_race("r2")
    with pytest.raises(NotFound):
        await async_client.get_race("r2")
