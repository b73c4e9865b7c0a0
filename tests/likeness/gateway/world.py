"""What the services of the test gateway share: sessions, profiles, pictures, answers, faults."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from likeness.gateway.v1 import profile_service_pb2, race_pb2, session_pb2
from likeness.types.v1 import image_pb2
from tests.likeness.gateway import story
from tests.likeness.gateway.faults import Faults


@dataclass
class Record:
    """One session: its message, rounds, log, and the task that works on it."""

    session: session_pb2.Session
    rounds: list[session_pb2.Round] = field(default_factory=list)
    rankings: list[session_pb2.Ranking] = field(default_factory=list)
    log: list[session_pb2.SessionEvent] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


@dataclass
class ProfileRecord:
    """One profile: its message, versions from 1, and the rankings that it learned from."""

    profile: profile_service_pb2.Profile
    versions: list[profile_service_pb2.ProfileVersion] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    rankings: list[profile_service_pb2.RankedPictures] = field(default_factory=list)


@dataclass
class World:
    """Everything that is kept. A gate that is not set holds every loop before its next event."""

    faults: Faults = field(default_factory=Faults)
    images: dict[str, bytes] = field(default_factory=dict)
    sessions: dict[str, Record] = field(default_factory=dict)
    profiles: dict[str, ProfileRecord] = field(default_factory=dict)
    races: dict[str, race_pb2.Race] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failing_loop: bool = False
    loops: list[session_pb2.LoopSettings] = field(default_factory=list)

    def store(self, data: bytes) -> image_pb2.ImageInfo:
        """Keeps a picture."""
        info = story.image_info(data)
        self.images[info.content_hash] = data
        return info
