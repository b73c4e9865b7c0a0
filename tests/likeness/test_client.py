"""The sync client against a real server: every call, and what comes back."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import pytest
from PIL import Image

from likeness import (
    AbsentMetric,
    Aspect,
    CandidateProgress,
    CandidateScored,
    Client,
    Event,
    Health,
    LoopFailed,
    RoundFinished,
    Session,
    SessionSettings,
    SessionSnapshot,
    SessionState,
    StateChanged,
    StopReason,
    TargetUnderstood,
)
from tests.likeness.gateway.server import TestGateway


def test_regenerate_gives_the_best_picture_and_its_prompt(client: Client, target: bytes) -> None:
    seen: list[Event] = []
    result = client.regenerate(target, rounds=3, candidates=2, seed=7, on_event=seen.append)
    assert result.session.state is SessionState.SUCCEEDED
    assert result.session.stop_reason is StopReason.ROUNDS_DONE
    assert [item.number for item in result.rounds] == [1, 2, 3]
    scores = [candidate.loop_score for item in result.rounds for candidate in item.candidates]
    assert result.best.loop_score == max(score for score in scores if score is not None)
    assert result.prompt == result.best.prompt
    assert result.best_image.size == (64, 64)
    assert json.loads(Image.open(io.BytesIO(result.best_png)).text["likeness"])["prompt"] == result.prompt
    assert isinstance(seen[0].body, SessionSnapshot)
    kinds = {type(event.body) for event in seen}
    assert {TargetUnderstood, CandidateProgress, CandidateScored, RoundFinished, StateChanged} < kinds


def test_a_failed_loop_raises_and_names_the_session(client: Client, gateway: TestGateway, target: bytes) -> None:
    gateway.world.failing_loop = True
    with pytest.raises(LoopFailed) as caught:
        client.regenerate(target)
    assert (caught.value.reason, caught.value.session) == ("GENERATION_FAILED", "sessions/s1")


def test_leaving_a_regeneration_cancels_its_loop(client: Client, target: bytes) -> None:
    def stop(event: Event) -> None:
        if isinstance(event.body, CandidateProgress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        # So much that it is not done before it is cancelled.
        client.regenerate(target, rounds=100, candidates=64, on_event=stop)
    assert client.get_session("s1").session.state is SessionState.CANCELLED


def test_settings_reach_the_server(client: Client, gateway: TestGateway, target: bytes) -> None:
    wanted = SessionSettings(
        metrics=("psnr", "phash"),
        selection_metrics=("psnr",),
        steps=0,
        guidance_scale=0.0,
        seed=2**64 - 1,
        show_scores=False,
    )
    session = client.create_session(
        target,
        metrics=["psnr", "phash"],
        selection_metrics=["psnr"],
        steps=0,
        guidance_scale=0.0,
        seed=2**64 - 1,
        show_scores=False,
        display_name="a test",
    )
    assert (session.settings, session.display_name, session.id) == (wanted, "a test", "s1")
    default = gateway.world.sessions[client.create_session(target).name].session.settings
    assert not default.HasField("steps") and not default.HasField("guidance_scale")


def test_unknown_options_are_type_errors(client: Client, target: bytes) -> None:
    for call in (client.create_session, client.regenerate):
        with pytest.raises(TypeError, match="metric"):
            call(target, metric="psnr")
    with pytest.raises(TypeError, match="round"):
        client.start_loop("s1", round=3)


def test_pictures_go_as_file_bytes_pillow_or_address(client: Client, target: bytes, target_file: Path) -> None:
    info = client.upload_image(target)
    picture = Image.open(io.BytesIO(target))
    for source in (target_file, str(target_file), target, picture, info):
        assert client.create_session(source).target.pixel_hash == info.pixel_hash
    cmyk = picture.convert("CMYK")
    assert client.upload_image(cmyk).media_type == "image/tiff"
    assert client.get_image(info).tobytes() == picture.tobytes()
    assert client.get_image_bytes(info.content_hash) == target


def test_a_pillow_picture_is_sent_upright(client: Client) -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to show
    Image.new("RGB", (40, 20)).save(out, "JPEG", exif=exif)
    info = client.upload_image(Image.open(io.BytesIO(out.getvalue())))
    assert (info.width_pixels, info.height_pixels) == (20, 40)


def test_the_human_loop(client: Client, target: bytes) -> None:
    session = client.create_session(target)
    events = list(client.submit_prompt(session, "a red car", image_count=2))
    assert [event.kind for event in events].count("candidate_scored") == 2
    revised = client.submit_feedback(session, "make it blue", aspect=Aspect.COLOR)
    assert "make it blue" in revised.text
    assert (revised.edits[0].before, revised.edits[0].after) == ("red", "blue")
    assert client.rank_images(session, ["r1c2", "r1c1"]).candidate_ids == ("r1c2", "r1c1")
    details = client.get_session(session)
    assert details.rankings[0].candidate_ids == ("r1c2", "r1c1")
    assert details.rounds[0].best is not None and details.rounds[0].best.id == "r1c2"


def test_a_loop_can_be_cancelled_by_id(client: Client, gateway: TestGateway, target: bytes) -> None:
    gateway.hold_loops()
    session = client.start_loop(client.create_session(target), rounds=9)
    assert session.state is SessionState.RUNNING
    assert client.cancel_loop(session.id).stop_reason is StopReason.CANCELLED


def test_a_loop_is_taken_over_and_handed_back(client: Client, gateway: TestGateway, target: bytes) -> None:
    gateway.hold_loops()
    session = client.start_loop(client.create_session(target))
    paused = client.pause_loop(session, at_once=True)
    assert paused.state is SessionState.PAUSED and paused.paused_loop is not None
    assert (paused.paused_loop.settings.rounds, paused.paused_loop.rounds_done) == (4, 0)
    gateway.hold_loops(False)
    assert list(client.submit_prompt(session, "a red car"))
    assert client.resume_loop(session).paused_loop is None
    states = [event.body.state for event in client.watch(session, until_idle=True) if event.kind == "state_changed"]
    assert states[1] is SessionState.PAUSED and states[-1] is SessionState.SUCCEEDED


def test_a_regeneration_waits_while_somebody_has_taken_over(
    client: Client, gateway: TestGateway, target: bytes
) -> None:
    took_over: list[Session] = []
    gateway.hold_loops()

    def take_over(event: Event) -> None:
        if event.kind == "state_changed" and not took_over:
            took_over.append(client.pause_loop(next(client.list_sessions())))
            gateway.hold_loops(False)
            client.resume_loop(took_over[0])

    result = client.regenerate(target, on_event=take_over)
    assert result.session.state is SessionState.SUCCEEDED and took_over[0].state is SessionState.PAUSED


def test_sessions_are_listed_over_pages_and_deleted(client: Client, target: bytes) -> None:
    for _ in range(5):
        client.create_session(target)
    assert [item.id for item in client.list_sessions(page_size=2)] == ["s5", "s4", "s3", "s2", "s1"]
    client.delete_session("s3")
    assert "s3" not in [item.id for item in client.list_sessions()]


def test_scores_say_direction_and_range(client: Client, target: bytes) -> None:
    good, bad = client.score(target, [target, b"junk"], metrics=["phash"])
    score = good.scores[0]
    assert (score.metric, score.higher_is_better, score.minimum, score.maximum) == ("phash", False, 0, 64)
    assert bad.scores == () and bad.error is not None and bad.error.reason == "IMAGE_UNREADABLE"
    psnr = client.score(target, [target], metrics=["psnr"])[0].scores[0]
    assert psnr.maximum is None and psnr.higher_is_better


def test_the_catalogue(client: Client) -> None:
    models = client.models()
    assert models.unreachable == ("refiner",)
    assert [model.role for model in models.models] == ["generator", "embedder"]
    assert models.models[0].generation_limits is not None and models.models[1].generation_limits is None
    states = [(model.load_state, model.size_bytes, model.load_problem) for model in models.models]
    assert states == [("not_loaded", 3 * 2**20, ""), ("unspecified", 0, "")]
    clip, phash, psnr = client.metrics()
    assert clip.selects_by_default and phash.computed_by_default and not psnr.computed_by_default
    assert phash.higher_is_better is False and clip.input == "image_image"
    assert client.absent_metrics() == (AbsentMetric("lpips-squeeze", "no weights were found"),)
    assert client.strategies()[0].id == "repainter"
    status = client.status()
    assert status.health is Health.SERVING and len(status.components) == 6


def test_one_client_serves_several_threads(client: Client, target: bytes) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            client.regenerate(target, rounds=1)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
