"""Races from creation to their table, over gRPC and PostgreSQL."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import grpc
import pytest
from scipy import stats

from likeness.gateway.v1 import race_pb2, session_pb2
from likeness.gateway.v1 import race_service_pb2 as pb
from likeness.gateway.v1 import session_service_pb2 as sessions
from services.gateway import domain
from tests.gateway.conftest import Gateway
from tests.gateway.failures import reason_of
from tests.gateway.races.racing import Entry, create, entrant, finished

pytestmark = pytest.mark.integration


async def test_a_race_runs_to_its_table(gateway: Gateway) -> None:
    race = await create(gateway, targets=3, display_name="two strategies")
    assert (race.state, race.display_name, race.seed) == (race_pb2.Race.STATE_RUNNING, "two strategies", 7)
    assert [one.running_count for one in race.progress] == [3, 3] and not race.HasField("end_time")
    assert [one.display_name for one in race.targets] == ["t0", "t1", "t2"]
    answer = await finished(gateway, race.name)
    assert answer.race.state == race_pb2.Race.STATE_FINISHED
    assert answer.race.end_time.ToDatetime() > answer.race.create_time.ToDatetime()
    for one in answer.race.progress:
        assert (one.succeeded_count, one.running_count, one.finished_round_count) == (3, 0, 6)
        assert (one.image_count, one.max_image_count) == (12, 12)
    places = [(one.target_index, one.entrant_index) for one in answer.entries]
    assert places == [(target, number) for target in range(3) for number in range(2)]
    assert all(one.state == Entry.STATE_SUCCEEDED and one.image_count == 4 for one in answer.entries)
    assert all(0 < one.seconds < 120 for one in answer.entries)
    learns, stays = answer.table.rows
    assert (learns.entrant, stays.entrant) == ("learns", "stays")
    assert [(stop.reason, stop.count) for stop in learns.stops] == [(session_pb2.STOP_REASON_ROUNDS_DONE, 3)]
    assert learns.images.mean == 4 and learns.seconds.count == 3 and not learns.failures
    assert [curve.metric for curve in learns.curves] == ["pixels", "red"] and len(learns.curves[0].rounds) == 2


async def test_the_table_is_what_the_sessions_say(gateway: Gateway) -> None:
    answer = await finished(gateway, (await create(gateway, targets=3)).name)
    finals: dict[int, list[float]] = {0: [], 1: []}
    firsts: dict[int, list[float]] = {0: [], 1: []}
    for entry in answer.entries:
        stored = await gateway.stub.GetSession(sessions.GetSessionRequest(name=entry.session))
        assert stored.session.settings.seed == 7 + entry.target_index
        name = answer.table.rows[entry.entrant_index].entrant
        assert stored.session.display_name == f"{name} · t{entry.target_index}"
        best = stored.session.best
        assert (entry.best_candidate_id, entry.best_content_hash) == (best.id, best.image.content_hash)
        assert [score.normalized for score in entry.scores] == [score.normalized for score in best.scores]
        finals[entry.entrant_index].append(best.scores[0].normalized)
        first = next(one for one in stored.rounds[0].candidates if one.id == stored.rounds[0].best_candidate_id)
        firsts[entry.entrant_index].append(first.scores[0].normalized)
    for index, row in enumerate(answer.table.rows):
        assert [mean.mean for mean in row.curves[0].rounds] == pytest.approx(
            [sum(firsts[index]) / 3, sum(finals[index]) / 3]
        )
    duel = answer.table.duels[0]
    assert (duel.metric, duel.first, duel.second, duel.difference.count) == ("pixels", "learns", "stays", 3)
    assert duel.t_test_p == pytest.approx(stats.ttest_rel(finals[0], finals[1]).pvalue)
    assert duel.win_count + duel.tie_count + duel.loss_count == 3
    assert answer.table.tie_epsilon == 0.001


async def test_entrants_share_their_noise(gateway: Gateway) -> None:
    await finished(gateway, (await create(gateway, targets=1)).name)
    first = [item.seed for item in gateway.parts.generator.items if item.item_id == "r1c1"]
    assert len(first) == 2 and len(set(first)) == 1


async def test_entrants_that_select_by_other_metrics_are_judged_by_the_same(gateway: Gateway) -> None:
    racers = [entrant("by-blue", selection_metrics=["blue"], rounds=1), entrant("by-pixels", rounds=1)]
    answer = await finished(gateway, (await create(gateway, entrants=racers, metrics=["pixels"])).name)
    assert [list(one.selection_metrics) for one in answer.race.entrants] == [["blue"], ["pixels"]]
    for entry in answer.entries:
        assert [score.metric for score in entry.scores] == ["pixels"]
        stored = await gateway.stub.GetSession(sessions.GetSessionRequest(name=entry.session))
        chosen = stored.session.best
        by_metric = {score.metric: score.normalized for score in chosen.scores}
        assert chosen.loop_score == by_metric["blue" if entry.entrant_index == 0 else "pixels"]
        assert entry.scores[0].normalized == by_metric["pixels"]


async def test_an_entrant_takes_its_own_model_steps_and_loop(gateway: Gateway) -> None:
    loop = session_pb2.LoopSettings(strategy="stubborn", rounds=1, candidates=1, first_prompt="rgb 1 2 3")
    racers = [entrant("large", generator_model="paint-large", steps=5, guidance_scale=1.5, loop=loop), entrant("other")]
    answer = await finished(gateway, (await create(gateway, targets=1, entrants=racers)).name)
    large = answer.race.entrants[0]
    assert (large.generator_model, large.steps, large.guidance_scale) == ("paint-large", 5, 1.5)
    assert (large.loop.strategy, large.loop.image_budget) == ("stubborn", 1)
    stored = await gateway.stub.GetSession(sessions.GetSessionRequest(name=answer.entries[0].session))
    assert (stored.session.best.prompt, stored.session.settings.steps) == ("rgb 1 2 3", 5)
    assert answer.race.entrants[1].generator_model == "paint"


async def test_a_failed_target_is_counted_and_leaves_the_pairs(gateway: Gateway) -> None:
    gateway.parts.generator.broken["rgb 9 9 9"] = domain.ItemError("GENERATION_FAILED", "no paint")
    loop = session_pb2.LoopSettings(strategy="stubborn", rounds=1, candidates=1, first_prompt="rgb 9 9 9")
    racers = [entrant("breaks", loop=loop), entrant("works", rounds=1), entrant("too", "stubborn", rounds=1)]
    answer = await finished(gateway, (await create(gateway, targets=2, entrants=racers, metrics=["pixels"])).name)
    assert answer.race.state == race_pb2.Race.STATE_FINISHED
    broken = answer.table.rows[0]
    assert (broken.progress.failed_count, broken.progress.succeeded_count) == (2, 0)
    assert [(one.reason, one.count) for one in broken.failures] == [("GENERATION_FAILED", 2)]
    assert not broken.HasField("images") and not broken.curves[0].rounds
    assert answer.entries[0].state == Entry.STATE_FAILED and answer.entries[0].error.message == "no paint"
    counts = {(duel.first, duel.second): duel.difference.count for duel in answer.table.duels}
    assert counts == {("breaks", "works"): 0, ("breaks", "too"): 0, ("works", "too"): 2}


async def test_a_metric_that_fails_leaves_the_rest(gateway: Gateway) -> None:
    gateway.parts.scorer.broken_metrics.add("red")
    answer = await finished(gateway, (await create(gateway, targets=2)).name)
    pixels, red = answer.table.rows[0].curves
    assert pixels.rounds[-1].count == 2 and [one.count for one in red.rounds] == [0, 0] and not red.HasField("raw_mean")
    assert [duel.difference.count for duel in answer.table.duels] == [2, 0]
    assert [score.metric for score in answer.entries[0].scores] == ["pixels"]


async def test_watchers_get_the_race_at_once_and_at_its_end(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    race = await create(gateway, targets=2)
    watch = aiter(gateway.races.WatchRace(pb.WatchRaceRequest(name=race.name)))
    first = await anext(watch)
    assert first.race.state == race_pb2.Race.STATE_RUNNING and first.table.rows[0].progress.running_count == 2
    gateway.parts.generator.gate.set()
    answers = [one async for one in watch]
    assert answers[-1].race.state == race_pb2.Race.STATE_FINISHED
    full = await gateway.races.GetRace(pb.GetRaceRequest(name=race.name))
    assert (answers[-1].race, answers[-1].table) == (full.race, full.table)
    ended = [sum(one.succeeded_count for one in answer.race.progress) for answer in answers]
    assert ended == sorted(ended) and all(one != other for one, other in pairwise(answers))
    # A race that has ended is told once.
    assert len([one async for one in gateway.races.WatchRace(pb.WatchRaceRequest(name=race.name))]) == 1


async def test_what_people_do_afterwards_is_no_part_of_the_race(gateway: Gateway) -> None:
    race = await create(gateway, targets=1)
    before = await finished(gateway, race.name)
    name = before.entries[0].session
    async for _ in gateway.stub.SubmitPrompt(sessions.SubmitPromptRequest(name=name, prompt="rgb 20 60 200")):
        pass
    after = await gateway.races.GetRace(pb.GetRaceRequest(name=race.name))
    assert (await gateway.stub.GetSession(sessions.GetSessionRequest(name=name))).session.round_count == 3
    assert (after.race, after.table, list(after.entries)) == (before.race, before.table, list(before.entries))


async def test_a_deleted_session_is_counted_as_deleted(gateway: Gateway) -> None:
    race = await create(gateway, targets=2)
    before = await finished(gateway, race.name)
    await gateway.stub.DeleteSession(sessions.DeleteSessionRequest(name=before.entries[0].session))
    after = await gateway.races.GetRace(pb.GetRaceRequest(name=race.name))
    assert after.race.state == race_pb2.Race.STATE_FINISHED
    assert (after.entries[0].state, after.entries[0].session) == (Entry.STATE_DELETED, "")
    assert (after.race.progress[0].deleted_count, after.race.progress[0].succeeded_count) == (1, 1)
    assert after.table.duels[0].difference.count == 1 and not after.table.duels[0].HasField("t_test_p")


async def test_a_race_ends_with_the_last_of_its_paused_sessions_that_are_deleted(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    race = await create(gateway, targets=1)
    watch = aiter(gateway.races.WatchRace(pb.WatchRaceRequest(name=race.name)))
    await anext(watch)
    for entry in (await gateway.races.GetRace(pb.GetRaceRequest(name=race.name))).entries:
        await gateway.stub.PauseLoop(sessions.PauseLoopRequest(name=entry.session, at_once=True))
        await gateway.stub.DeleteSession(sessions.DeleteSessionRequest(name=entry.session))
    last = [one async for one in watch][-1].race
    assert last.state == race_pb2.Race.STATE_FINISHED and last.HasField("end_time")
    assert [one.deleted_count for one in last.progress] == [1, 1]


async def test_races_are_listed_over_pages_newest_first(gateway: Gateway) -> None:
    made = [(await create(gateway, targets=1, display_name=f"race {number}")).name for number in range(3)]
    for name in made:
        await finished(gateway, name)
    first = await gateway.races.ListRaces(pb.ListRacesRequest(page_size=2))
    rest = await gateway.races.ListRaces(pb.ListRacesRequest(page_size=2, page_token=first.next_page_token))
    assert [one.name for one in (*first.races, *rest.races)] == made[::-1] and not rest.next_page_token
    assert all(one.state == race_pb2.Race.STATE_FINISHED for one in first.races)


async def test_delete_takes_sessions_and_pictures_along(gateway: Gateway) -> None:
    race = await create(gateway, targets=2)
    answer = await finished(gateway, race.name)
    kept = await gateway.create()
    await gateway.races.DeleteRace(pb.DeleteRaceRequest(name=race.name))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.races.GetRace(pb.GetRaceRequest(name=race.name))
    assert reason_of(caught.value) == (grpc.StatusCode.NOT_FOUND, "RACE_NOT_FOUND")
    listed = await gateway.stub.ListSessions(sessions.ListSessionsRequest())
    assert [one.name for one in listed.sessions] == [kept]
    assert not {entry.best_content_hash for entry in answer.entries} & set(gateway.parts.objects.data)
    assert len(gateway.parts.objects.data) == 1


async def test_a_running_race_is_cancelled_before_it_is_deleted(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    race = await create(gateway)
    watch = aiter(gateway.races.WatchRace(pb.WatchRaceRequest(name=race.name)))
    await anext(watch)
    await gateway.races.DeleteRace(pb.DeleteRaceRequest(name=race.name))
    answers = [one async for one in watch]
    assert all(one.race.name == race.name for one in answers)
    assert not (await gateway.stub.ListSessions(sessions.ListSessionsRequest())).sessions


async def test_another_tenants_race_does_not_exist(gateway: Gateway) -> None:
    race = await create(gateway, targets=1)
    await finished(gateway, race.name)
    service, race_id = gateway.server.races, race.name.removeprefix("races/")
    for call in (service.get("other", race_id), service.cancel("other", race_id), service.delete("other", race_id)):
        with pytest.raises(Exception, match="does not exist") as caught:
            await call
        assert caught.value.reason == "RACE_NOT_FOUND"  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="does not exist"):
        await anext(service.watch("other", race_id))
    assert await service.list_page("other", 0, "") == ([], "")
    stored = await gateway.server.sessions.list_page("default", 0, "")
    assert {one.tenant_id for one in stored[0]} == {"default"}


async def test_two_watchers_of_two_races_do_not_disturb_each_other(gateway: Gateway) -> None:
    races = [await create(gateway, targets=1) for _ in range(2)]
    answers = await asyncio.gather(*(finished(gateway, one.name) for one in races))
    assert [one.race.name for one in answers] == [one.name for one in races]
