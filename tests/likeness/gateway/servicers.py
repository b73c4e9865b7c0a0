"""Sessions and pictures of the gateway contract, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
from PIL import UnidentifiedImageError

from likeness.gateway.v1 import (
    image_service_pb2,
    session_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
)
from likeness.types.v1 import score_pb2
from tests.likeness.gateway import story
from tests.likeness.gateway.faults import Fault, fail
from tests.likeness.gateway.generation import GenerationServicer
from tests.likeness.gateway.world import Record, World

State = session_pb2.Session.State
NOT_FOUND = grpc.StatusCode.NOT_FOUND


class SessionServicer(session_service_pb2_grpc.SessionServiceServicer):
    """Sessions; loops run as tasks and append to the log that watches read."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._changed = asyncio.Condition()

    async def CreateSession(self, request, context):
        fault = self._world.faults.next("CreateSession", context)
        if fault and not fault.after_effect:
            await fail(context, fault)
        if request.request_id not in self._world.answers:
            data = request.target.data or self._world.images.get(request.target.content_hash, b"")
            try:
                info = self._world.store(data)
            except UnidentifiedImageError:
                problem = "target: the file is broken or no picture"
                await fail(context, Fault(grpc.StatusCode.INVALID_ARGUMENT, "IMAGE_UNREADABLE", problem, "target"))
            name = f"sessions/s{len(self._world.sessions) + 1}"
            session = session_pb2.Session(
                name=name, display_name=request.display_name, target=info, settings=request.settings
            )
            session.state = State.STATE_WAITING
            session.create_time.GetCurrentTime()
            session.update_time.GetCurrentTime()
            self._world.sessions[name] = Record(session)
            self._world.answers[request.request_id] = session
        if fault:
            await fail(context, fault)
        return session_service_pb2.CreateSessionResponse(session=self._world.answers[request.request_id])

    async def GetSession(self, request, context):
        record = await self._find("GetSession", request, context)
        return session_service_pb2.GetSessionResponse(
            session=record.session, rounds=record.rounds, rankings=record.rankings
        )

    async def ListSessions(self, request, context):
        await self._enter("ListSessions", context)
        records = list(self._world.sessions.values())[::-1]
        start, size = int(request.page_token or 0), request.page_size or 50
        token = str(start + size) if start + size < len(records) else ""
        sessions = [record.session for record in records[start : start + size]]
        return session_service_pb2.ListSessionsResponse(sessions=sessions, next_page_token=token)

    async def DeleteSession(self, request, context):
        await self._find("DeleteSession", request, context)
        del self._world.sessions[request.name]
        return session_service_pb2.DeleteSessionResponse()

    async def StartLoop(self, request, context):
        record = await self._find("StartLoop", request, context)
        if record.session.state == State.STATE_RUNNING:
            busy = Fault(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_BUSY", f"{request.name} is running")
            await fail(context, busy)
        settings = request.settings
        self._world.loops.append(settings)
        if settings.HasField("rounds") and not 1 <= settings.rounds <= 100:
            problem = f"settings.rounds: {settings.rounds} is out of range; allowed: 1 to 100"
            wrong = Fault(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", problem, "settings.rounds")
            await fail(context, wrong)
        plans = story.loop_plans(
            settings.rounds or 4, settings.candidates or 2, settings.strategy or "repainter", settings.first_prompt
        )
        await self._begin(record, list(plans), State.STATE_SUCCEEDED)
        return session_service_pb2.StartLoopResponse(session=record.session)

    async def PauseLoop(self, request, context):
        record = await self._find("PauseLoop", request, context)
        if record.task is None or record.task.done():
            idle = Fault(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_RUNNING", f"{request.name} is not running")
            await fail(context, idle)
        record.task.cancel()
        paused = record.session.paused_loop
        paused.settings.rounds, paused.settings.strategy, paused.rounds_done = 4, "repainter", len(record.rounds)
        await self._set_state(record, State.STATE_PAUSED)
        return session_service_pb2.PauseLoopResponse(session=record.session)

    async def ResumeLoop(self, request, context):
        record = await self._find("ResumeLoop", request, context)
        if not record.session.HasField("paused_loop"):
            problem = "no loop of the session is paused"
            await fail(context, Fault(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_PAUSED", problem))
        rounds = record.session.paused_loop.settings.rounds
        record.session.ClearField("paused_loop")
        plans = list(story.loop_plans(rounds, 2, "repainter", ""))[len(record.rounds) :]
        await self._begin(record, plans, State.STATE_SUCCEEDED)
        return session_service_pb2.ResumeLoopResponse(session=record.session)

    async def CancelLoop(self, request, context):
        record = await self._find("CancelLoop", request, context)
        if record.task is None or record.task.done():
            idle = Fault(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_RUNNING", f"{request.name} is not running")
            await fail(context, idle)
        record.task.cancel()
        record.session.stop_reason = session_pb2.STOP_REASON_CANCELLED
        await self._set_state(record, State.STATE_CANCELLED)
        return session_service_pb2.CancelLoopResponse(session=record.session)

    async def SubmitPrompt(self, request, context):
        fault = self._world.faults.next("SubmitPrompt", context)
        record = await self._known(request, context)
        if request.request_id not in self._world.answers:
            self._world.answers[request.request_id] = len(record.log)
            plan = story.Plan(
                len(record.rounds) + 1, "human", request.prompt, (request.prompt,) * (request.image_count or 1), 0.7
            )
            await self._begin(record, [plan], State.STATE_WAITING)
        first = self._world.answers[request.request_id]
        async for event in self._follow(record, first, True, fault, context):
            yield session_service_pb2.SubmitPromptResponse(event=event)

    async def SubmitFeedback(self, request, context):
        record = await self._find("SubmitFeedback", request, context)
        revised = f"{record.session.best.prompt}, {request.text}"
        edit = {"property": "color", "before": "red", "after": "blue"}
        return session_service_pb2.SubmitFeedbackResponse(revised_prompt=revised, edits=[edit])

    async def RankImages(self, request, context):
        record = await self._find("RankImages", request, context)
        ranking = session_pb2.Ranking(candidate_ids=request.candidate_ids)
        ranking.create_time.GetCurrentTime()
        record.rankings.append(ranking)
        return session_service_pb2.RankImagesResponse(ranking=ranking)

    async def WatchSession(self, request, context):
        fault = self._world.faults.next("WatchSession", context)
        record = await self._known(request, context)
        after = int(request.after_cursor.removeprefix("at-") or 0)
        snapshot = session_pb2.SessionEvent(sequence=after, cursor=f"at-{after}")
        snapshot.snapshot.session.CopyFrom(record.session)
        seen = [event.sequence for event in record.log[:after]]
        snapshot.snapshot.session.last_event_sequence = max(seen, default=0)
        snapshot.create_time.GetCurrentTime()
        if fault and fault.after_events == 0:
            await fail(context, fault)
        yield session_service_pb2.WatchSessionResponse(event=snapshot)
        async for event in self._follow(record, after, request.until_idle, fault, context):
            yield session_service_pb2.WatchSessionResponse(event=event)

    async def _enter(self, method: str, context) -> None:
        fault = self._world.faults.next(method, context)
        if fault:
            await fail(context, fault)

    async def _find(self, method: str, request, context) -> Record:
        await self._enter(method, context)
        return await self._known(request, context)

    async def _known(self, request, context) -> Record:
        if request.name not in self._world.sessions:
            problem = f"session {request.name!r} does not exist"
            await fail(context, Fault(NOT_FOUND, "SESSION_NOT_FOUND", problem, "name"))
        return self._world.sessions[request.name]

    async def _follow(self, record, position: int, until_idle: bool, fault, context) -> AsyncIterator:
        sent = 0
        while True:
            while position < len(record.log):
                if fault and sent == fault.after_events:
                    await fail(context, fault)
                event = record.log[position]
                position += 1
                sent += 1
                yield event
            if until_idle and record.session.state != State.STATE_RUNNING:
                return
            async with self._changed:
                await self._changed.wait()

    async def _begin(self, record: Record, plans: list[story.Plan], end: int) -> None:
        await self._set_state(record, State.STATE_RUNNING)
        record.task = asyncio.create_task(self._play(record, plans, end))

    async def _play(self, record: Record, plans: list[story.Plan], end: int) -> None:
        if end == State.STATE_SUCCEEDED:
            record.session.tree.CopyFrom(story.tree())
            described = session_pb2.TargetUnderstood(tree=story.tree(), prompt=story.tree().base_caption)
            await self._append(record, session_pb2.SessionEvent(target_understood=described))
        for plan in plans:
            best_before = record.session.best.loop_score if record.session.HasField("best") else None
            for event in story.play_round(plan, best_before, self._world.store):
                await self._world.gate.wait()
                await self._append(record, event)
                await asyncio.sleep(0)
            if self._world.failing_loop:
                record.session.error.reason, record.session.error.message = "GENERATION_FAILED", "no memory left"
                return await self._set_state(record, State.STATE_FAILED)
        record.session.stop_reason = session_pb2.STOP_REASON_ROUNDS_DONE if end == State.STATE_SUCCEEDED else 0
        await self._set_state(record, end)

    async def _set_state(self, record: Record, state: int) -> None:
        record.session.state = state
        change = session_pb2.StateChanged(state=state, stop_reason=record.session.stop_reason)
        if record.session.HasField("paused_loop"):
            change.paused_loop.CopyFrom(record.session.paused_loop)
        await self._append(record, session_pb2.SessionEvent(state_changed=change))

    async def _append(self, record: Record, event: session_pb2.SessionEvent) -> None:
        """Logs an event. Live ones are logged too, without a sequence, so that a test can count on seeing them."""
        event.create_time.GetCurrentTime()
        if event.HasField("candidate_progress"):
            event.cursor = f"at-{len(record.log)}"
        else:
            event.sequence = record.session.last_event_sequence + 1
            record.session.last_event_sequence = event.sequence
            event.cursor = f"at-{len(record.log) + 1}"
        kind = event.WhichOneof("event")
        if kind == "round_started":
            record.session.round_count = event.round_started.round.number
            record.rounds.append(event.round_started.round)
        if kind == "candidate_scored":
            scored = event.candidate_scored.candidate
            if not record.session.HasField("best") or scored.loop_score > record.session.best.loop_score:
                record.session.best.CopyFrom(scored)
        if kind == "round_finished":
            record.rounds[-1].CopyFrom(event.round_finished.round)
        record.session.update_time.GetCurrentTime()
        record.log.append(event)
        async with self._changed:
            self._changed.notify_all()


class ImageServicer(GenerationServicer):
    """Pictures by hash, and made-up scores."""

    async def UploadImage(self, request, context):
        return image_service_pb2.UploadImageResponse(info=self._world.store(request.data))

    async def GetImage(self, request, context):
        fault = self._world.faults.next("GetImage", context)
        if fault:
            await fail(context, fault)
        data = self._world.images.get(request.content_hash)
        if data is None:
            await fail(context, Fault(NOT_FOUND, "IMAGE_NOT_FOUND", "image does not exist", "content_hash"))
        return image_service_pb2.GetImageResponse(data=data, info=story.image_info(data))

    async def ScoreImages(self, request, context):
        fault = self._world.faults.next("ScoreImages", context)
        if fault:
            await fail(context, fault)
        profiles = {f"clpips:{name}": record for name, record in self._world.profiles.items()}
        unknown = set(request.metrics) - {"clip-embedded", "phash", "psnr", *profiles}
        absent = next((name.removeprefix("clpips:") for name in unknown if name.startswith("clpips:")), None)
        if absent is not None:
            problem = f"profile {absent!r} does not exist"
            await fail(context, Fault(NOT_FOUND, "PROFILE_NOT_FOUND", problem, "metrics[0]"))
        if unknown:
            problem = f"metric {min(unknown)!r} does not exist; known: clip-embedded, phash, psnr"
            await fail(context, Fault(NOT_FOUND, "METRIC_NOT_FOUND", problem, "metrics"))
        answers = []
        for index, candidate in enumerate(request.candidates):
            if candidate.data[:4] == b"junk":
                error = score_pb2.ItemError(reason="IMAGE_UNREADABLE", message="the file is broken", field="candidates")
                answers.append(image_service_pb2.ImageScores(error=error))
                continue
            wanted = [s for s in story.scores(0.9 - 0.1 * index) if not request.metrics or s.metric in request.metrics]
            wanted += [
                story.personal_score(name, record.profile.active.revision, 0.9 - 0.1 * index)
                for name, record in profiles.items()
                if name in request.metrics
            ]
            for score in wanted:
                score.text_truncated = score.metric == "clip-embedded" and len(request.text) > 100
            answers.append(image_service_pb2.ImageScores(scores=wanted))
        return image_service_pb2.ScoreImagesResponse(candidates=answers)
