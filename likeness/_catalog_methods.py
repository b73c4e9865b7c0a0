"""What a deployment has and how it is, for both clients."""

from __future__ import annotations

from likeness import _calls
from likeness import _types as t
from likeness._calling import AsyncCalling, Calling


class CatalogMethods(Calling):
    """The catalogue for the sync client."""

    def models(self) -> t.ModelList:
        """Models of all services."""
        return self._run(_calls.models())

    def metrics(self) -> tuple[t.Metric, ...]:
        """Metrics of the deployment."""
        return self._run(_calls.metrics())

    def absent_metrics(self) -> tuple[t.AbsentMetric, ...]:
        """Metrics that the deployment knows and cannot compute, such as one without weights."""
        return self._run(_calls.absent_metrics())

    def strategies(self) -> tuple[t.Strategy, ...]:
        """Strategies of the deployment, the default first."""
        return self._run(_calls.strategies())

    def status(self) -> t.Status:
        """State of the gateway and of everything that it needs."""
        return self._run(_calls.status())


class AsyncCatalogMethods(AsyncCalling):
    """The catalogue for the async client."""

    async def models(self) -> t.ModelList:
        """Models of all services."""
        return await self._run(_calls.models())

    async def metrics(self) -> tuple[t.Metric, ...]:
        """Metrics of the deployment."""
        return await self._run(_calls.metrics())

    async def absent_metrics(self) -> tuple[t.AbsentMetric, ...]:
        """Metrics that the deployment knows and cannot compute, such as one without weights."""
        return await self._run(_calls.absent_metrics())

    async def strategies(self) -> tuple[t.Strategy, ...]:
        """Strategies of the deployment, the default first."""
        return await self._run(_calls.strategies())

    async def status(self) -> t.Status:
        """State of the gateway and of everything that it needs."""
        return await self._run(_calls.status())
