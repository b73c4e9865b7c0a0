"""Domain values survive JSON, also those that JSON has no word for."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest

from services.gateway import domain
from services.gateway.store.codec import decode, decode_event, encode, encode_event

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
INFO = domain.ImageInfo("a" * 64, "b" * 64, "image/png", 16, 8, 123)
EDIT = domain.PromptEdit("style", "plain", "neon")
ERROR = domain.ItemError("QUEUE_FULL", "later", "items")
TREE = domain.Tree(
    "a red car",
    (domain.Feature("style", "plain", domain.Aspect.STYLE, 0.5),),
    (domain.ObjectNode("car", (domain.Feature("color", "red"),), (("what color?", "red"),)),),
    (domain.Relation("car", "left of", "cat"),),
)
CANDIDATE = domain.Candidate(
    id="r1c2",
    round_number=1,
    prompt="a car, \u00e9\U0001f697",
    origin="synonym",
    seed=2**63 - 1,
    edits=(EDIT,),
    image=INFO,
    noise_mix=(domain.NoisePart(3, 0.5), domain.NoisePart(4, 1.0, (0.5, -1.0, 0.0, 2.0))),
    record=domain.GenerationRecord(
        "a", "", 2**63 - 1, 20, 3.0, "ddim", 16, 8, "m", "r", (domain.NoisePart(4, 1.0, (0.5, -1.0, 0.0, 2.0)),)
    ),
    scores=(
        domain.Score("psnr", "1", math.inf, 1.0, True, 0.0, None, cells=(0.25, 1.0, 0.5, 0.0), text_truncated=True),
        domain.Score("x", "1", 0, 0, False, error=ERROR),
    ),
    loop_score=0.25,
    error=ERROR,
)
ROUND = domain.Round(
    number=1,
    strategy="repainter",
    aspect=domain.Aspect.COLOR,
    base_prompt="a car",
    candidates=(CANDIDATE,),
    create_time=NOW,
    best_candidate_id="r1c2",
    feedback=domain.Feedback("redder", domain.Aspect.COLOR, (EDIT,)),
    gain=-0.5,
    finished=True,
)
SESSION = domain.Session(
    id="s",
    display_name="name",
    target=INFO,
    settings=domain.SessionSettings(("a", "b"), ("a",), "m", 20, None, 2**64 - 1, False),
    state=domain.SessionState.FAILED,
    create_time=NOW,
    update_time=NOW,
    round_count=3,
    best=CANDIDATE,
    tree=TREE,
    stop_reason=domain.StopReason.FAILED,
    error=ERROR,
    last_event_sequence=2**40,
)


@pytest.mark.parametrize("value", [SESSION, ROUND, CANDIDATE, TREE], ids=lambda one: type(one).__name__)
def test_values_survive(value: object) -> None:
    text = json.dumps(encode(value), allow_nan=False)
    assert decode(type(value), json.loads(text)) == value


@pytest.mark.parametrize("number", [math.inf, -math.inf, 0.1, 1e-300])
def test_numbers_survive(number: float) -> None:
    score = domain.Score("m", "1", number, 0.5, True)
    assert decode(domain.Score, json.loads(json.dumps(encode(score), allow_nan=False))).raw == number


def test_nan_survives() -> None:
    score = domain.Score("m", "1", math.nan, 0.5, True)
    assert math.isnan(decode(domain.Score, json.loads(json.dumps(encode(score), allow_nan=False))).raw)


@pytest.mark.parametrize(
    "body",
    [
        domain.StateChanged(domain.SessionState.RUNNING),
        domain.StateChanged(domain.SessionState.FAILED, domain.StopReason.FAILED, ERROR),
        domain.TargetUnderstood(TREE, "a red car"),
        domain.RoundStarted(ROUND),
        domain.CandidateGenerated(CANDIDATE),
        domain.CandidateScored(CANDIDATE),
        domain.CandidateFailed(CANDIDATE),
        domain.RoundFinished(ROUND),
        domain.FeedbackGiven(domain.Feedback("more"), "a car"),
        domain.CandidatesRanked(domain.Ranking(("r1c2", "r1c1"), NOW)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_events_survive(body: domain.EventBody) -> None:
    assert decode_event(json.loads(json.dumps(encode_event(body), allow_nan=False))) == body


def test_live_events_cannot_be_stored() -> None:
    with pytest.raises(KeyError):
        encode_event(domain.CandidateProgress("r1c1", 1, 20))


def test_rows_of_other_releases_stay_readable() -> None:
    raw = encode(domain.Feedback("more", domain.Aspect.STYLE))
    del raw["edits"]
    raw["of_the_future"] = {"a": [1]}
    assert decode(domain.Feedback, raw) == domain.Feedback("more", domain.Aspect.STYLE)
