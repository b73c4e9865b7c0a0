"""The one HTTP port of the gateway: /metrics for Prometheus, /healthz for people and load balancers."""

from __future__ import annotations

import asyncio

from aiohttp import web

from services.common import telemetry
from services.gateway.health import Health, HealthMonitor


class HttpServer:
    """A running server; `port` is the one it listens on."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner = runner
        self.port = port

    async def close(self) -> None:
        """Stops listening."""
        await self._runner.cleanup()


async def start_http(port: int, monitor: HealthMonitor, *, host: str = "127.0.0.1") -> HttpServer:
    """Starts the server; port 0 picks a free one.

    Raises:
        OSError: the port is taken.
    """

    async def metrics(_: web.Request) -> web.Response:
        # Rendering reads the files of every process of the node.
        body = await asyncio.to_thread(telemetry.render_metrics)
        return web.Response(body=body, headers={"Content-Type": telemetry.METRICS_CONTENT_TYPE})

    async def healthz(_: web.Request) -> web.Response:
        health = monitor.overall()
        components = {one.component: {"health": one.health, "detail": one.detail} for one in monitor.components()}
        status = 503 if health is Health.NOT_SERVING else 200
        return web.json_response({"health": health, "components": components}, status=status)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return HttpServer(runner, int(runner.addresses[0][1]))
