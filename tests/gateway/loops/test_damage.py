"""Pictures that a loop needs and the object store has lost: the loop ends and names them, it does not wait for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from services.common.errors import DamagedObjectError, LikenessError, Reason, UnavailableError
from services.common.images import content_hash
from services.gateway import stored
from services.gateway.objects import LocalObjectStore
from tests.gateway.conftest import TARGET, Gateway, Parts

pytestmark = pytest.mark.integration

HASH = content_hash(TARGET)
AWAY = UnavailableError(Reason.OBJECT_STORE_UNAVAILABLE, "away")


class Store(LocalObjectStore):
    """Files in a folder; `failures` are what the next readings meet in place of the bytes."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: Counter[str] = Counter()
        self.failures: list[LikenessError] = []

    async def get(self, content_hash: str) -> bytes:
        self.reads[content_hash] += 1
        if self.failures:
            raise self.failures.pop(0)
        return await super().get(content_hash)

    def damage(self, content_hash: str) -> None:
        """Writes other bytes, as a broken disk does."""
        self._path(content_hash).write_bytes(b"damaged")

    def lose(self, content_hash: str) -> None:
        """Removes the bytes."""
        self._path(content_hash).unlink()


@pytest.fixture
def store(tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(stored, "WAITS_SECONDS", (0.0, 0.0))
    parts.objects = Store(tmp_path)  # type: ignore[assignment]
    return parts.objects  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("spoil", "reason", "message", "reads"),
    [
        pytest.param(
            Store.damage, "IMAGE_UNREADABLE", f"target: the stored bytes of {HASH} are damaged", 3, id="damaged"
        ),
        pytest.param(Store.lose, "IMAGE_NOT_FOUND", f"image '{HASH}' does not exist", 1, id="gone"),
    ],
)
async def test_a_lost_target_ends_the_loop_and_is_named(
    store: Store, gateway: Gateway, spoil: Callable[[Store, str], None], reason: str, message: str, reads: int
) -> None:
    name = await gateway.create()
    spoil(store, HASH)
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    assert (await gateway.finished(name)).session.state == session_pb2.Session.STATE_FAILED
    *_, started, ended = await gateway.events(name)
    assert started.state_changed.state == session_pb2.Session.STATE_RUNNING
    assert ended.state_changed.state == session_pb2.Session.STATE_FAILED
    error = ended.state_changed.error
    assert (error.reason, error.field) == (reason, "target") and message in error.message
    assert store.reads[HASH] == reads and not gateway.parts.refiner.calls


async def test_a_damaged_picture_of_the_loop_ends_it_and_is_named(store: Store, gateway: Gateway) -> None:
    gateway.parts.generator.hold_after_pictures = 1
    name = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    watch = gateway.stub.WatchSession(pb.WatchSessionRequest(name=name))
    while not (event := (await watch.read()).event).HasField("candidate_generated"):
        pass
    watch.cancel()
    made = event.candidate_generated.candidate
    store.damage(made.image.content_hash)
    gateway.parts.generator.gate.set()
    done = await gateway.finished(name)
    assert done.session.state == session_pb2.Session.STATE_FAILED
    error = done.session.error
    assert (error.reason, error.field) == ("IMAGE_UNREADABLE", f"candidates[{made.id}].image")
    assert f"the stored bytes of {made.image.content_hash} are damaged" in error.message
    # All are there, and the run is over: nobody scores them again.
    assert all(one.HasField("image") and not one.scores for one in done.rounds[0].candidates)
    assert len(gateway.parts.scorer.calls) == 1


@pytest.mark.parametrize("failures", [[AWAY, AWAY], [DamagedObjectError(HASH), AWAY, DamagedObjectError(HASH)]])
async def test_a_store_that_is_away_is_waited_for(
    store: Store, gateway: Gateway, failures: list[LikenessError]
) -> None:
    name = await gateway.create()
    store.failures = list(failures)
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    assert (await gateway.finished(name)).session.state == session_pb2.Session.STATE_SUCCEEDED
    assert not store.failures
