"""A whole loop through the gateway."""

from __future__ import annotations

import math

import pytest

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import image_pb2
from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.gateway import domain
from services.gateway.loops.prompts import derive_seed
from tests.gateway import doubles
from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.integration


async def test_loop_converges_and_says_what_it_did(gateway: Gateway) -> None:
    name = await gateway.create(display_name="red one")
    started = await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    assert started.session.state == session_pb2.Session.STATE_RUNNING
    done = await gateway.finished(name)
    session = done.session
    assert session.state == session_pb2.Session.STATE_SUCCEEDED
    assert session.stop_reason == session_pb2.STOP_REASON_ROUNDS_DONE
    assert session.round_count == 3 and session.display_name == "red one"
    assert list(session.settings.metrics) == ["pixels", "red"]
    assert session.tree.base_caption == "a color"
    first = next(one for one in done.rounds[0].candidates if one.id == done.rounds[0].best_candidate_id)
    assert session.best.loop_score > first.loop_score
    assert [one.number for one in done.rounds] == [1, 2, 3]
    assert not done.rounds[0].HasField("gain") and done.rounds[1].gain > 0
    assert done.rounds[0].feedback.text.startswith("move") and not done.rounds[2].HasField("feedback")
    candidate = done.rounds[1].candidates[1]
    assert candidate.id == "r2c2" and candidate.origin == "synonym" and candidate.edits
    assert candidate.record.model == "paint" and candidate.record.prompt == candidate.prompt
    assert [one.metric for one in candidate.scores] == ["pixels", "red"]
    assert candidate.image.content_hash in gateway.parts.objects.data


async def test_aspects_and_history_follow_the_rounds(gateway: Gateway) -> None:
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name, rounds=5))
    done = await gateway.finished(name)
    assert [one.aspect for one in done.rounds] == [1, 2, 3, 4, 1]
    # The critic looks at the aspect of the round that its feedback is for.
    assert [one.feedback.aspect for one in done.rounds] == [2, 3, 4, 1, 0]
    assert gateway.parts.refiner.histories == [0, 2, 4, 6, 8]
    verbs = gateway.parts.refiner.calls
    assert verbs == ["understand"] + ["propose", "critique", "revise"] * 4 + ["propose"]


async def test_too_few_prompts_are_filled_up_with_the_base_under_fresh_seeds(gateway: Gateway) -> None:
    name = await gateway.create(settings=session_pb2.SessionSettings(seed=2**64 - 1))
    await gateway.stub.StartLoop(loop(name, rounds=1, candidates=4))
    (only,) = (await gateway.finished(name)).rounds
    prompts = [one.prompt for one in only.candidates]
    seeds = [one.record.seed for one in only.candidates]
    assert prompts[0] != prompts[1] and prompts[2:] == [prompts[0], prompts[0]]
    assert seeds[0] == seeds[1] and len(set(seeds)) == 3


async def test_first_prompt_is_tried_and_the_target_understood_all_the_same(gateway: Gateway) -> None:
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name, rounds=1, first_prompt="rgb 1 2 3"))
    done = await gateway.finished(name)
    assert done.rounds[0].base_prompt == "rgb 1 2 3" and done.session.tree.base_caption == "a color"


async def test_second_loop_goes_on_from_the_best_so_far(gateway: Gateway) -> None:
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name, rounds=2))
    best = (await gateway.finished(name)).session.best
    await gateway.stub.StartLoop(loop(name, rounds=1))
    done = await gateway.finished(name)
    assert [one.number for one in done.rounds] == [1, 2, 3]
    assert done.rounds[2].base_prompt == best.prompt and done.rounds[2].aspect == 1
    assert gateway.parts.refiner.calls.count("understand") == 1


async def test_target_score_stops_the_loop(gateway: Gateway) -> None:
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name, rounds=9, target_score=0.9))
    done = await gateway.finished(name)
    assert done.session.stop_reason == session_pb2.STOP_REASON_TARGET_REACHED
    assert done.session.best.loop_score >= 0.9 and len(done.rounds) < 9
    before = [one.loop_score for each in done.rounds[:-1] for one in each.candidates]
    assert max(before, default=0.0) < 0.9


async def test_plateau_stops_the_loop(gateway: Gateway) -> None:
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name, strategy="stubborn", rounds=20, plateau_rounds=2, plateau_gain=0.05))
    done = await gateway.finished(name)
    assert done.session.stop_reason == session_pb2.STOP_REASON_PLATEAU
    assert len(done.rounds) == 3 and all(one.gain < 0.05 for one in done.rounds[1:])


async def test_image_budget_stops_the_loop_at_exactly_that_many_pictures(gateway: Gateway) -> None:
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name, rounds=9, candidates=3, image_budget=7))
    done = await gateway.finished(name)
    assert done.session.stop_reason == session_pb2.STOP_REASON_BUDGET_SPENT
    assert [len(one.candidates) for one in done.rounds] == [3, 3, 1]
    assert gateway.parts.generator.made.total() == 7


async def test_candidate_that_fails_does_not_stop_the_others(gateway: Gateway) -> None:
    error = domain.ItemError("GENERATION_FAILED", "not this one")
    gateway.parts.generator.broken["rgb 128 128 128"] = error
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name, rounds=1))
    done = await gateway.finished(name)
    assert done.session.state == session_pb2.Session.STATE_SUCCEEDED
    failed, made = done.rounds[0].candidates
    assert failed.error.message == "not this one" and not failed.HasField("image") and not failed.scores
    assert done.rounds[0].best_candidate_id == made.id == done.session.best.id
    kinds = [one.WhichOneof("event") for one in await gateway.events(name)]
    assert kinds.count("candidate_failed") == 1


async def test_round_in_which_all_fail_fails_the_loop(gateway: Gateway) -> None:
    gateway.parts.generator.broken["rgb 1 1 1"] = domain.ItemError("GENERATION_FAILED", "out of paint")
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name, candidates=1, first_prompt="rgb 1 1 1"))
    session = (await gateway.finished(name)).session
    assert session.state == session_pb2.Session.STATE_FAILED
    assert session.stop_reason == session_pb2.STOP_REASON_FAILED
    assert (session.error.reason, session.error.message) == ("GENERATION_FAILED", "out of paint")


async def test_failed_selection_metric_fails_the_loop_and_says_so(gateway: Gateway) -> None:
    gateway.parts.scorer.broken_metrics = {"pixels"}
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name))
    done = await gateway.finished(name)
    assert done.session.error.message == "this metric is broken"
    scored = done.rounds[0].candidates[0]
    assert not scored.HasField("loop_score") and scored.scores[1].raw > 0


async def test_generator_that_dies_in_mid_round_is_called_again_for_the_rest(gateway: Gateway) -> None:
    gateway.parts.generator.fail_after_pictures = 1
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name, rounds=1, candidates=3))
    done = await gateway.finished(name)
    assert done.session.state == session_pb2.Session.STATE_SUCCEEDED
    assert gateway.parts.generator.calls == [["r1c1", "r1c2", "r1c3"], ["r1c2", "r1c3"]]
    assert set(gateway.parts.generator.made.values()) == {1}


async def test_backend_that_stays_away_fails_the_loop_with_its_reason(gateway: Gateway) -> None:
    gone = [UnavailableError(Reason.BACKEND_UNAVAILABLE, "scorer: unavailable") for _ in range(3)]
    gateway.parts.scorer.failures = list(gone)
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name))
    done = await gateway.finished(name)
    assert (done.session.state, done.session.error.reason) == (
        session_pb2.Session.STATE_FAILED,
        "BACKEND_UNAVAILABLE",
    )
    # Nothing is lost: the pictures are there, and another loop begins from the same prompt.
    assert all(one.HasField("image") for one in done.rounds[0].candidates)
    await gateway.stub.StartLoop(loop(name, rounds=1))
    assert (await gateway.finished(name)).session.state == session_pb2.Session.STATE_SUCCEEDED


async def test_backend_that_comes_back_is_waited_for(gateway: Gateway) -> None:
    for part in (gateway.parts.refiner, gateway.parts.generator, gateway.parts.scorer, gateway.parts.objects):
        part.failures = [UnavailableError(Reason.BACKEND_UNAVAILABLE, "starting")] * 2
    gateway.parts.objects.failures = []
    name = await gateway.create()
    gateway.parts.objects.failures = [UnavailableError(Reason.OBJECT_STORE_UNAVAILABLE, "disk full")] * 2
    await gateway.stub.StartLoop(loop(name))
    assert (await gateway.finished(name)).session.state == session_pb2.Session.STATE_SUCCEEDED
    assert set(gateway.parts.generator.made.values()) == {1}


async def test_request_that_a_backend_refuses_is_not_repeated(gateway: Gateway) -> None:
    gateway.parts.generator.failures = [InvalidInputError("items", "not like this")]
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name))
    session = (await gateway.finished(name)).session
    assert (session.error.reason, session.error.field) == ("INVALID_FIELD", "items")
    assert len(gateway.parts.generator.calls) == 1


async def test_text_metric_compares_each_picture_with_its_own_prompt(gateway: Gateway) -> None:
    settings = session_pb2.SessionSettings(metrics=["pixels", "named"])
    name = await gateway.create(settings=settings)
    await gateway.stub.StartLoop(loop(name, rounds=1, first_prompt="rgb 0 0 0"))
    done = await gateway.finished(name)
    for one in done.rounds[0].candidates:
        assert one.scores[1].metric == "named" and one.scores[1].normalized > 0.95
    assert gateway.parts.scorer.calls == [1, 1]


async def test_infinite_score_is_stored_as_such(gateway: Gateway) -> None:
    target = image_pb2.Image(data=doubles.draw("rgb 9 9 9", derive_seed(0, 1, 0)))
    name = await gateway.create(target=target, settings=session_pb2.SessionSettings(metrics=["blue"]))
    await gateway.stub.StartLoop(loop(name, rounds=1, candidates=1, first_prompt="rgb 9 9 9"))
    done = await gateway.finished(name)
    assert done.session.best.scores[0].raw == math.inf and done.session.best.loop_score == 1.0


async def test_nul_from_a_language_model_is_taken_out(gateway: Gateway) -> None:
    name = await gateway.create()

    async def propose(*_: object, **__: object) -> list[domain.ProposedPrompt]:
        return [domain.ProposedPrompt("rgb 5\x00 5 5", "alternative")]

    gateway.parts.refiner.propose = propose  # type: ignore[assignment,method-assign]
    await gateway.stub.StartLoop(loop(name, rounds=1, candidates=1))
    done = await gateway.finished(name)
    assert done.rounds[0].candidates[0].prompt == "rgb 5 5 5"


def loop(name: str, **settings: object) -> pb.StartLoopRequest:
    """A request to start a loop."""
    return pb.StartLoopRequest(name=name, settings=session_pb2.LoopSettings(**settings))  # type: ignore[arg-type]


async def test_noises_are_recombined_from_the_second_round_on(gateway: Gateway) -> None:
    name = await gateway.create()
    await gateway.stub.StartLoop(loop(name, rounds=2, candidates=4))
    first, second = (await gateway.finished(name)).rounds
    assert not any(one.record.noise_mix for one in first.candidates)
    seeds = {one.record.seed for one in first.candidates}
    for one in second.candidates:
        parts = {part.seed: part.weight for part in one.record.noise_mix}
        assert set(parts) == {*seeds, one.record.seed}
        assert sum(weight**2 for weight in parts.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        pytest.param("", {"fresh_noise": True}, id="asked for fresh noise"),
        pytest.param("paint-large", {}, id="the model takes no mix"),
    ],
)
async def test_noise_stays_fresh(gateway: Gateway, model: str, settings: dict[str, bool]) -> None:
    name = await gateway.create(settings=session_pb2.SessionSettings(generator_model=model))
    await gateway.stub.StartLoop(loop(name, rounds=2, candidates=4, **settings))
    done = await gateway.finished(name)
    assert len(done.rounds) == 2
    assert not any(one.record.noise_mix for each in done.rounds for one in each.candidates)
