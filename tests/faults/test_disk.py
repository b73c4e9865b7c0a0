"""The disk of the object store is full for a while."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from likeness import AsyncClient, RetryPolicy, Unavailable
from reliability.deployment import Deployment, deployed
from reliability.disk import Disk, small_disk
from reliability.invariants import audit
from reliability.light.pictures import paint
from reliability.loops import PATIENT
from tests.faults.conftest import OPTIONS
from tests.faults.faults import shows
from tests.faults.watching import TARGET, check_whole, followed, started


@pytest_asyncio.fixture(loop_scope="session")
async def on_small_disk() -> AsyncIterator[tuple[Deployment, Disk]]:
    """A deployment whose object store has a disk of its own."""
    folder = Path(tempfile.mkdtemp(prefix="likeness-disk-"))
    try:
        with small_disk(folder) as disk:
            async with deployed(options=OPTIONS, objects=disk.folder) as deployment:
                yield deployment, disk
    finally:
        shutil.rmtree(folder)


@shows(
    "Disk of the object store full",
    client_sees="UNAVAILABLE (OBJECT_STORE_UNAVAILABLE) with RetryInfo on what stores a picture; health NOT_SERVING; "
    "reading goes on",
    retried="storing the picture, by the gateway for half a minute, then the loop fails with that reason",
    lost="nothing: a picture is on disk before anything says so",
)
async def test_loop_waits_for_space(on_small_disk: tuple[Deployment, Disk]) -> None:
    deployment, disk = on_small_disk
    async with AsyncClient(deployment.address(), retry=PATIENT) as client:
        session = await started(client)

        async def full_for_a_while() -> None:
            disk.fill(deployment)
            await deployment.gateways[0].wait_health("NOT_SERVING")
            async with AsyncClient(deployment.address(), retry=RetryPolicy(attempts=1)) as impatient:
                with pytest.raises(Unavailable) as caught:
                    await impatient.upload_image(paint("rgb 1 2 3", 99))
                assert caught.value.reason == "OBJECT_STORE_UNAVAILABLE" and caught.value.retry_after_seconds
                assert await impatient.get_image_bytes(session.target) == TARGET
            disk.free(deployment)

        seen = await followed(client, session, full_for_a_while)
        await check_whole(client, session, seen)
        await deployment.gateways[0].wait_health("SERVING")
        assert (await client.upload_image(paint("rgb 1 2 3", 99))).content_hash
    found = await audit(deployment.database_url, deployment.objects)
    assert not found.broken
    assert not [path for path in deployment.objects.rglob(".put-*")], "half-written files stay behind"
