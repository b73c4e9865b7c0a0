"""Evaluations with a manifest, worked on by whichever gateway has the lease: it reads the file as a stream of items."""

from __future__ import annotations

import asyncio
import contextvars
import uuid
from contextlib import suppress

from services.common.errors import (
    InternalError,
    InvalidInputError,
    LikenessError,
    LimitError,
    NotFoundError,
    PreconditionError,
    Reason,
)
from services.common.telemetry import bind, counter, gauge, get_logger
from services.gateway.domain import ItemError
from services.gateway.evaluations.manifests import ManifestFile
from services.gateway.evaluations.processing import ItemProcessor
from services.gateway.evaluations.stream import EvaluationStream
from services.gateway.evaluations.window import Limits
from services.gateway.store.evaluation_jobs import EvaluationJobRepository, Job
from services.gateway.store.evaluations import EvaluationRepository, Hold
from services.gateway.store.leases import LEASE_SECONDS
from services.gateway.store.manifests import ManifestRepository
from services.gateway.ticking import Ticker

MAX_RUNNING = 4
"""Jobs that one gateway works on at the same time; more wait, or are another gateway's."""
TICK_SECONDS = LEASE_SECONDS / 4
WAIT_SECONDS = 600.0
"""A job whose tenant's day is used up tries again after this time at the latest: the quota may have been raised."""
_RELEASE_SECONDS = 3.0

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
                await self._evaluate(job)
                _stopped.labels("succeeded").inc()
            except (PreconditionError, NotFoundError) as error:
                # Cancelled, deleted, or another gateway's: whatever it was is stored already.
                log.info("evaluation_lost", reason=error.reason.value)
            except LimitError as error:
                await self._wait(job.hold, error)
            except _UnreadableError as error:
                await self._fail(job.hold, error.error)
            except LikenessError as error:
                # What all items need does not answer. The job stays ours: the next look for work takes it up again.
                log.warning("evaluation_interrupted", reason=error.reason.value)
                await asyncio.sleep(TICK_SECONDS)
            except Exception:
                log.exception("evaluation_failed")
                internal = InternalError()
                await self._fail(job.hold, ItemError(internal.reason.value, internal.message))

    async def _evaluate(self, job: Job) -> None:
        evaluation = job.opened.evaluation
        with ManifestFile(job.manifest.format) as file:
            try:
                for part in job.manifest.parts:
                    await file.append(await self._manifests.read_part(part))
                if evaluation.total_count is None:
                    await self._jobs.counted(job.hold, await file.count())
            except (InvalidInputError, NotFoundError) as error:
                raise _UnreadableError(error) from error
            stream = EvaluationStream(job.opened, Limits(), self._processor, self._evaluations, call_id=evaluation.id)
            done = {*job.opened.ahead}
            items = file.items(lambda offset: offset < evaluation.committed_offset or offset in done)
            async for _ in stream.run([one] async for one in items):
                pass

    async def _wait(self, hold: Hold, error: LimitError) -> None:
        """Leaves a job, whose tenant's day is used up, to whoever is free when it may go on."""
        seconds = min(error.retry_after_seconds or WAIT_SECONDS, WAIT_SECONDS)
        log.info("evaluation_waits", reason=error.reason.value, seconds=seconds)
        with suppress(LikenessError):
            await self._jobs.wait(hold, ItemError(error.reason.value, error.message), seconds=seconds)

    async def _fail(self, hold: Hold, error: ItemError) -> None:
        with suppress(LikenessError):
            await self._jobs.fail(hold, error)
        _stopped.labels("failed").inc()


class _UnreadableError(Exception):
    """The manifest as a whole cannot be read."""

    def __init__(self, error: LikenessError) -> None:
        super().__init__(error.message)
        self.error = ItemError(Reason.MANIFEST_UNREADABLE.value, error.message, error.field)
