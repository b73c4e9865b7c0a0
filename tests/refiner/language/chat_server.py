"""A server that speaks the chat-completions protocol and answers from a script: a protocol peer, not a model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Status:
    """Answer with an HTTP error."""

    code: int
    body: str = '{"error": {"message": "no"}}'


@dataclass
class Slow:
    """Answer too late."""

    seconds: float


@dataclass
class Raw:
    """Answer with this HTTP body instead of a completion."""

    body: str
    gzipped: bool = False


@dataclass
class Endless:
    """Answer with a body that does not end by itself."""

    code: int = 200


Answer = str | dict[str, Any] | Status | Slow | Raw | Endless
Script = list[Answer] | Callable[[dict[str, Any]], Answer]


@dataclass
class ChatServer:
    """Answers in order (the last one again and again), or by a function of the request; keeps the requests."""

    script: Script
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    base_url: str = ""
    cut_off: int = 0
    """Answers whose reader left before their end."""

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        self.requests.append(await request.json())
        self.headers.append(dict(request.headers))
        answer = self._next()
        if isinstance(answer, Slow):
            await asyncio.sleep(answer.seconds)
            answer = "{}"
        if isinstance(answer, Status):
            return web.Response(status=answer.code, text=answer.body, content_type="application/json")
        if isinstance(answer, Endless):
            return await self._endless(request, answer)
        if isinstance(answer, Raw):
            response = web.Response(text=answer.body, content_type="application/json")
            if answer.gzipped:
                response.enable_compression(web.ContentCoding.gzip)
            return response
        content = answer if isinstance(answer, str) else json.dumps(answer)
        message = {"role": "assistant", "content": content}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        return web.json_response(
            {"id": "1", "object": "chat.completion", "created": 0, "model": "test", "choices": choices}
        )

    async def _endless(self, request: web.Request, answer: Endless) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.code, headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65536)
        except ConnectionError:
            self.cut_off += 1
            return response

    def _next(self) -> Answer:
        if callable(self.script):
            return self.script(self.requests[-1])
        return self.script[min(len(self.requests), len(self.script)) - 1]


@asynccontextmanager
async def chat_server(script: Script) -> AsyncIterator[ChatServer]:
    """A running server on a free port."""
    server = ChatServer(script)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", server.complete)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        server.base_url = f"http://127.0.0.1:{port}/v1"
        yield server
    finally:
        await runner.cleanup()
