"""SessionService over gRPC: convert, call, convert back. Errors are turned into statuses by the interceptor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.gateway.v1 import session_service_pb2_grpc
from likeness.types.v1 import understanding_pb2
from services.common.errors import InvalidInputError
from services.gateway import domain
from services.gateway.access.caller import current_caller
from services.gateway.rpc import converters
from services.gateway.rpc import type_converters as types
from services.gateway.rpc.request_keys import request_key
from services.gateway.sessions import tokens, validation
from services.gateway.sessions.service import SessionService
from services.gateway.store.interventions import PauseMode


class SessionServicer(session_service_pb2_grpc.SessionServiceServicer):
    """The public session API."""

    def __init__(self, service: SessionService) -> None:
        self._service = service

    async def CreateSession(self, request: pb.CreateSessionRequest, context: Any) -> pb.CreateSessionResponse:
        """Creates a session for a target."""
        content = request.target.WhichOneof("content")
        if content is None:
            raise InvalidInputError("target", "is missing", allowed="data or content_hash")
        session = await self._service.create(
            current_caller().tenant_id,
            target_data=request.target.data if content == "data" else None,
            target_hash=request.target.content_hash,
            asked=converters.settings_from_proto(request.settings),
            display_name=request.display_name,
            key=await request_key(request),
        )
        return pb.CreateSessionResponse(session=converters.session_to_proto(session))

    async def GetSession(self, request: pb.GetSessionRequest, context: Any) -> pb.GetSessionResponse:
        """Returns a session with its rounds."""
        full = await self._service.get(current_caller().tenant_id, validation.session_id(request.name))
        show = full.session.settings.show_scores
        return pb.GetSessionResponse(
            session=converters.session_to_proto(full.session),
            rounds=[converters.round_to_proto(one, show) for one in full.rounds],
            rankings=[converters.ranking_to_proto(one) for one in full.rankings],
        )

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:
        """Lists sessions, newest first."""
        page, token = await self._service.list_page(current_caller().tenant_id, request.page_size, request.page_token)
        sessions = [converters.session_to_proto(one) for one in page]
        return pb.ListSessionsResponse(sessions=sessions, next_page_token=token)

    async def DeleteSession(self, request: pb.DeleteSessionRequest, context: Any) -> pb.DeleteSessionResponse:
        """Deletes a session."""
        session_id, key = validation.session_id(request.name), await request_key(request)
        await self._service.delete(current_caller().tenant_id, session_id, key)
        return pb.DeleteSessionResponse()

    async def SubmitPrompt(
        self, request: pb.SubmitPromptRequest, context: Any
    ) -> AsyncIterator[pb.SubmitPromptResponse]:
        """Makes and scores pictures for a prompt."""
        tenant_id, session_id = current_caller().tenant_id, validation.session_id(request.name)
        count = request.image_count if request.HasField("image_count") else None
        show = await self._service.shows_scores(tenant_id, session_id)
        key = await request_key(request)
        events = self._service.submit_prompt(tenant_id, session_id, request.prompt, count, key)
        position = 0
        async with aclosing(cast(Any, events)):
            async for event in events:
                position = event.sequence or position
                yield pb.SubmitPromptResponse(event=converters.event_to_proto(event, position, show))

    async def StartLoop(self, request: pb.StartLoopRequest, context: Any) -> pb.StartLoopResponse:
        """Starts an automatic loop."""
        session = await self._service.start_loop(
            current_caller().tenant_id,
            validation.session_id(request.name),
            converters.loop_from_proto(request.settings),
            await request_key(request),
        )
        return pb.StartLoopResponse(session=converters.session_to_proto(session))

    async def PauseLoop(self, request: pb.PauseLoopRequest, context: Any) -> pb.PauseLoopResponse:
        """Takes over from the loop of a session."""
        session_id, key = validation.session_id(request.name), await request_key(request)
        mode = PauseMode.AT_ONCE if request.at_once else PauseMode.AFTER_ROUND
        session = await self._service.pause(current_caller().tenant_id, session_id, mode, key)
        return pb.PauseLoopResponse(session=converters.session_to_proto(session))

    async def ResumeLoop(self, request: pb.ResumeLoopRequest, context: Any) -> pb.ResumeLoopResponse:
        """Hands a session back to its loop."""
        session_id, key = validation.session_id(request.name), await request_key(request)
        session = await self._service.resume(current_caller().tenant_id, session_id, key)
        return pb.ResumeLoopResponse(session=converters.session_to_proto(session))

    async def CancelLoop(self, request: pb.CancelLoopRequest, context: Any) -> pb.CancelLoopResponse:
        """Stops the loop or round of a session."""
        session_id, key = validation.session_id(request.name), await request_key(request)
        session = await self._service.cancel(current_caller().tenant_id, session_id, key)
        return pb.CancelLoopResponse(session=converters.session_to_proto(session))

    async def SubmitFeedback(self, request: pb.SubmitFeedbackRequest, context: Any) -> pb.SubmitFeedbackResponse:
        """Records feedback and revises a prompt by it."""
        revision = await self._service.submit_feedback(
            current_caller().tenant_id,
            validation.session_id(request.name),
            request.text,
            _aspect(request.aspect),
            request.candidate_id,
            await request_key(request),
        )
        edits = [types.edit_to_proto(edit) for edit in revision.edits]
        return pb.SubmitFeedbackResponse(revised_prompt=revision.prompt, edits=edits)

    async def RankImages(self, request: pb.RankImagesRequest, context: Any) -> pb.RankImagesResponse:
        """Records an order of candidates."""
        ranking = await self._service.rank(
            current_caller().tenant_id,
            validation.session_id(request.name),
            request.candidate_ids,
            await request_key(request),
        )
        return pb.RankImagesResponse(ranking=converters.ranking_to_proto(ranking))

    async def WatchSession(
        self, request: pb.WatchSessionRequest, context: Any
    ) -> AsyncIterator[pb.WatchSessionResponse]:
        """Streams a snapshot at the cursor, then every later event."""
        tenant_id, session_id = current_caller().tenant_id, validation.session_id(request.name)
        position = tokens.decode_cursor(session_id, request.after_cursor)
        history = await self._service.snapshot(tenant_id, session_id, position)
        show = history.session.settings.show_scores
        yield pb.WatchSessionResponse(event=converters.snapshot_to_proto(history))
        position = history.session.last_event_sequence
        events = self._service.follow(tenant_id, session_id, position, until_idle=request.until_idle)
        async with aclosing(cast(Any, events)):
            async for event in events:
                position = event.sequence or position
                yield pb.WatchSessionResponse(event=converters.event_to_proto(event, position, show))


def _aspect(value: int) -> domain.Aspect | None:
    aspect = types.aspect_from_proto(value)
    if aspect is None and value != understanding_pb2.ASPECT_UNSPECIFIED:
        allowed = ", ".join(understanding_pb2.Aspect.keys())
        raise InvalidInputError("aspect", f"{value} is not an aspect", allowed=allowed)
    return aspect
