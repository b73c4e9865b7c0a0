"""How many replicas there should be: what a policy sees, and four of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from capacity.models import Model


@dataclass(frozen=True)
class Load:
    """Of all replicas together. Means are over the look-back period, the others are of now."""

    replicas: int
    """Those that run or start."""
    mean_open_calls: float
    mean_waiting_pictures: float
    mean_running_pictures: float
    open_pictures: int
    pictures_asked_per_second: float
    """Over the look-back period."""


class Policy(Protocol):
    """Decides how many replicas there should be; the autoscaler keeps its bounds and waits out its delays."""

    @property
    def name(self) -> str:
        """What it is called."""

    def wanted(self, load: Load, model: Model) -> int:
        """The number of replicas for this load."""


@dataclass(frozen=True)
class OngoingRequests:
    """What Serve does by itself: open calls by the target, whatever is in the calls."""

    target: float
    name: str = "ongoing requests"

    def wanted(self, load: Load, model: Model) -> int:  # noqa: ARG002 - a call is a call
        """See `Policy`."""
        return math.ceil(load.mean_open_calls / self.target)


@dataclass(frozen=True)
class QueueDepth:
    """A replica more for every batch of pictures that waits; a replica less when what runs would fit into fewer."""

    full_share: float = 0.7
    """Of the places of the replicas that are left, which may be taken after one has gone."""
    name: str = "queue depth"

    def wanted(self, load: Load, model: Model) -> int:
        """See `Policy`."""
        more = math.ceil(load.mean_waiting_pictures / model.max_batch)
        if more:
            return load.replicas + more
        return min(load.replicas, math.ceil(load.mean_running_pictures / (model.max_batch * self.full_share)))


@dataclass(frozen=True)
class DeadlineAware:
    """As many as keep up with what is asked for, and besides work off what is open within the time that people have.

    Attributes:
        target_seconds: In which a picture should be there.
        full_share: Of what replicas can make that may be asked of them for long.
    """

    target_seconds: float
    full_share: float = 0.8
    name: str = "deadline-aware"

    def wanted(self, load: Load, model: Model) -> int:
        """See `Policy`."""
        rate = model.pictures_per_second()
        steady = load.pictures_asked_per_second / (rate * self.full_share)
        # What is open beyond that which a rate of arrivals keeps open anyway, and the time that is left for it.
        usual = load.pictures_asked_per_second * model.max_batch / rate
        backlog = max(load.open_pictures - usual, 0.0)
        slack = max(self.target_seconds - model.max_batch / rate, model.max_batch / rate)
        return math.ceil(steady + backlog / (rate * slack))
