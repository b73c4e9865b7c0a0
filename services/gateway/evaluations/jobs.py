"""Evaluations with a manifest, worked on by whichever gateway has the lease: it reads the file as a stream of items."""

from __future__ import annotations

import asyncio
import contextvars
import uuid
from contextlib import suppress
from functools import partial

from services.common.errors import (
    DamagedObjectError,
    InternalError,
    InvalidInputError,
    LikenessError,
    LimitError,
    NotFoundError,
    Reason,
)
from services.common.telemetry import bind, counter, gauge, get_logger
from services.gateway.domain import ItemError
from services.gateway.evaluations.manifests import ManifestFile, part_field
from services.gateway.evaluations.processing import ItemProcessor
from services.gateway.evaluations.stream import EvaluationStream
from services.gateway.evaluations.window import Limits
from services.gateway.store.evaluation_jobs import EvaluationJobRepository, Job
from services.gateway.store.evaluations import EvaluationRepository, Hold
from services.gateway.store.leases import LEASE_SECONDS
from services.gateway.store.manifests import ManifestRepository
from services.gateway.stored import read_whole
from services.gateway.ticking import Ticker

MAX_RUNNING = 4
"""Jobs that one gateway works on at the same time; more wait, or are another gateway's."""
TICK_SECONDS = LEASE_SECONDS / 4
WAIT_SECONDS = 600.0
"""A job whose tenant's day is used up tries again after this time at the latest: the quota may have been raised."""
_RELEASE_SECONDS = 3.0
_LOST = (Reason.EVALUATION_TAKEN_OVER, Reason.EVALUATION_NOT_OPEN, Reason.EVALUATION_NOT_FOUND)

log = get_logger(__name__)
_running = gauge("likeness_gateway_running_evaluations", "Evaluations with a manifest that this gateway works on.")
_stopped = counter("likeness_gateway_evaluations", "Evaluations with a manifest, by how they ended.", ("result",))


class JobRunner:
    """The jobs that this gateway works on, one task each."""

    def __init__(
        self,
        jobs: EvaluationJobRepository,
        manifests: ManifestRepository,
        evaluations: EvaluationRepository,
        processor: ItemProcessor,
    ) -> None:
        self.owner = uuid.uuid4().hex
        self._jobs = jobs
        self._manifests = manifests
        self._evaluations = evaluations
        self._processor = processor
        self._tasks: dict[str, tuple[Hold, asyncio.Task[None]]] = {}
        self._streams: dict[str, EvaluationStream] = {}
        self._ticker = Ticker("evaluation-jobs", self._tick, seconds=TICK_SECONDS)

    def start(self) -> None:
        """Begins to look for jobs, also those that another gateway left."""
        self._ticker.start()

    def told(self, evaluation_id: str) -> None:
        """Stops a job that was cancelled or deleted; with an empty id, looks for work now rather than later."""
        if not evaluation_id:
            self._ticker.wake()
        elif evaluation_id in self._tasks:
            self._tasks[evaluation_id][1].cancel()

    async def close(self) -> None:
        """Stops every task where it is and gives the leases back; another gateway goes on at once."""
        await self._ticker.close()
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A database that does not answer must not hold the process up: the leases run out.
        with suppress(LikenessError, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._jobs.release(self.owner)

    async def _tick(self) -> None:
        before = {evaluation_id: hold for evaluation_id, (hold, _) in self._tasks.items()}
        renewed = await self._jobs.renew(self.owner)
        for evaluation_id, hold in before.items():
            known, task = self._tasks.get(evaluation_id, (None, None))
            if task is not None and known == hold and renewed.get(evaluation_id) != hold.token:
                task.cancel()
        if (room := MAX_RUNNING - len(self._tasks)) > 0:
            for job in await self._jobs.claim(self.owner, self._tasks, room):
                self._launch(job)
        else:
            await self._make_room()

    async def _make_room(self) -> None:
        """Leaves a job, if it is one of this gateway's by which its tenant keeps another tenant waiting."""
        crowding = await self._jobs.crowding(waiting_seconds=TICK_SECONDS)
        # One whose manifest is still read is left later: this is asked again and again.
        if crowding is not None and (stream := self._streams.get(crowding)) is not None:
            stream.leave()

    def _launch(self, job: Job) -> None:
        evaluation_id = job.hold.evaluation_id
        log.info(
            "evaluation_taken_up", evaluation_id=evaluation_id, committed_offset=job.opened.evaluation.committed_offset
        )
        task = asyncio.create_task(self._work(job), context=contextvars.Context())
        self._tasks[evaluation_id] = (job.hold, task)
        _running.set(len(self._tasks))
        task.add_done_callback(lambda _: self._forget(job.hold))

    def _forget(self, hold: Hold) -> None:
        if self._tasks.get(hold.evaluation_id, (None,))[0] == hold:
            del self._tasks[hold.evaluation_id]
        _running.set(len(self._tasks))
        # There is room for another.
        self._ticker.wake()

    async def _work(self, job: Job) -> None:
        with bind(evaluation_id=job.hold.evaluation_id):
            try:
                if await self._evaluate(job):
                    _stopped.labels("succeeded").inc()
                else:
                    log.info("evaluation_made_room")
                    await self._jobs.wait(job.hold, None, seconds=TICK_SECONDS)
            except LikenessError as error:
                await self._stopped_by(error, job.hold)
            except Exception:
                log.exception("evaluation_failed")
                await self._fail(job.hold, InternalError())

    async def _stopped_by(self, error: LikenessError, hold: Hold) -> None:
        if error.reason in _LOST:
            # Cancelled, deleted, or another gateway's: whatever it was is stored already.
            log.info("evaluation_lost", reason=error.reason.value)
        elif error.reason is Reason.MANIFEST_UNREADABLE:
            log.warning("evaluation_unreadable", field=error.field, detail=error.message)
            await self._fail(hold, error)
        elif isinstance(error, LimitError):
            await self._wait(hold, error)
        else:
            # What all items need does not answer, and that may be this gateway's way to it.
            log.warning("evaluation_interrupted", reason=error.reason.value)
            await self._pause(hold)

    async def _evaluate(self, job: Job) -> bool:
        """Works on a job; whether it is finished, and not left."""
        evaluation = job.opened.evaluation
        with ManifestFile(job.manifest.format) as file:
            for index, part in enumerate(job.manifest.parts):
                await file.append(await self._read_part(part, part_field(index)))
            if evaluation.total_count is None:
                await self._jobs.counted(job.hold, await file.count())
            stream = EvaluationStream(job.opened, Limits(), self._processor, self._evaluations, call_id=evaluation.id)
            done = {*job.opened.ahead}
            items = file.items(lambda offset: offset < evaluation.committed_offset or offset in done)
            self._streams[evaluation.id] = stream
            try:
                async for _ in stream.run([one] async for one in items):
                    pass
            finally:
                if self._streams.get(evaluation.id) is stream:
                    del self._streams[evaluation.id]
            return not stream.is_left

    async def _read_part(self, content_hash: str, field: str) -> bytes:
        try:
            return await read_whole(partial(self._manifests.read_part, content_hash))
        except (DamagedObjectError, NotFoundError) as error:
            # For good, unlike a store that is away.
            problem = "is damaged" if isinstance(error, DamagedObjectError) else "is gone"
            problem = f"part {content_hash} {problem} in the object store"
            allowed = "parts that are whole: upload it again and create the evaluation again"
            raise InvalidInputError(field, problem, allowed=allowed, reason=Reason.MANIFEST_UNREADABLE) from error

    async def _wait(self, hold: Hold, error: LimitError) -> None:
        """Leaves a job, whose tenant's day is used up, to whoever is free when it may go on."""
        seconds = min(error.retry_after_seconds or WAIT_SECONDS, WAIT_SECONDS)
        log.info("evaluation_waits", reason=error.reason.value, seconds=seconds)
        with suppress(LikenessError):
            await self._jobs.wait(hold, ItemError(error.reason.value, error.message), seconds=seconds)

    async def _pause(self, hold: Hold) -> None:
        """Leaves a job to whoever is free a little later, so that others go on that need something else."""
        try:
            await self._jobs.pause(hold, seconds=TICK_SECONDS)
        except LikenessError:
            # It is ours still, and taken up with the next look for work.
            await asyncio.sleep(TICK_SECONDS)
        asyncio.get_running_loop().call_later(TICK_SECONDS, self._ticker.wake)

    async def _fail(self, hold: Hold, error: LikenessError) -> None:
        with suppress(LikenessError):
            await self._jobs.fail(hold, ItemError(error.reason.value, error.message, error.field))
            _stopped.labels("failed").inc()
